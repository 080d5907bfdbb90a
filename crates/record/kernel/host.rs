//! What this host and its kernel are, and what they allow.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;

use caps::{CapSet, Capability};
use libbpf_rs::{ProgramType, libbpf_sys};
use nix::time::{ClockId, clock_gettime};
use tcprec_shared::record::MissingHook;

use super::hooks::{owned, plain};
use super::rings::Transport;
use super::skeleton::packets::types::limits;

/// /proc tells times in ticks of 1/100 s (USER_HZ).
pub(crate) const TICK_NS: u64 = limits::TICK_NS.0 as u64;

/// The kernel's boot clock and its distance from Unix time, measured once: a
/// record's time is `boot + offset`, so that the same moment has the same time
/// in all records, whatever is done to the wall clock meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Unix time minus boot time.
    pub(crate) offset_ns: i64,
}

impl Clock {
    /// Measures the offset: the wall clock between two readings of the boot
    /// clock, the closest of a few.
    pub(crate) fn measure() -> io::Result<Self> {
        let mut best: Option<(i64, i64)> = None;
        for _ in 0..5 {
            let before = read(ClockId::CLOCK_BOOTTIME)?;
            let wall = read(ClockId::CLOCK_REALTIME)?;
            let after = read(ClockId::CLOCK_BOOTTIME)?;
            let width = after - before;
            if best.is_none_or(|(narrowest, _)| width < narrowest) {
                best = Some((width, wall - (before + width / 2)));
            }
        }
        Ok(Self {
            offset_ns: best.map_or(0, |(_, offset)| offset),
        })
    }

    /// The boot clock now.
    pub(crate) fn boot_ns() -> io::Result<u64> {
        Ok(u64::try_from(read(ClockId::CLOCK_BOOTTIME)?).unwrap_or(0))
    }

    /// Unix time of a moment on the boot clock.
    pub(crate) fn unix_ns(self, boot_ns: u64) -> i64 {
        i64::try_from(boot_ns)
            .unwrap_or(i64::MAX)
            .saturating_add(self.offset_ns)
    }
}

/// How far the monotonic clock is behind the boot clock, for programs that have
/// only that one: before Linux 5.8. None where they have the boot clock.
pub(super) fn suspended_ns() -> io::Result<Option<u64>> {
    let has_boot_clock =
        ProgramType::SocketFilter.is_helper_supported(libbpf_sys::BPF_FUNC_ktime_get_boot_ns);
    if has_boot_clock.map_err(plain)? {
        return Ok(None);
    }
    let (monotonic, boot) = (
        read(ClockId::CLOCK_MONOTONIC)?,
        read(ClockId::CLOCK_BOOTTIME)?,
    );
    Ok(Some(u64::try_from(boot - monotonic).unwrap_or(0)))
}

fn read(clock: ClockId) -> io::Result<i64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// Name of the host, and the kernel as `Linux 6.18.0`.
pub(crate) fn names() -> (Option<String>, Option<String>) {
    let Ok(names) = nix::sys::utsname::uname() else {
        return (None, None);
    };
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    (
        Some(text(names.nodename())),
        Some(format!(
            "{} {}",
            text(names.sysname()),
            text(names.release())
        )),
    )
}

/// Whether the kernel is one whose softirqs can be preempted.
pub(super) fn is_realtime() -> bool {
    let names = nix::sys::utsname::uname();
    names.is_ok_and(|names| names.version().to_string_lossy().contains("PREEMPT_RT"))
}

/// Whether process ids are others here than those that the kernel itself counts in, and
/// processes outside are not seen (pid_namespaces(7)).
pub(crate) fn is_in_pid_namespace() -> bool {
    // PROC_PID_INIT_INO of linux/proc_ns.h.
    is_other("/proc/self/ns/pid", "pid:[4026531836]")
}

/// Whether rights are those over a namespace, and not over the host (user_namespaces(7)).
pub(super) fn is_in_user_namespace() -> bool {
    // PROC_USER_INIT_INO of linux/proc_ns.h.
    is_other("/proc/self/ns/user", "user:[4026531837]")
}

/// Whether a namespace is known, and not the host's.
fn is_other(own: &str, initial: &str) -> bool {
    std::fs::read_link(own).is_ok_and(|own| own != Path::new(initial))
}

/// The kernel's random id of this boot.
pub(crate) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// What a capability is to recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing goes without.
    Always,
    /// Nothing goes without where perf's rings are used.
    ForPerf,
    /// Less is told without.
    Better,
}

