//! Signals: those that end a recording, and the one that ends its command.

use std::io;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Set by the signals that end a recording.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to them from now on.
    pub(crate) fn install() -> io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
        use signal_hook::flag::{register, register_conditional_shutdown};
        let stop = Arc::new(AtomicBool::new(false));
        let is_told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The second one ends it at once: an output may take nothing any
            // more. In this order, or the first would.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_told))?;
            register(signal, Arc::clone(&is_told))?;
            register(signal, Arc::clone(&stop))?;
        }
        // Nobody reads this one: the signal ends the wait for the rings, so
        // that the end of the command is seen at once.
        register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
        // A write beyond `ulimit -f` shall fail, not kill.
        register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self(stop))
    }

    /// Whether one came since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Asks a command to end.
pub(crate) fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
