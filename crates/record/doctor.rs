//! What this kernel and these rights allow, and what to do about the rest. It
//! does not judge by versions: it begins what `tcprec record` begins, with the
//! same code, and says what came of it. The rest are facts that cannot be tried.

use std::fs;
use std::io;

use serde::Serialize;
use tcprec_shared::filter::{Compiler, compiler};
use tcprec_shared::record::MissingHook;

use crate::interfaces;
use crate::kernel::{self, Attached, Need, Room, Transport};
use crate::recorder::{RecordError, Recording, prepare};
use crate::rights::SETCAP;

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) check: String,
    pub(crate) status: Status,
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Something else stands in.
    Fallback,
    /// Not there: less is recorded, or nothing.
    Missing,
    /// It could not be found out, for want of rights.
    Unknown,
}

impl Check {
    fn new(check: &str, status: Status, detail: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            status,
            detail: detail.into(),
            advice: None,
        }
    }

    fn advise(self, advice: &str) -> Self {
        Self {
            advice: Some(advice.to_owned()),
            ..self
        }
    }
}

/// Looks at everything. `recording` is what `tcprec record` does without options.
///
/// # Errors
/// When /proc cannot be read.
pub(crate) fn checks(recording: &Recording) -> io::Result<Vec<Check>> {
    let (_, kernel) = kernel::names();
    let kernel = kernel.unwrap_or_default();
    let mut checks = vec![
        Check::new("kernel", Status::Ok, kernel.as_str()),
        rights()?,
        types(),
    ];
    checks.extend(begin(recording));
    checks.extend([
        top(),
        tracefs(),
        lockdown(fs::read_to_string("/sys/kernel/security/lockdown")),
        jit(setting("net/core/bpf_jit_enable")),
        unprivileged(setting("kernel/unprivileged_bpf_disabled")),
        memory(&kernel, locked_memory_limit()?),
        filters(),
        devices()?,
    ]);
    Ok(checks)
}

