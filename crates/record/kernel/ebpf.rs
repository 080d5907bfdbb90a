//! A filter's classic program as a program of the kernel's machine, one
//! instruction after the other; pure.
//!
//! The kernel's machine has what the classic one has (LD_ABS and LD_IND are
//! legal in socket filters and in tc programs), but for what happens at the
//! end of a packet: there a load ends the program with 0, which would end the
//! chain of tcx programs too. So each load is preceded by a look at the length.

use libbpf_rs::libbpf_sys::{self as sys, bpf_insn};
use tcprec_shared::filter::{Alu, Instruction, Operand, Program, SCRATCH_WORDS, Size, Test};
use thiserror::Error;

/// A register of the kernel's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Register(u8);

/// What a load gives.
const RESULT: Register = Register(0);
const ARGUMENTS: [Register; 3] = [Register(1), Register(2), Register(3)];
/// The packet: LD_ABS and LD_IND expect it here.
const PACKET: Register = Register(6);
/// The classic machine's accumulator, and its index register.
const A: Register = Register(7);
const X: Register = Register(8);
/// The length of the packet.
const LENGTH: Register = Register(9);
const STACK: Register = Register(10);
/// Where no register is meant.
const NONE: Register = Register(0);

/// A filter that is too large for the distances that jumps have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the filter is too large for the kernel")]
pub(super) struct TooLarge;

/// Translates a program: of a packet that passes goes on to the first program of
/// the array of programs that has the descriptor `targets`; of one that does
/// not returns `miss`.
pub(super) fn translate(
    program: &Program,
    targets: i32,
    miss: i32,
) -> Result<Vec<bpf_insn>, TooLarge> {
    let mut to = Translation::default();
    to.head(program);
    let mut is_reachable = vec![false; program.instructions().len()];
    if let Some(first) = is_reachable.first_mut() {
        *first = true;
    }
    for (at, instruction) in program.instructions().iter().enumerate() {
        to.places.push(to.code.len());
        // The kernel refuses what is never reached.
        if is_reachable.get(at) != Some(&true) {
            continue;
        }
        to.instruction(at, *instruction);
        for next in successors(at, *instruction).into_iter().flatten() {
            if let Some(next) = is_reachable.get_mut(next) {
                *next = true;
            }
        }
    }
    to.tail(targets, miss);
    to.finish()
}

/// The instructions that may follow.
fn successors(at: usize, instruction: Instruction) -> [Option<usize>; 2] {
    match instruction {
        Instruction::Jump(by) => [Some(after(at, by)), None],
        Instruction::JumpIf { yes, no, .. } => {
            [Some(after(at, yes.into())), Some(after(at, no.into()))]
        }
        Instruction::Return(_) | Instruction::ReturnA => [None, None],
        _ => [Some(at + 1), None],
    }
}

/// The instruction that a jump over `by` goes to.
fn after(at: usize, by: u32) -> usize {
    // A program is in memory: its length is a usize.
    at.saturating_add(1)
        .saturating_add(usize::try_from(by).unwrap_or(usize::MAX))
}

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// To a classic instruction.
    Classic(usize),
    /// To where the packet passes.
    Pass,
    /// To where it does not.
    Miss,
}

#[derive(Default)]
struct Translation {
    code: Vec<bpf_insn>,
    /// Where each classic instruction begins.
    places: Vec<usize>,
    jumps: Vec<(usize, Target)>,
    pass: usize,
    miss: usize,
}

