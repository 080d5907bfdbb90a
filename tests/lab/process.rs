//! Programs that the tests run: with a deadline, with their output kept, and
//! ended when the test ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::netns::Namespace;

/// How long anything may take before it counts as hanging. Generous: a busy
/// machine must not fail a test, and the kernel itself keeps a connection that
/// its peer does not close for a minute (`tcp_fin_timeout`).
const PATIENCE: Duration = Duration::from_secs(240);
/// How long to wait between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Runs a program with a pid that was another's: `python3 -c AS_PID PID PROGRAM ...`.
pub(crate) const AS_PID: &str = "
import ctypes, os, signal, sys

CLONE3 = 435
pid = ctypes.c_int(int(sys.argv[1]))
# struct clone_args of linux/sched.h: exit_signal, set_tid, set_tid_size
fields = [0] * 11
fields[4], fields[8], fields[9] = signal.SIGCHLD, ctypes.addressof(pid), 1
arguments = (ctypes.c_uint64 * 11)(*fields)
child = ctypes.CDLL(None).syscall(CLONE3, arguments, ctypes.sizeof(arguments))
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
assert child == pid.value, child
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(PAUSE);
    }
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    command: String,
    output: PathBuf,
    errors: PathBuf,
}

/// What a program that ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its process id.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to standard output.
    pub(crate) output: String,
    /// What it wrote to standard error.
    pub(crate) errors: String,
    command: String,
}

impl Process {
    /// Starts a program in a namespace; `folder` takes its output.
    pub(crate) fn start(mut command: Command, namespace: &Namespace, folder: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let output = folder.join(format!("{number}.out"));
        let errors = folder.join(format!("{number}.err"));
        let text = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(File::create(&output).expect("a file for output"))
            .stderr(File::create(&errors).expect("a file for errors"));
        let child = namespace
            .enter(|| command.spawn())
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        Self {
            child,
            command: text,
            output,
            errors,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn errors(&self) -> String {
        read(&self.errors)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the state of a child")
            .is_some()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("sending a signal to a child");
    }

    /// Lets it stand still, with all its threads, until [`Process::go_on`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // The kernel tells of it when the last thread stands still.
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        wait_until(&format!("{} stands still", self.command), || {
            let state = waitid(Id::Pid(self.id()), flags).expect("the state of a child");
            matches!(state, WaitStatus::Stopped(..))
        });
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).expect("a process id"))
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.finish()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let what = format!("{} ends", self.command);
        wait_until(&what, || self.has_ended());
        Ended {
            pid: self.pid(),
            status: self.child.wait().expect("the status of a child"),
            output: read(&self.output),
            errors: self.errors(),
            command: self.command.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // The gentle way first: only so does nginx end its workers.
        self.signal(Signal::SIGTERM);
        self.go_on();
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Itself, after a look at its exit code.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let Self { status, errors, .. } = &self;
        assert_eq!(
            status.code(),
            Some(code),
            "{}: {status}\n{errors}",
            self.command
        );
        self
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a program's output")).into_owned()
}
