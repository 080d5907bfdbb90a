//! Signals: those that end a recording, and the one that ends its command.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use signal_hook::SigId;
use signal_hook::flag::{register, register_conditional_shutdown};
use signal_hook::low_level::{pipe, unregister};

/// How long a recording may take to end before another signal ends it at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Set by the signals that end a recording.
pub(crate) struct Stop {
    is_set: Arc<AtomicBool>,
    /// Whether another one ends the program at once.
    is_last: Arc<AtomicBool>,
    /// What sets that.
    setters: Vec<SigId>,
    /// A byte for each signal, until somebody waits for them.
    told: Option<UnixStream>,
}

impl Stop {
    /// Listens to them from now on. The second one ends the program at once, which may
    /// have to wait for somebody who reads a FIFO.
    pub(crate) fn install() -> io::Result<Self> {
        use signal_hook::consts::{
            SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ,
        };
        let (told, tell) = UnixStream::pair()?;
        let mut stop = Self {
            is_set: Arc::default(),
            is_last: Arc::default(),
            setters: Vec::new(),
            told: Some(told),
        };
        let ends = [SIGINT, SIGTERM, SIGQUIT, SIGHUP];
        // As nohup leaves it.
        let is_heard = |signal: &i32| *signal != SIGHUP || !is_ignored(SIGHUP);
        for signal in ends.into_iter().filter(is_heard) {
            // In this order, or the first would end it.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.is_last))?;
            let setter = register(signal, Arc::clone(&stop.is_last))?;
            stop.setters.push(setter);
            register(signal, Arc::clone(&stop.is_set))?;
            pipe::register(signal, tell.try_clone()?)?;
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
        Ok(stop)
    }

    /// From now on there is something to lose: what comes together with the first one, as
    /// timeout(1) tells the program and then its whole group, is the same wish. Later ones
    /// end it at once: an output may take nothing any more.
    pub(crate) fn be_patient(&mut self) {
        let Some(mut told) = self.told.take() else {
            return;
        };
        for setter in self.setters.drain(..) {
            unregister(setter);
        }
        self.is_last.store(false, Ordering::Relaxed);
        let is_last = Arc::clone(&self.is_last);
        thread::spawn(move || {
            if told.read_exact(&mut [0]).is_ok() {
                thread::sleep(PATIENCE);
                is_last.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Whether one came since the last call.
    pub(crate) fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::Relaxed)
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
