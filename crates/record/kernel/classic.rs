//! What classic tracepoints leave out, from /proc: the sockets that were there
//! before, of which namespace a socket is, and since when a process runs.
//!
//! A socket is of the recorder's namespace when the process is that asked for
//! it, or when a connection comes in on a port that someone listens on here.
//! The same port may be listened on in another namespace: then a connection
//! that comes in there is taken for one of here. So is what a process did that was
//! gone before /proc could be asked; but who listens is whoever does so by then, as
//! where a server leaves its listener to a child and ends.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::MetadataExt as _;

use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};
use procfs::{FromReadSI as _, current_system_info};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, ProcessId, TcpState as State};

use super::decode::{Decoded, Exec, Task};
use super::host::{Clock, TICK_NS};
use super::namespace::Namespace;

/// How many sockets, and processes that ended, are remembered; more begin anew.
const MAX_KNOWN: usize = 1 << 17;

/// What is known of sockets and processes beside their events.
#[derive(Debug)]
pub(crate) struct Classic {
    netns: u32,
    clock: Clock,
    /// The tables of the namespace's sockets.
    tables: Vec<File>,
    /// Whether sockets are of here, by their numbers.
    ours: HashMap<u64, bool>,
    /// Where someone listens.
    ports: HashSet<u16>,
    /// When the sockets were looked at that were there before.
    looked_boot_ns: u64,
    /// Those of them that are not closed, by their ends, with
    /// their numbers; without where several have the same ends (SO_REUSEPORT).
    before: HashMap<(Endpoint, Endpoint), Option<u64>>,
    /// Since when processes run, as far as that was seen.
    starts: HashMap<u32, i64>,
    scan: Vec<(Event, Option<Task>)>,
}

