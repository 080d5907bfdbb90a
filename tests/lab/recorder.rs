//! The command under test, as its users run it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::process::{Ended, Process, wait_until};
use crate::report::Report;
use crate::world::World;

pub(crate) const TCPREC: &str = env!("CARGO_BIN_EXE_tcprec");
/// What the recorder says when nothing that happens from now on escapes it.
const READY: &str = "tcprec: recording";

/// A recorder at work.
#[derive(Debug)]
pub(crate) struct Recorder(Process);

impl Recorder {
    /// Starts `tcprec record` on a host and waits until all hooks are attached.
    pub(crate) fn start<A: AsRef<OsStr>>(world: &World, host: &Namespace, arguments: &[A]) -> Self {
        let mut command = Command::new(TCPREC);
        command.arg("record").args(arguments);
        Self::ready(world.start(host, command))
    }

    /// Waits until all hooks are attached.
    pub(crate) fn ready(mut process: Process) -> Self {
        wait_until("the recorder is ready", || {
            // Asked for first: it may be ready and end between both.
            let has_ended = process.has_ended();
            let errors = process.errors();
            let is_ready = errors.lines().any(|line| line.starts_with(READY));
            assert!(is_ready || !has_ended, "the recorder ended: {errors}");
            is_ready
        });
        Self(process)
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(self) -> Ended {
        self.0.signal(Signal::SIGINT);
        self.finish()
    }

    /// Ends it without a chance to do anything more.
    pub(crate) fn kill(self) {
        self.0.signal(Signal::SIGKILL);
        self.0.finish();
    }

    /// Waits until it ends by itself.
    pub(crate) fn finish(self) -> Ended {
        self.0.finish().expect_code(0)
    }

    /// Waits until it ends, well or not.
    pub(crate) fn finish_anyhow(self) -> Ended {
        self.0.finish()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// Lets it stand still until [`Recorder::go_on`].
    pub(crate) fn pause(&self) {
        self.0.pause();
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.0.go_on();
    }

    /// What it said so far.
    pub(crate) fn errors(&self) -> String {
        self.0.errors()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }
}

/// Runs `tcprec` on a host to its end.
pub(crate) fn tcprec<A: AsRef<OsStr>>(world: &World, host: &Namespace, arguments: &[A]) -> Ended {
    let mut command = Command::new(TCPREC);
    command.args(arguments);
    world.start(host, command).finish()
}

/// What `tcprec analyze` says of a capture.
pub(crate) fn analyze(world: &World, capture: &Path) -> Report {
    let arguments = [
        "analyze".as_ref(),
        "--format".as_ref(),
        "jsonl".as_ref(),
        capture.as_os_str(),
    ];
    let ended = tcprec(world, &world.client, &arguments).expect_code(0);
    assert_eq!(ended.errors, "", "a warning of tcprec analyze");
    Report::parse(&ended.output)
}

/// Writes a capture in the format that the other file's name tells.
pub(crate) fn convert(world: &World, from: &Path, to: &Path) {
    let arguments = ["convert".as_ref(), from.as_os_str(), to.as_os_str()];
    tcprec(world, &world.client, &arguments).expect_code(0);
}