impl Translation {
    fn head(&mut self, program: &Program) {
        self.copy_64(PACKET, ARGUMENTS[0]);
        // struct __sk_buff begins with the length.
        self.push(
            sys::BPF_LDX | sys::BPF_MEM | sys::BPF_W,
            LENGTH,
            PACKET,
            0,
            0,
        );
        self.copy(A, Operand::K(0));
        self.copy(X, Operand::K(0));
        let is_loaded = |word: usize| {
            program.instructions().iter().any(|instruction| {
                matches!(instruction, Instruction::LoadScratch(k) | Instruction::LoadIndexScratch(k)
                    if usize::from(*k) == word)
            })
        };
        for word in (0..SCRATCH_WORDS).filter(|word| is_loaded(*word)) {
            let place = stack(u8::try_from(word).unwrap_or(0));
            self.push(
                sys::BPF_ST | sys::BPF_MEM | sys::BPF_W,
                STACK,
                NONE,
                place,
                0,
            );
        }
    }

    fn instruction(&mut self, at: usize, instruction: Instruction) {
        match instruction {
            Instruction::LoadAbsolute { size, offset } => {
                self.load(size, offset);
                self.copy_result(A);
            }
            Instruction::LoadIndirect { size, offset } => {
                self.load_indirect(size, offset);
                self.copy_result(A);
            }
            Instruction::LoadLength => self.alu(sys::BPF_MOV, A, LENGTH),
            Instruction::LoadImmediate(k) => self.copy(A, Operand::K(k)),
            Instruction::LoadScratch(word) => self.scratch(A, word),
            Instruction::LoadIndexLength => self.alu(sys::BPF_MOV, X, LENGTH),
            Instruction::LoadIndexImmediate(k) => self.copy(X, Operand::K(k)),
            Instruction::LoadIndexScratch(word) => self.scratch(X, word),
            Instruction::LoadIndexHeaderLength(offset) => {
                self.load(Size::Byte, offset);
                self.copy_result(X);
                self.alu_k(sys::BPF_AND, X, 0x0f);
                self.alu_k(sys::BPF_LSH, X, 2);
            }
            Instruction::Store(word) => self.store(A, word),
            Instruction::StoreIndex(word) => self.store(X, word),
            Instruction::Calculate(alu, operand) => self.calculate(alu, operand),
            Instruction::Negate => self.alu_k(sys::BPF_NEG, A, 0),
            Instruction::Jump(by) => self.jump(Target::Classic(after(at, by))),
            Instruction::JumpIf {
                test,
                operand,
                yes,
                no,
            } => self.jump_if(at, test, operand, (yes, no)),
            Instruction::Return(0) => self.jump(Target::Miss),
            Instruction::Return(_) => self.jump(Target::Pass),
            Instruction::ReturnA => {
                self.test(sys::BPF_JNE, A, Operand::K(0), Target::Pass);
                self.jump(Target::Miss);
            }
            Instruction::CopyToIndex => self.alu(sys::BPF_MOV, X, A),
            Instruction::CopyFromIndex => self.copy(A, Operand::X),
        }
    }

    /// Loads from the packet into the result register.
    fn load(&mut self, size: Size, offset: u32) {
        let end = self.within_offsets(size, offset);
        self.test(sys::BPF_JLT, LENGTH, Operand::K(end), Target::Miss);
        let code = sys::BPF_LD | sys::BPF_ABS | width(size);
        self.push(code, NONE, NONE, 0, offset.cast_signed());
    }

    fn load_indirect(&mut self, size: Size, offset: u32) {
        let end = self.within_offsets(size, offset);
        let [_, needed, _] = ARGUMENTS;
        self.alu(sys::BPF_MOV, needed, X);
        // In 64 bits: the sum is no less than its parts.
        let add = sys::BPF_ALU64 | sys::BPF_ADD | sys::BPF_K;
        self.push(add, needed, NONE, 0, end.cast_signed());
        self.jumps.push((self.code.len(), Target::Miss));
        let is_beyond = sys::BPF_JMP | sys::BPF_JGT | sys::BPF_X;
        self.push(is_beyond, needed, LENGTH, 0, 0);
        let code = sys::BPF_LD | sys::BPF_IND | width(size);
        self.push(code, NONE, X, 0, offset.cast_signed());
    }

