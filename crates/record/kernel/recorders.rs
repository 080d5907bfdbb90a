//! Other recorders at work, as far as /proc shows them.

use std::fs;
use std::path::Path;

/// What a recorder's process is called.
const COMM: &str = "tcprec\n";

/// Whether a BPF link is a recorder's, whose programs pass on whatever comes. Whose a
/// program is the kernel tells only who may do anything (CAP_SYS_ADMIN), which is given up;
/// whose descriptors name its link, /proc tells.
pub(super) fn have(link: u32) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| process.path()).any(|process| {
        let comm = fs::read_to_string(process.join("comm"));
        comm.is_ok_and(|comm| comm == COMM) && holds(&process, link)
    })
}

/// Whether a process has a descriptor of a link.
fn holds(process: &Path, link: u32) -> bool {
    // bpf_link_show_fdinfo in the kernel's bpf/syscall.c.
    let line = format!("link_id:\t{link}");
    let descriptors = fs::read_dir(process.join("fdinfo"));
    descriptors.into_iter().flatten().flatten().any(|it| {
        let told = fs::read_to_string(it.path());
        told.is_ok_and(|told| told.lines().any(|told| told == line))
    })
}
