//! Signals: those that end a recording, and the one that ends its command.

use std::io;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;

/// Set by the signals that end a recording.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to them from now on.
    pub(crate) fn install() -> io::Result<Self> {
        use signal_hook::consts::{
            SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ,
        };
        use signal_hook::flag::{register, register_conditional_shutdown};
        let stop = Arc::new(AtomicBool::new(false));
        let is_told = Arc::new(AtomicBool::new(false));
        let ends = [SIGINT, SIGTERM, SIGQUIT, SIGHUP];
        // As nohup leaves it.
        let is_heard = |signal: &i32| *signal != SIGHUP || !is_ignored(SIGHUP);
        for signal in ends.into_iter().filter(is_heard) {
            // The second one ends it at once: an output may take nothing any
            // more. In this order, or the first would.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_told))?;
            register(signal, Arc::clone(&is_told))?;
            register(signal, Arc::clone(&stop))?;
        }
        // Nobody reads this one: the signal ends the wait for the rings, so
        // that the end of the command is seen at once.
        register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
        // To those who are used to send them to tcpdump they shall do no harm.
        for signal in [SIGUSR1, SIGUSR2] {
            register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        // A write beyond `ulimit -f` shall fail, not kill.
        register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self(stop))
    }

    /// Whether one came since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Whether whoever started the program had a signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (signal - 1) & 1 == 1)
}

/// Asks a command to end.
pub(crate) fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
