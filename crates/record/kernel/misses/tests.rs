//! With root: a program that meets itself, as one does that a softirq interrupts.

use std::ptr;

use super::super::filter::{Kind, load};
use super::super::hooks::owned;
use super::*;

/// An instruction with no or one register.
fn instruction(code: u32, register: u8, offset: i16, immediate: i32) -> sys::bpf_insn {
    let mut instruction = sys::bpf_insn {
        code: u8::try_from(code).unwrap(),
        off: offset,
        imm: immediate,
        ..Default::default()
    };
    instruction.set_dst_reg(register);
    instruction
}

/// A program that prints, to be run when something prints.
fn printer() -> OwnedFd {
    const FRAME: u8 = 10;
    let mut copy_frame = instruction(sys::BPF_ALU64 | sys::BPF_MOV | sys::BPF_X, 1, 0, 0);
    copy_frame.set_src_reg(FRAME);
    let code = [
        // A text of one letter.
        instruction(
            sys::BPF_ST | sys::BPF_MEM | sys::BPF_DW,
            FRAME,
            -8,
            i32::from(b'x'),
        ),
        copy_frame,
        instruction(sys::BPF_ALU64 | sys::BPF_ADD | sys::BPF_K, 1, 0, -8),
        instruction(sys::BPF_ALU64 | sys::BPF_MOV | sys::BPF_K, 2, 0, 2),
        instruction(
            sys::BPF_JMP | sys::BPF_CALL,
            0,
            0,
            i32::try_from(sys::BPF_FUNC_trace_printk).unwrap(),
        ),
        instruction(sys::BPF_ALU64 | sys::BPF_MOV | sys::BPF_K, 0, 0, 0),
        instruction(sys::BPF_JMP | sys::BPF_EXIT, 0, 0, 0),
    ];
    let kind = Kind {
        program: sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
        attach: 0,
        miss: 0,
    };
    load(&code, kind).unwrap()
}

#[test]
#[ignore = "needs root"]
fn what_a_busy_program_passes_over_is_counted() {
    const RUNS: u64 = 5;
    let program = printer();
    // SAFETY: the name ends with a zero byte.
    let link =
        unsafe { sys::bpf_raw_tracepoint_open(c"bpf_trace_printk".as_ptr(), program.as_raw_fd()) };
    let _link = owned(link.into()).unwrap();
    let mut misses = Misses {
        programs: vec![Program {
            fd: program.try_clone().unwrap(),
            lost: Lost::Events,
            count: 0,
        }],
        looked_boot_ns: 1,
    };
    assert!(misses.take().unwrap().is_empty());
    let before = misses.looked_boot_ns;
    for _ in 0..RUNS {
        // It prints, so it is run; then it prints again, and is not.
        // SAFETY: no options are given.
        check(unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), ptr::null_mut()) })
            .unwrap();
    }
    let found = misses.take().unwrap();
    let [missed] = found[..] else {
        panic!("{found:?}");
    };
    let loss = missed.record(Clock { offset_ns: 0 });
    assert_eq!(
        (loss.cause, loss.lost),
        (LossCause::Recursion, Lost::Events)
    );
    assert_eq!(loss.count, RUNS);
    assert!(i64::try_from(before).unwrap() <= loss.first_ns && loss.first_ns < loss.last_ns);
    assert_eq!(misses.events(), RUNS);
    assert!(misses.take().unwrap().is_empty());
}
