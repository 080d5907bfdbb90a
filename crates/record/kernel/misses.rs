//! Events that no program saw: the kernel does not run a program inside itself.
//! A softirq that interrupts one, on its CPU, and comes to the same tracepoint
//! finds it busy and passes on. At classic tracepoints it is enough that any such
//! program runs on that CPU, or a system call on a map. The kernel counts only
//! how often (`recursion_misses` of `bpf_prog_info`, Linux 5.12; of classic
//! tracepoints 6.7).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use libbpf_rs::{Object, libbpf_sys as sys};
use tcprec_shared::record::{Loss, LossCause, Lost};

use super::hooks::check;
use super::host::Clock;

/// The event programs, and what they missed so far.
#[derive(Debug)]
pub(super) struct Misses {
    programs: Vec<Program>,
    looked_boot_ns: u64,
}

#[derive(Debug)]
struct Program {
    fd: OwnedFd,
    lost: Lost,
    count: u64,
}

/// What programs missed between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missed {
    lost: Lost,
    count: u64,
    first_boot_ns: u64,
    last_boot_ns: u64,
}

impl Missed {
    /// The loss as a record. When it was is known as exactly as one looked.
    pub(super) fn record(&self, clock: Clock) -> Loss {
        Loss {
            cause: LossCause::Recursion,
            lost: self.lost,
            cpu: None,
            count: self.count,
            bytes: 0,
            first_ns: clock.unix_ns(self.first_boot_ns),
            last_ns: clock.unix_ns(self.last_boot_ns),
        }
    }
}

impl Misses {
    /// Of the loaded programs. Those of the packets never meet themselves: their
    /// hooks hold off softirqs.
    pub(super) fn of(events: Option<&Object>) -> io::Result<Self> {
        let mut programs = Vec::new();
        for program in events.into_iter().flat_map(Object::progs) {
            if !program.autoload() {
                continue;
            }
            // Exec, fork and exit tell of processes.
            let is_of_process = program.section().to_string_lossy().contains("/sched_");
            programs.push(Program {
                fd: program.as_fd().try_clone_to_owned()?,
                lost: if is_of_process {
                    Lost::Processes
                } else {
                    Lost::Events
                },
                count: 0,
            });
        }
        Ok(Self {
            programs,
            looked_boot_ns: Clock::boot_ns()?,
        })
    }

    /// What was missed since the last look.
    pub(super) fn take(&mut self) -> io::Result<Vec<Missed>> {
        let now = Clock::boot_ns()?;
        let mut found = Vec::new();
        for lost in [Lost::Events, Lost::Processes] {
            let mut count = 0;
            for program in self.programs.iter_mut().filter(|one| one.lost == lost) {
                let so_far = missed(&program.fd)?;
                count += so_far.saturating_sub(program.count);
                program.count = so_far;
            }
            if count > 0 {
                found.push(Missed {
                    lost,
                    count,
                    first_boot_ns: self.looked_boot_ns,
                    last_boot_ns: now,
                });
            }
        }
        self.looked_boot_ns = now;
        Ok(found)
    }

    /// How many events were missed, as of the last look.
    pub(super) fn events(&self) -> u64 {
        let of_events = self.programs.iter().filter(|one| one.lost == Lost::Events);
        of_events.map(|program| program.count).sum()
    }
}

/// How often a program was not run because it ran already.
pub(super) fn missed(program: impl AsFd) -> io::Result<u64> {
    let mut info = sys::bpf_prog_info::default();
    // A kernel that does not count them leaves the zero.
    let mut length = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the value lives over the call, and its size is given.
    check(unsafe {
        sys::bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), &raw mut info, &raw mut length)
    })?;
    Ok(info.recursion_misses)
}

#[cfg(test)]
mod tests;
