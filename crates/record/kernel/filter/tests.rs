//! With root: the translated programs, run by the kernel itself, take the
//! packets that the classic programs take.

use std::path::{Path, PathBuf};

use tcprec_shared::format;
use tcprec_shared::record::Record;
use tcprec_shared::stream::Source as _;

use super::*;

const EXPRESSIONS: &str = include_str!("../../../shared/tests/captures/expressions.txt");

/// What a packet program returns here for a packet that passed the filter.
const PASSED: i32 = 7;

const ETHERNET_BYTES: usize = 14;
/// The kernel runs programs on frames of a page at most, with what surrounds
/// them, and on none that is shorter than its headers.
const FRAME_BYTES: std::ops::Range<usize> = ETHERNET_BYTES + 40..3000;

/// The Ethernet frames of the fixtures, and of the captures of others where
/// there are any.
fn frames() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let oracle = std::env::var_os("TCPREC_ORACLE")
        .map_or_else(|| root.join("../shared/oracle"), PathBuf::from);
    if !oracle.exists() {
        println!("passed over: no captures in {}", oracle.display());
    }
    let mut folders = vec![root.join("fixtures"), oracle];
    let mut frames = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|name| name == "pcap" || name == "pcapng")
            {
                add_frames(&path, &mut frames);
            }
        }
    }
    // The same again tells nothing new.
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// The first frames of a capture.
fn add_frames(path: &Path, to: &mut Vec<Vec<u8>>) {
    const ENOUGH: usize = 100;
    let Ok(mut source) = format::open(path) else {
        return;
    };
    let mut link = LinkType::RAW;
    let full = to.len() + ENOUGH;
    while let Ok(Some(record)) = source.next() {
        match record {
            Record::Interface(interface) => link = interface.link_type,
            Record::Packet(packet)
                if link == LinkType::ETHERNET && FRAME_BYTES.contains(&packet.data.len()) =>
            {
                to.push(packet.data.to_vec());
            }
            _ => {}
        }
        if to.len() >= full {
            return;
        }
    }
}

/// A program that returns a number.
fn returns(number: i32, kind: Kind) -> OwnedFd {
    let instruction = |code: u32, imm| sys::bpf_insn {
        code: u8::try_from(code).unwrap(),
        imm,
        ..Default::default()
    };
    let set = instruction(sys::BPF_ALU64 | sys::BPF_MOV | sys::BPF_K, number);
    let exit = instruction(sys::BPF_JMP | sys::BPF_EXIT, 0);
    load(&[set, exit], kind).unwrap()
}

/// What a program returns for a frame.
fn run(program: BorrowedFd<'_>, frame: &[u8]) -> i32 {
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: u32::try_from(frame.len()).unwrap(),
        ..Default::default()
    };
    // SAFETY: the frame is as long as is said; the options say their size.
    check(unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) }).unwrap();
    options.retval.cast_signed()
}

/// Of a kind whose packets begin after so many bytes of the frame.
fn compare(link: LinkType, kind: Kind, begin: usize) {
    let frames = frames();
    let target = returns(PASSED, kind);
    let (mut compiled, mut choosy) = (0, 0);
    for expression in EXPRESSIONS.lines() {
        let Ok(program) = compile(link, expression) else {
            continue;
        };
        compiled += 1;
        let prefilter = Prefilter::load(&program, target.as_fd(), kind)
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut passed = 0;
        for frame in &frames {
            let seen = &frame[begin..];
            let passes = program.passes(seen, u32::try_from(seen.len()).unwrap());
            let expected = if passes { PASSED } else { kind.miss };
            assert_eq!(
                run(prefilter.as_fd(), frame),
                expected,
                "{expression}: {seen:?}"
            );
            passed += usize::from(passes);
        }
        choosy += usize::from(passed > 0 && passed < frames.len());
    }
    println!(
        "{compiled} filters, {choosy} of them choosy, on {} frames",
        frames.len()
    );
    assert!(compiled >= 60 && choosy >= 40, "{compiled}, {choosy}");
}

#[test]
#[ignore = "needs root"]
fn tcx_filters_take_what_libpcap_takes() {
    let kind = Kind::tcx(sys::BPF_TCX_INGRESS);
    compare(LinkType::ETHERNET, kind, 0);
}

/// The kernel runs socket filters behind the Ethernet header here.
#[test]
#[ignore = "needs root"]
fn socket_filters_take_what_libpcap_takes() {
    compare(LinkType::RAW, Kind::SOCKET_FILTER, ETHERNET_BYTES);
}