fn rights() -> io::Result<Check> {
    const CHECK: &str = "capabilities";
    let mut used = kernel::used_rights()?;
    used.retain(|right| right.need != Need::ForPerf);
    let names = |is_held: bool| {
        let rights = used.iter().filter(|right| right.is_held == is_held);
        rights
            .map(|right| right.capability.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (held, lacking) = (names(true), names(false));
    if lacking.is_empty() {
        return Ok(Check::new(CHECK, Status::Ok, format!("has {held}")));
    }
    let detail = if held.is_empty() {
        format!("lacks {lacking}")
    } else {
        format!("lacks {lacking}; has {held}")
    };
    let check = Check::new(CHECK, Status::Missing, detail);
    Ok(check.advise(&format!(
        "run it with sudo, or grant it the capabilities: {SETCAP}"
    )))
}

fn types() -> Check {
    if kernel::has_btf() {
        return Check::new("BTF", Status::Ok, "/sys/kernel/btf/vmlinux");
    }
    let detail = "none: classic tracepoints and /proc are used instead; accepts are not seen";
    Check::new("BTF", Status::Fallback, detail).advise("use a kernel with CONFIG_DEBUG_INFO_BTF")
}

/// Begins a recording, and ends it at once.
fn begin(recording: &Recording) -> Vec<Check> {
    match prepare(recording) {
        Ok(prepared) => {
            let ring = match prepared.options.transport {
                Transport::Perf => Check::new("ring buffer", Status::Fallback, "perf's rings")
                    .advise("use Linux 5.8 or newer, whose ring buffers cost less"),
                Transport::Cpu | Transport::Ring | Transport::Auto => {
                    Check::new("ring buffer", Status::Ok, "")
                }
            };
            let attached = &prepared.attached;
            let hooks = attached.hooks.iter();
            let hooks = hooks.map(|hook| Check::new(hook, Status::Ok, ""));
            let missing = attached.missing.iter();
            let missing = missing
                .filter(|missing| missing.hook != "ring buffer")
                .map(|missing| missed(missing, attached));
            std::iter::once(ring).chain(hooks).chain(missing).collect()
        }
        Err(RecordError::Rights(lacking)) => {
            vec![untried("recording", &lacking)]
        }
        Err(error) => vec![Check::new("recording", Status::Missing, error.to_string())],
    }
}

fn untried(check: &str, lacking: &[String]) -> Check {
    let detail = format!("cannot be checked without {}", lacking.join(", "));
    Check::new(check, Status::Unknown, detail)
}

fn missed(missing: &MissingHook, attached: &Attached) -> Check {
    let MissingHook { hook, reason } = missing;
    let (status, advice) = match hook.as_str() {
        "tcx" => (
            Status::Fallback,
            "use Linux 6.6 or newer for tcx; a socket filter knows a packet's owner only by its \
             port",
        ),
        "tp_btf" | "iter/task_file" if attached.classic.is_some() => (Status::Fallback, ""),
        "iter/task_file" if kernel::is_in_pid_namespace() => (
            Status::Missing,
            "run it in the host's pid namespace (docker: --pid=host); otherwise existing sockets \
             have no owner, and existing processes no command line",
        ),
        "accept" => (
            Status::Missing,
            "use Linux 5.12 or newer with CONFIG_DEBUG_INFO_BTF",
        ),
        _ => (Status::Missing, ""),
    };
    let check = Check::new(hook, status, reason.as_str());
    match advice {
        "" => check,
        advice => check.advise(advice),
    }
}

/// Begins to count, and ends it at once.
fn top() -> Check {
    const CHECK: &str = "tcprec top";
    match kernel::lacking_rights(Transport::Ring) {
        Ok(lacking) if lacking.is_empty() => {}
        Ok(lacking) => return untried(CHECK, &lacking),
        Err(error) => return Check::new(CHECK, Status::Unknown, error.to_string()),
    }
    match kernel::Top::start(Room::default()) {
        Ok(_) => Check::new(CHECK, Status::Ok, ""),
        Err(error) => Check::new(CHECK, Status::Missing, error.to_string())
            .advise("it needs Linux 5.14 with BTF and control groups v2"),
    }
}

fn tracefs() -> Check {
    const CHECK: &str = "tracefs";
    match kernel::find_tracepoint("syscalls", "sys_exit_accept") {
        Ok(place) => Check::new(CHECK, Status::Ok, place),
        Err(error) => Check::new(CHECK, Status::Missing, error.to_string()).advise(
            "sudo mount -t tracefs tracefs /sys/kernel/tracing; without root this needs \
             CAP_DAC_READ_SEARCH, and CAP_SYS_ADMIN if it is not mounted",
        ),
    }
}

/// In its strict mode no program reads the kernel's memory (kernel_lockdown(7)).
fn lockdown(modes: io::Result<String>) -> Check {
    const CHECK: &str = "lockdown";
    match modes {
        Ok(modes) if modes.contains("[confidentiality]") => Check::new(
            CHECK,
            Status::Missing,
            "BPF programs cannot read kernel memory",
        )
        .advise("boot with lockdown=integrity, or without lockdown"),
        Ok(modes) => Check::new(CHECK, Status::Ok, modes.trim()),
        Err(error) => unread(
            CHECK,
            &error,
            "not in this kernel, or securityfs is not mounted",
        ),
    }
}

fn jit(enabled: io::Result<String>) -> Check {
    const CHECK: &str = "BPF compiler";
    match enabled {
        Ok(value) if value == "0" => Check::new(
            CHECK,
            Status::Fallback,
            "off: BPF programs are interpreted, which costs more",
        )
        .advise("sudo sysctl net.core.bpf_jit_enable=1"),
        Ok(value) => Check::new(
            CHECK,
            Status::Ok,
            format!("net.core.bpf_jit_enable={value}"),
        ),
        Err(error) => unread(
            CHECK,
            &error,
            "no setting: not in this kernel, or always on",
        ),
    }
}

fn unprivileged(disabled: io::Result<String>) -> Check {
    const CHECK: &str = "unprivileged BPF";
    let tell = |value: &str| {
        format!("kernel.unprivileged_bpf_disabled={value}; tcprec needs privileges anyway")
    };
    match disabled {
        Ok(value) => Check::new(CHECK, Status::Ok, tell(&value)),
        Err(error) => unread(CHECK, &error, "no setting"),
    }
}

/// Until Linux 5.11 BPF's memory counted as locked memory, which may have a limit in bytes.
fn memory(kernel: &str, limit_bytes: Option<u64>) -> Check {
    const CHECK: &str = "locked memory";
    const LEAST_BYTES: u64 = 64 << 20;
    if version(kernel).is_none_or(|version| version >= (5, 11)) {
        let detail = "no limit: since Linux 5.11 BPF memory is charged to the control group";
        return Check::new(CHECK, Status::Ok, detail);
    }
    match limit_bytes {
        Some(bytes) if bytes < LEAST_BYTES => {
            let detail = format!("at most {bytes} bytes, unless CAP_SYS_RESOURCE lifts the limit");
            Check::new(CHECK, Status::Fallback, detail).advise("ulimit -l unlimited")
        }
        _ => Check::new(CHECK, Status::Ok, "enough"),
    }
}

fn locked_memory_limit() -> io::Result<Option<u64>> {
    use procfs::process::{LimitValue, Process};
    let limits = Process::myself().and_then(|process| process.limits());
    let limits = limits.map_err(io::Error::other)?;
    Ok(match limits.max_locked_memory.hard_limit {
        LimitValue::Value(bytes) => Some(bytes),
        LimitValue::Unlimited => None,
    })
}

/// The first two numbers of a release, as `Linux 6.18.0`.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.split(' ').nth(1)?.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn filters() -> Check {
    const CHECK: &str = "filters";
    match compiler() {
        Ok(Compiler::Libpcap) => Check::new(CHECK, Status::Ok, "libpcap"),
        Ok(Compiler::Tcpdump) => Check::new(CHECK, Status::Ok, "tcpdump"),
        Err(error) => Check::new(CHECK, Status::Missing, error.to_string())
            .advise("sudo apt-get install libpcap0.8"),
    }
}

fn devices() -> io::Result<Check> {
    const CHECK: &str = "interfaces";
    let (known, unknown): (Vec<_>, Vec<_>) = interfaces::list(&[])
        .map_err(io::Error::other)?
        .into_iter()
        .partition(|(device, _)| device.layer.is_ok());
    let names = |devices: &[(kernel::Device, String)]| {
        let names: Vec<_> = devices.iter().map(|(_, name)| name.as_str()).collect();
        names.join(", ")
    };
    let mut detail = names(&known);
    if !unknown.is_empty() {
        detail.push_str("; not recorded, because of unknown link headers: ");
        detail.push_str(&names(&unknown));
    }
    let status = if known.is_empty() {
        Status::Missing
    } else {
        Status::Ok
    };
    Ok(Check::new(CHECK, status, detail))
}

fn setting(name: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).map(|value| value.trim().to_owned())
}