    /// The end of what is loaded. Beyond the positive numbers, where the kernel
    /// has offsets of another meaning, no packet has anything.
    fn within_offsets(&mut self, size: Size, offset: u32) -> u32 {
        match offset.checked_add(size.bytes()) {
            Some(end) if i32::try_from(end).is_ok() => end,
            _ => {
                // Always true; but the kernel refuses what is plainly never reached.
                self.test(sys::BPF_JGE, LENGTH, Operand::K(0), Target::Miss);
                size.bytes()
            }
        }
    }

    fn calculate(&mut self, alu: Alu, operand: Operand) {
        let operation = match alu {
            Alu::Add => sys::BPF_ADD,
            Alu::Subtract => sys::BPF_SUB,
            Alu::Multiply => sys::BPF_MUL,
            Alu::Divide => sys::BPF_DIV,
            Alu::Modulo => sys::BPF_MOD,
            Alu::And => sys::BPF_AND,
            Alu::Or => sys::BPF_OR,
            Alu::Xor => sys::BPF_XOR,
            Alu::ShiftLeft => sys::BPF_LSH,
            Alu::ShiftRight => sys::BPF_RSH,
        };
        const BITS: u32 = u32::BITS;
        match (alu, operand) {
            (Alu::Divide | Alu::Modulo, Operand::X) => {
                self.test(sys::BPF_JEQ, X, Operand::K(0), Target::Miss);
                self.alu(operation, A, X);
            }
            (Alu::ShiftLeft | Alu::ShiftRight, Operand::X) => {
                // The kernel's machine shifts by the low bits of X only.
                let is_less = sys::BPF_JMP32 | sys::BPF_JLT | sys::BPF_K;
                self.push(is_less, X, NONE, 2, BITS.cast_signed());
                self.copy(A, Operand::K(0));
                self.push(sys::BPF_JMP | sys::BPF_JA, NONE, NONE, 1, 0);
                self.alu(operation, A, X);
            }
            (Alu::ShiftLeft | Alu::ShiftRight, Operand::K(BITS..)) => {
                self.copy(A, Operand::K(0));
            }
            (_, Operand::X) => self.alu(operation, A, X),
            (_, Operand::K(k)) => self.alu_k(operation, A, k),
        }
    }

    fn jump_if(&mut self, at: usize, test: Test, operand: Operand, (yes, no): (u8, u8)) {
        let (yes, no) = (after(at, yes.into()), after(at, no.into()));
        // What follows needs no jump, if the test can be turned round.
        let (code, opposite) = match test {
            Test::Equal => (sys::BPF_JEQ, Some(sys::BPF_JNE)),
            Test::Greater => (sys::BPF_JGT, Some(sys::BPF_JLE)),
            Test::GreaterOrEqual => (sys::BPF_JGE, Some(sys::BPF_JLT)),
            Test::AnyBit => (sys::BPF_JSET, None),
        };
        if let Some(opposite) = opposite
            && yes == at + 1
        {
            self.test(opposite, A, operand, Target::Classic(no));
            return;
        }
        self.test(code, A, operand, Target::Classic(yes));
        if no != at + 1 {
            self.jump(Target::Classic(no));
        }
    }

    /// Where packets pass and where they do not, as far as any get there.
    fn tail(&mut self, targets: i32, miss: i32) {
        let [packet, map, index] = ARGUMENTS;
        self.pass = self.code.len();
        if self.jumps.iter().any(|(_, target)| *target == Target::Pass) {
            self.copy_64(packet, PACKET);
            let map_by_fd = Register(sys::BPF_PSEUDO_MAP_FD as u8);
            let load = sys::BPF_LD | sys::BPF_IMM | sys::BPF_DW;
            self.push(load, map, map_by_fd, 0, targets);
            self.push(0, NONE, NONE, 0, 0);
            self.copy(index, Operand::K(0));
            let function = sys::BPF_FUNC_tail_call.cast_signed();
            self.push(sys::BPF_JMP | sys::BPF_CALL, NONE, NONE, 0, function);
            // It does not come back, but for an array that is empty.
        }
        self.miss = self.code.len();
        self.copy(RESULT, Operand::K(miss.cast_unsigned()));
        self.push(sys::BPF_JMP | sys::BPF_EXIT, NONE, NONE, 0, 0);
    }