/// A capability that recording uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right {
    pub(crate) capability: Capability,
    pub(crate) need: Need,
    /// Whether this process has it.
    pub(crate) is_held: bool,
}

/// The capabilities that recording uses.
///
/// # Errors
/// The kernel's.
pub(crate) fn used_rights() -> io::Result<Vec<Right>> {
    use Capability::{
        CAP_BPF, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON,
        CAP_SYS_ADMIN, CAP_SYS_PTRACE,
    };
    const USED: [(Capability, Need); 7] = [
        (CAP_NET_ADMIN, Need::Always),
        (CAP_NET_RAW, Need::Always),
        (CAP_PERFMON, Need::Always),
        (CAP_BPF, Need::Always),
        // perf's rings are larger than a user may lock in memory.
        (CAP_IPC_LOCK, Need::ForPerf),
        // The programs of other users' processes.
        (CAP_SYS_PTRACE, Need::Better),
        // tracefs, whose files are root's.
        (CAP_DAC_READ_SEARCH, Need::Better),
    ];
    let held = caps::read(None, CapSet::Effective).map_err(io::Error::other)?;
    // It stood for both before Linux 5.8, and still does.
    let is_stood_for =
        |capability| matches!(capability, CAP_PERFMON | CAP_BPF) && held.contains(&CAP_SYS_ADMIN);
    let rights = USED.into_iter().map(|(capability, need)| Right {
        capability,
        need,
        is_held: held.contains(&capability) || is_stood_for(capability),
    });
    Ok(rights.collect())
}

/// The capabilities that recording needs and this process lacks.
///
/// # Errors
/// As [`used_rights`].
pub(crate) fn lacking_rights(transport: Transport) -> io::Result<Vec<String>> {
    let mut rights = used_rights()?;
    rights.retain(|right| match right.need {
        Need::Always => !right.is_held,
        Need::ForPerf => !right.is_held && transport == Transport::Perf,
        Need::Better => false,
    });
    let names = rights.iter().map(|right| right.capability.to_string());
    Ok(names.collect())
}

/// The programs of other users' processes, where these rights hide them.
///
/// # Errors
/// As [`used_rights`].
pub(crate) fn hidden_programs() -> io::Result<Option<MissingHook>> {
    let rights = used_rights()?;
    let is_lacking =
        |right: &Right| right.capability == Capability::CAP_SYS_PTRACE && !right.is_held;
    Ok(rights.iter().any(is_lacking).then(|| MissingHook {
        hook: "/proc/PID/exe".to_owned(),
        reason: "the executables of other users' processes are unknown (CAP_SYS_PTRACE)".to_owned(),
    }))
}

/// Whether sysfs is where libbpf looks for the number of CPUs and the kernel's types, as it
/// may not be in a chroot.
pub(super) fn has_sysfs() -> bool {
    Path::new("/sys/kernel").exists()
}

/// Whether the kernel tells its types, so that tp_btf programs can be loaded.
pub(crate) fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// What is wrong without.
pub(crate) fn no_btf() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)",
    )
}

/// Where the root of the control groups (the unified hierarchy) is mounted, or of those
/// that this process can see; nothing where it is not.
///
/// # Errors
/// When /proc cannot be read.
pub(crate) fn cgroup_mount() -> io::Result<Option<PathBuf>> {
    let mounts = procfs::process::Process::myself()
        .and_then(|process| process.mountinfo())
        .map_err(io::Error::other)?;
    let mounted = mounts
        .into_iter()
        .find(|mount| mount.fs_type == "cgroup2" && mount.root == "/");
    Ok(mounted.map(|mount| mount.mount_point))
}

/// That root.
///
/// # Errors
/// The kernel's, where it is not mounted and cannot be.
pub(super) fn cgroup_root() -> io::Result<OwnedFd> {
    match cgroup_mount()? {
        Some(folder) => Ok(File::open(folder)?.into()),
        None => private_mount(c"cgroup2"),
    }
}

/// A file system of our own that stands nowhere among the mounts, and goes when
/// it is closed. Not every host mounts each, and `ip netns exec` hides those
/// below /sys.
pub(super) fn private_mount(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero byte.
    let opened = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) };
    let context = owned(opened)?;
    let (key, value) = (ptr::null::<libc::c_char>(), ptr::null::<libc::c_void>());
    // SAFETY: the descriptor is open, and this command takes no key and no value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_CMD_CREATE,
            key,
            value,
            0,
        )
    };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open; no attributes are wanted.
    owned(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            libc::FSMOUNT_CLOEXEC,
            0,
        )
    })
}
