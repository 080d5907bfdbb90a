//! Ends what the tests started, however they end themselves: a test that is killed
//! runs no destructors, and its servers and recorders would go on for ever.
//!
//! The tests run as a child of a child of the process that was started. Both
//! keepers are subreapers: orphans below them become their children, so that
//! nothing gets away. Of whichever is killed, one keeper is left to end the rest.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, ExitCode};
use std::{env, fs, io, thread};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};

use crate::process::PAUSE;

/// How many keepers there are above a process.
const DEPTH: &str = "TCPREC_LAB_KEEPERS";
const KEEPERS: usize = 2;
/// What an ended process of the standard harness says of failed tests.
const FAILED: u8 = 101;

/// A name for what outlives a process: whoever keeps it knows by the name that
/// nobody needs it any more.
pub(crate) fn name(suffix: &str) -> String {
    format!("tcprec-lab-{}-{suffix}", process::id())
}

/// A command that begins with keepers of its own.
pub(crate) fn anew(mut command: Command) -> Command {
    command.env_remove(DEPTH);
    command
}

/// Keeps the tests, where this process is to do that, until they have ended: then
/// their exit code; none where it is to run them.
pub(crate) fn keep() -> Option<ExitCode> {
    let depth = env::var(DEPTH).ok().and_then(|depth| depth.parse().ok());
    let depth: usize = depth.unwrap_or_default();
    if depth >= KEEPERS {
        return None;
    }
    // Whose end ends the tests too: asked before they can end it.
    let above = (depth > 0).then(getppid);
    let kept = start(depth).unwrap_or_else(|error| panic!("starting the tests: {error}"));
    let (mut ended, code) = wait_for(kept, above);
    end_all(&mut ended);
    for pid in ended {
        remove_leftovers(pid);
    }
    Some(code.into())
}

fn start(depth: usize) -> io::Result<Pid> {
    set_child_subreaper(true)?;
    let mut command = Command::new(env::current_exe()?);
    command
        .args(env::args_os().skip(1))
        .env(DEPTH, (depth + 1).to_string());
    if depth == 0 {
        // What ends a whole group, as Ctrl-C does, leaves the other keeper.
        command.process_group(0);
    }
    let id = command.spawn()?.id();
    Ok(Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?))
}

/// Waits until the one that is kept has ended, or the keeper above. Gives all that
/// ended, and the exit code.
fn wait_for(kept: Pid, above: Option<Pid>) -> (Vec<Pid>, u8) {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => {
                ended.push(pid);
                if pid == kept {
                    return (ended, u8::try_from(code).unwrap_or(FAILED));
                }
            }
            Ok(WaitStatus::Signaled(pid, ..)) => {
                ended.push(pid);
                if pid == kept {
                    return (ended, FAILED);
                }
            }
            Err(Errno::ECHILD) => return (ended, FAILED),
            _ if above.is_some_and(|above| getppid() != above) => return (ended, FAILED),
            _ => thread::sleep(PAUSE),
        }
    }
}

/// Kills all that is left below this process.
fn end_all(ended: &mut Vec<Pid>) {
    loop {
        for child in children().remove(&getpid()).unwrap_or_default() {
            // It may just have ended.
            let _ = kill(child, Signal::SIGKILL);
        }
        // The children of one that ends are children of this process by now.
        match waitpid(None, None) {
            Ok(status) => ended.extend(status.pid()),
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
}

/// Of each process its children.
pub(crate) fn children() -> BTreeMap<Pid, Vec<Pid>> {
    let mut children: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        // The name in parentheses may hold any bytes (proc_pid_stat(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
            let parent = rest.split_whitespace().nth(1)?;
            parent.parse().ok()
        });
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            let of_parent = children.entry(Pid::from_raw(parent)).or_default();
            of_parent.push(Pid::from_raw(pid));
        }
    }
    children
}

/// The files and the named namespaces of a process that ended, unless another has
/// its number by now.
fn remove_leftovers(pid: Pid) {
    if fs::exists(format!("/proc/{pid}")).unwrap_or(true) {
        return;
    }
    let prefix = format!("tcprec-lab-{pid}-");
    let of_process = |folder: &std::path::Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_its = |name: &str| name.starts_with(&prefix);
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_its))
            .collect::<Vec<_>>()
    };
    for folder in of_process(&env::temp_dir()) {
        let _ = fs::remove_dir_all(folder.path());
    }
    for namespace in of_process("/run/netns".as_ref()) {
        let mut command = Command::new("ip");
        let _ = command
            .args(["netns", "delete"])
            .arg(namespace.file_name())
            .status();
    }
}