    /// Gives each jump its distance.
    fn finish(mut self) -> Result<Vec<bpf_insn>, TooLarge> {
        for (at, target) in self.jumps {
            let target = match target {
                Target::Classic(instruction) => self.places.get(instruction).copied(),
                Target::Pass => Some(self.pass),
                Target::Miss => Some(self.miss),
            };
            let distance = target.and_then(|target| target.checked_sub(at + 1));
            let distance = distance.and_then(|distance| i16::try_from(distance).ok());
            let jump = self.code.get_mut(at).ok_or(TooLarge)?;
            jump.off = distance.ok_or(TooLarge)?;
        }
        Ok(self.code)
    }

    fn copy(&mut self, to: Register, from: Operand) {
        match from {
            Operand::K(k) => self.alu_k(sys::BPF_MOV, to, k),
            Operand::X => self.alu(sys::BPF_MOV, to, X),
        }
    }

    fn copy_result(&mut self, to: Register) {
        self.alu(sys::BPF_MOV, to, RESULT);
    }

    fn copy_64(&mut self, to: Register, from: Register) {
        let code = sys::BPF_ALU64 | sys::BPF_MOV | sys::BPF_X;
        self.push(code, to, from, 0, 0);
    }

    /// A calculation in 32 bits; the upper half of the register becomes 0.
    fn alu(&mut self, operation: u32, to: Register, from: Register) {
        self.push(sys::BPF_ALU | operation | sys::BPF_X, to, from, 0, 0);
    }

    fn alu_k(&mut self, operation: u32, to: Register, k: u32) {
        let code = sys::BPF_ALU | operation | sys::BPF_K;
        self.push(code, to, NONE, 0, k.cast_signed());
    }

    /// A jump if a test of 32 bits holds.
    fn test(&mut self, test: u32, of: Register, operand: Operand, target: Target) {
        self.jumps.push((self.code.len(), target));
        match operand {
            Operand::K(k) => {
                let code = sys::BPF_JMP32 | test | sys::BPF_K;
                self.push(code, of, NONE, 0, k.cast_signed());
            }
            Operand::X => self.push(sys::BPF_JMP32 | test | sys::BPF_X, of, X, 0, 0),
        }
    }

    fn jump(&mut self, target: Target) {
        self.jumps.push((self.code.len(), target));
        self.push(sys::BPF_JMP | sys::BPF_JA, NONE, NONE, 0, 0);
    }

    fn scratch(&mut self, to: Register, word: u8) {
        let code = sys::BPF_LDX | sys::BPF_MEM | sys::BPF_W;
        self.push(code, to, STACK, stack(word), 0);
    }

    fn store(&mut self, from: Register, word: u8) {
        let code = sys::BPF_STX | sys::BPF_MEM | sys::BPF_W;
        self.push(code, STACK, from, stack(word), 0);
    }

    fn push(&mut self, code: u32, to: Register, from: Register, off: i16, imm: i32) {
        self.code.push(bpf_insn {
            // Codes are bytes.
            code: code as u8,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(to.0, from.0),
            off,
            imm,
        });
    }
}

/// Where a word of the scratch memory is on the stack, which grows down.
fn stack(word: u8) -> i16 {
    -4 * (i16::from(word) + 1)
}

const fn width(size: Size) -> u32 {
    match size {
        Size::Byte => sys::BPF_B,
        Size::Half => sys::BPF_H,
        Size::Word => sys::BPF_W,
    }
}

#[cfg(test)]
mod tests {
    use tcprec_shared::filter::RawInstruction;

    use super::*;