impl Classic {
    /// Looks which sockets are there.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub(super) fn new(namespace: &Namespace, clock: Clock) -> io::Result<Self> {
        let mut new = Self {
            netns: namespace.inode(),
            clock,
            tables: namespace.run(tables)?,
            ours: HashMap::new(),
            ports: HashSet::new(),
            looked_boot_ns: Clock::boot_ns()?,
            before: HashMap::new(),
            starts: HashMap::new(),
            scan: Vec::new(),
        };
        new.scan = new.look()?;
        Ok(new)
    }

    /// The sockets that were there, for each process that held them.
    pub(crate) fn take_scan(&mut self) -> impl Iterator<Item = Decoded> + use<> {
        let scan = std::mem::take(&mut self.scan).into_iter();
        scan.map(|(event, task)| Decoded::Event(event, task))
    }

    /// The sockets that are there. A process that ends meanwhile is passed over.
    fn look(&mut self) -> io::Result<Vec<(Event, Option<Task>)>> {
        let sockets = self.sockets();
        for entry in sockets.values() {
            let (local, remote) = ends(entry);
            if entry.state == TcpState::Listen {
                self.ports.insert(local.port);
            }
            let number = self.number(entry);
            (self.before.entry((local, remote)))
                .and_modify(|number| *number = None)
                .or_insert(Some(number));
        }
        let found = self.held(&sockets)?.into_iter();
        let scanned = found.map(|(task, entry)| (self.scanned(entry, task.id), Some(task.clone())));
        Ok(scanned.collect())
    }

    /// The sockets of the namespace, by their inodes.
    fn sockets(&self) -> HashMap<u64, TcpNetEntry> {
        let entries = self.tables.iter().flat_map(|mut table| {
            let begins = table.rewind().is_ok();
            let read = begins.then(|| TcpNetEntries::from_read(table, current_system_info()));
            read.and_then(Result::ok)
                .map_or_else(Vec::new, |table| table.0)
        });
        // Those that wait for the last packets belong to nobody.
        let held = entries.filter(|entry| entry.inode != 0);
        held.map(|entry| (entry.inode, entry)).collect()
    }

    /// Which processes hold which of these sockets.
    fn held<'a>(
        &self,
        sockets: &'a HashMap<u64, TcpNetEntry>,
    ) -> io::Result<Vec<(Task, &'a TcpNetEntry)>> {
        let mut found = Vec::new();
        for process in all_processes().map_err(io::Error::other)?.flatten() {
            let Some(task) = self.task(&process) else {
                continue;
            };
            let mut held = HashSet::new();
            for file in process.fd().into_iter().flatten().flatten() {
                if let FDTarget::Socket(inode) = file.target
                    && let Some(entry) = sockets.get(&inode)
                    && held.insert(inode)
                {
                    found.push((task.clone(), entry));
                }
            }
        }
        Ok(found)
    }

    /// A number for a socket that was there before: like those of tracepoints.bpf.c, but of
    /// a CPU that hardly any machine has. (The inode's own number may be another's cookie.)
    fn number(&self, entry: &TcpNetEntry) -> u64 {
        const CPU: u64 = 0xff;
        self.looked_boot_ns.wrapping_add(entry.inode) << 8 | CPU
    }

    /// The oldest process that listens there now.
    fn listener_at(&self, local: Endpoint) -> Option<Task> {
        let mut sockets = self.sockets();
        sockets.retain(|_, entry| entry.state == TcpState::Listen && ends(entry).0 == local);
        if sockets.is_empty() {
            return None;
        }
        let held = self.held(&sockets).ok()?.into_iter().map(|(task, _)| task);
        held.min_by_key(|task| (task.id.start_ns, task.id.pid))
    }

    fn scanned(&self, entry: &TcpNetEntry, process: ProcessId) -> Event {
        let (local, remote) = ends(entry);
        Event {
            kind: EventKind::Scan,
            ts_ns: self.clock.unix_ns(self.looked_boot_ns),
            cookie: Some(self.number(entry)),
            netns: self.netns,
            local,
            remote,
            process: Some(process),
            tid: None,
            old_state: None,
            new_state: super::decode::state(entry.state.to_u8()),
            direction: None,
            tcp: None,
        }
    }

    /// The process as the typed tracepoints would tell it.
    fn task(&self, process: &Process) -> Option<Task> {
        let stat = process.stat().ok()?;
        let start_boot_ns = stat.starttime.saturating_mul(TICK_NS);
        Some(Task {
            id: ProcessId {
                pid: u32::try_from(stat.pid).ok()?,
                start_ns: self.clock.unix_ns(start_boot_ns),
            },
            ppid: u32::try_from(stat.ppid).unwrap_or(0),
            uid: process.status().ok()?.euid,
            comm: stat.comm,
            cgroup_id: 0,
        })
    }

    /// Completes what a tracepoint told; nothing where it is of another namespace.
    pub(crate) fn complete(&mut self, decoded: Decoded) -> Option<Decoded> {
        match decoded {
            Decoded::Exec(exec) => self.exec(exec).map(Decoded::Exec),
            Decoded::Event(event, task) => self.event(event, task),
        }
    }

    fn exec(&mut self, exec: Exec) -> Option<Exec> {
        let (task, is_ours) = self.complete_task(exec.task, None, exec.ts_ns);
        let process = i32::try_from(task.id.pid).ok();
        let argv = process
            .and_then(|pid| Process::new(pid).ok())
            .and_then(|process| process.cmdline().ok());
        is_ours.unwrap_or(true).then(|| Exec {
            task,
            argv: argv.unwrap_or_default(),
            ..exec
        })
    }

    fn event(&mut self, mut event: Event, task: Option<Task>) -> Option<Decoded> {
        let (task, is_ours) = match task {
            Some(task) => {
                let (mut task, is_ours) = self.complete_task(task, event.tid, event.ts_ns);
                if event.kind == EventKind::Listen
                    && is_ours.is_none()
                    && let Some(listener) = self.listener_at(event.local)
                {
                    event.tid = None;
                    task = listener;
                }
                (Some(task), is_ours.unwrap_or(true))
            }
            None => {
                let is_ours = self.is_ours(&event);
                if is_ours {
                    self.name_as_before(&mut event);
                }
                (None, is_ours)
            }
        };
        event.process = task.as_ref().map(|task| task.id);
        if let Some(number) = event.cookie {
            if self.ours.len() >= MAX_KNOWN {
                self.ours.clear();
            }
            if event.kind == EventKind::Close {
                self.ours.remove(&number);
            } else {
                self.ours.insert(number, is_ours);
            }
        }
        if !is_ours {
            return None;
        }
        if event.new_state == Some(State::Listen) {
            self.ports.insert(event.local.port);
        }
        Some(Decoded::Event(event, task))
    }

    fn is_ours(&self, event: &Event) -> bool {
        let known = event.cookie.and_then(|number| self.ours.get(&number));
        let before = self.before.get(&(event.local, event.remote));
        // A listener of here began under the recorder's eyes, or was there before; where it
        // still is, another namespace's was closed.
        let is_listener = event.old_state == Some(State::Listen);
        known.copied().unwrap_or_else(|| match before {
            Some(Some(number)) if is_listener => !self.is_there(*number),
            Some(_) => true,
            None => !is_listener && self.ports.contains(&event.local.port),
        })
    }

    fn is_there(&self, number: u64) -> bool {
        let sockets = self.sockets();
        sockets.values().any(|entry| self.number(entry) == number)
    }

    /// Gives a socket that was there before the number that it has in the scan.
    fn name_as_before(&mut self, event: &mut Event) {
        let ends = (event.local, event.remote);
        let is_birth = event.old_state == Some(State::SynRecv);
        if let Some(number) = event.cookie
            && !(is_birth || self.ours.contains_key(&number))
            && let Some(Some(before)) = self.before.get(&ends)
        {
            event.cookie = Some(*before);
            if event.kind == EventKind::Close {
                self.before.remove(&ends);
            }
        }
    }

    /// The task with what /proc says of its process, and whether it is of here; as it
    /// should be, and not known, where the process is gone.
    fn complete_task(
        &mut self,
        task: Task,
        tid: Option<u32>,
        seen_ns: i64,
    ) -> (Task, Option<bool>) {
        let pid = task.id.pid;
        let process = i32::try_from(pid)
            .ok()
            .and_then(|pid| Process::new(pid).ok());
        let told = process.as_ref().and_then(|process| self.task(process));
        if self.starts.len() >= MAX_KNOWN {
            self.starts.clear();
        }
        let Some(told) = told else {
            // Not later than it was first seen.
            let start_ns = *self.starts.entry(pid).or_insert(seen_ns);
            let id = ProcessId { pid, start_ns };
            return (Task { id, ..task }, None);
        };
        self.starts.insert(pid, told.id.start_ns);
        let thread = tid.unwrap_or(pid);
        let namespace = std::fs::metadata(format!("/proc/{pid}/task/{thread}/ns/net"));
        let is_ours = namespace.map(|file| file.ino() == u64::from(self.netns));
        let cgroup_id = task.cgroup_id;
        (Task { cgroup_id, ..told }, is_ours.ok())
    }
}

/// The tables of the sockets of the network namespace that this thread is in. They stay
/// those of that one, whoever reads them.
fn tables() -> Vec<File> {
    let tables = ["tcp", "tcp6"].map(|table| File::open(format!("/proc/thread-self/net/{table}")));
    // There is no second one where the kernel has no IPv6.
    tables.into_iter().flatten().collect()
}

fn ends(entry: &TcpNetEntry) -> (Endpoint, Endpoint) {
    let endpoint = |address: std::net::SocketAddr| Endpoint::new(address.ip(), address.port());
    (
        endpoint(entry.local_address),
        endpoint(entry.remote_address),
    )
}