/// What could not be read: because it is not there, which is well, or for want
/// of rights.
fn unread(check: &str, error: &io::Error, absent: &str) -> Check {
    match error.kind() {
        io::ErrorKind::NotFound => Check::new(check, Status::Ok, absent),
        _ => Check::new(check, Status::Unknown, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases() {
        assert_eq!(version("Linux 5.10.0-21-amd64"), Some((5, 10)));
        assert_eq!(version("Linux 6.18-rc1"), Some((6, 18)));
        assert_eq!(version("Linux"), None);
    }

    fn found(text: &str) -> io::Result<String> {
        Ok(text.to_owned())
    }

    fn status(check: &Check) -> (Status, bool) {
        (check.status, check.advice.is_some())
    }

    #[test]
    fn only_confidentiality_hides_kernel_memory() {
        let locked = lockdown(found("none integrity [confidentiality]\n"));
        assert_eq!(status(&locked), (Status::Missing, true));
        let open = lockdown(found("none [integrity] confidentiality\n"));
        assert_eq!(status(&open), (Status::Ok, false));
        assert_eq!(open.detail, "none [integrity] confidentiality");
    }

    #[test]
    fn programs_that_are_interpreted_cost_more() {
        assert_eq!(status(&jit(found("0"))), (Status::Fallback, true));
        for value in ["1", "2"] {
            assert_eq!(status(&jit(found(value))), (Status::Ok, false));
        }
    }

    #[test]
    fn a_setting_may_be_absent_but_not_unreadable() {
        let error = |kind: io::ErrorKind| Err(kind.into());
        for check in [lockdown, jit, unprivileged] {
            let absent = check(error(io::ErrorKind::NotFound));
            assert_eq!(status(&absent), (Status::Ok, false));
            let unread = check(error(io::ErrorKind::PermissionDenied));
            assert_eq!(status(&unread), (Status::Unknown, false));
        }
    }

    #[test]
    fn locked_memory_is_limited_before_linux_5_11() {
        const OLD: &str = "Linux 5.10.0";
        let at = |kernel, limit_bytes| status(&memory(kernel, limit_bytes));
        assert_eq!(at(OLD, Some((64 << 20) - 1)), (Status::Fallback, true));
        assert_eq!(at(OLD, Some(64 << 20)), (Status::Ok, false));
        assert_eq!(at(OLD, None), (Status::Ok, false));
        assert_eq!(at("Linux 5.11.0", Some(0)), (Status::Ok, false));
    }
}