    fn program(code: &[(u16, u8, u8, u32)]) -> Program {
        let raw: Vec<_> = code
            .iter()
            .map(|&(code, jt, jf, k)| RawInstruction { code, jt, jf, k })
            .collect();
        Program::decode(&raw).unwrap()
    }

    /// As the kernel asks it: jumps stay within, nothing is unreachable, the
    /// end is an exit.
    fn assert_flow(code: &[bpf_insn]) {
        let mut is_reached = vec![false; code.len()];
        is_reached[0] = true;
        let mut at = 0;
        while at < code.len() {
            assert!(is_reached[at], "{at} of {code:?}");
            let instruction = code[at];
            let kind = u32::from(instruction.code);
            let jumps = matches!(kind & 0x07, sys::BPF_JMP | sys::BPF_JMP32);
            let operation = kind & 0xf0;
            let has_exit = jumps && operation == sys::BPF_EXIT;
            let is_call = jumps && operation == sys::BPF_CALL;
            if jumps && !has_exit && !is_call {
                let to = at + 1 + usize::try_from(instruction.off).unwrap();
                is_reached[to] = true;
            }
            let length = if kind == sys::BPF_LD | sys::BPF_IMM | sys::BPF_DW {
                2
            } else {
                1
            };
            let goes_on = !(has_exit || jumps && operation == sys::BPF_JA);
            if goes_on {
                is_reached[at + length] = true;
            }
            at += length;
        }
        assert_eq!(
            u32::from(code.last().unwrap().code),
            sys::BPF_JMP | sys::BPF_EXIT
        );
    }

    #[test]
    fn what_rejects_all_is_an_exit() {
        let code = translate(&program(&[(0x06, 0, 0, 0)]), 3, -1).unwrap();
        assert_flow(&code);
        assert_eq!(code[code.len() - 2].imm, -1);
        assert!(
            !code
                .iter()
                .any(|i| u32::from(i.code) == sys::BPF_JMP | sys::BPF_CALL)
        );
    }

    #[test]
    fn what_passes_goes_to_the_first_of_the_targets() {
        let code = translate(&program(&[(0x06, 0, 0, 1)]), 3, -1).unwrap();
        assert_flow(&code);
        let load = u32::from(code[6].code);
        assert_eq!(load, sys::BPF_LD | sys::BPF_IMM | sys::BPF_DW);
        assert_eq!((code[6].imm, code[6].src_reg()), (3, 1));
        assert_eq!(code[9].imm, 12);
    }

    #[test]
    fn every_instruction_has_its_translation() {
        let returns = [(0x06, 0, 0, 1), (0x06, 0, 0, 0)];
        for code in 0..=0xff {
            for k in [1, 40, 0x7fff_ffff, 0xffdf_ffff] {
                let tests = code & 0x07 == 0x05 && code != 0x05;
                let instruction = if tests {
                    (code, 0, 1, k)
                } else {
                    (code, 0, 0, k)
                };
                let raw: Vec<_> = std::iter::once(instruction)
                    .chain(returns)
                    .map(|(code, jt, jf, k)| RawInstruction { code, jt, jf, k })
                    .collect();
                if let Ok(program) = Program::decode(&raw) {
                    assert_flow(&translate(&program, 3, 0).unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_never_reached_is_left_out() {
        let code = [(0x05, 0, 0, 1), (0x00, 0, 0, 7), (0x16, 0, 0, 0)];
        assert_flow(&translate(&program(&code), 3, 0).unwrap());
    }

    #[test]
    fn jumps_that_are_too_far_are_told() {
        let mut code = vec![(0x05, 0, 0, 40_000)];
        code.extend([(0x87, 0, 0, 0); 40_000]);
        code.push((0x16, 0, 0, 0));
        // What is jumped over is left out.
        assert_flow(&translate(&program(&code), 3, 0).unwrap());
        code[0] = (0x28, 0, 0, 0);
        assert_eq!(translate(&program(&code), 3, 0).err(), Some(TooLarge));
    }
}
