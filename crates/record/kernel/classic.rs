//! What classic tracepoints leave out, from /proc: the sockets that were there
//! before, of which namespace a socket is, and since when a process runs.
//!
//! A socket is of the recorder's namespace when the process is that asked for
//! it, or when a connection comes in on a port that someone listens on here.
//! The same port may be listened on in another namespace: then a connection
//! that comes in there is taken for one of here.

use std::collections::{HashMap, HashSet};
use std::io;
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
    /// Whether sockets are of here, by their numbers.
    ours: HashMap<u64, bool>,
    /// Where someone listens.
    ports: HashSet<u16>,
    /// The connections that were there before.
    ends: HashSet<(Endpoint, Endpoint)>,
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
            ours: HashMap::new(),
            ports: HashSet::new(),
            ends: HashSet::new(),
            starts: HashMap::new(),
            scan: Vec::new(),
        };
        new.scan = new.look(namespace.run(tables)?)?;
        Ok(new)
    }

    /// The sockets that were there, for each process that held them.
    pub(crate) fn take_scan(&mut self) -> impl Iterator<Item = Decoded> + use<> {
        let scan = std::mem::take(&mut self.scan).into_iter();
        scan.map(|(event, task)| Decoded::Event(event, task))
    }

    /// The sockets that are there. A process that ends meanwhile is passed over.
    fn look(&mut self, tables: Vec<TcpNetEntry>) -> io::Result<Vec<(Event, Option<Task>)>> {
        let ts_ns = self.clock.unix_ns(Clock::boot_ns()?);
        let mut sockets = HashMap::new();
        for entry in tables {
            // Those that wait for the last packets belong to nobody.
            if entry.inode != 0 {
                sockets.insert(entry.inode, entry);
            }
        }
        for entry in sockets.values() {
            let (local, remote) = ends(entry);
            if entry.state == TcpState::Listen {
                self.ports.insert(local.port);
            }
            self.ends.insert((local, remote));
        }
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
                    found.push((self.scanned(entry, task.id, ts_ns), Some(task.clone())));
                }
            }
        }
        Ok(found)
    }

    fn scanned(&self, entry: &TcpNetEntry, process: ProcessId, ts_ns: i64) -> Event {
        let (local, remote) = ends(entry);
        Event {
            kind: EventKind::Scan,
            ts_ns,
            cookie: None,
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
        is_ours.then(|| Exec {
            task,
            argv: argv.unwrap_or_default(),
            ..exec
        })
    }

    fn event(&mut self, mut event: Event, task: Option<Task>) -> Option<Decoded> {
        let (task, is_ours) = match task {
            Some(task) => {
                let (task, is_ours) = self.complete_task(task, event.tid, event.ts_ns);
                (Some(task), is_ours)
            }
            None => (None, self.is_ours(&event)),
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
        // A listener of here began under the recorder's eyes, or was there before.
        let is_listener = event.old_state == Some(State::Listen);
        known.copied().unwrap_or_else(|| {
            !is_listener && self.ports.contains(&event.local.port)
                || self.ends.contains(&(event.local, event.remote))
        })
    }

    /// The task with what /proc says of its process, and whether it is of here;
    /// as it should be where the process is gone.
    fn complete_task(&mut self, task: Task, tid: Option<u32>, seen_ns: i64) -> (Task, bool) {
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
            return (Task { id, ..task }, true);
        };
        self.starts.insert(pid, told.id.start_ns);
        let thread = tid.unwrap_or(pid);
        let namespace = std::fs::metadata(format!("/proc/{pid}/task/{thread}/ns/net"));
        let is_ours = namespace.map_or(true, |file| file.ino() == u64::from(self.netns));
        let cgroup_id = task.cgroup_id;
        (Task { cgroup_id, ..told }, is_ours)
    }
}

/// The sockets of the network namespace that this thread is in.
fn tables() -> Vec<TcpNetEntry> {
    ["tcp", "tcp6"]
        .map(|table| {
            let file = format!("/proc/thread-self/net/{table}");
            TcpNetEntries::from_file(file, current_system_info())
        })
        .into_iter()
        // There is no second one where the kernel has no IPv6.
        .flatten()
        .flat_map(|entries| entries.0)
        .collect()
}

fn ends(entry: &TcpNetEntry) -> (Endpoint, Endpoint) {
    let endpoint = |address: std::net::SocketAddr| Endpoint::new(address.ip(), address.port());
    (
        endpoint(entry.local_address),
        endpoint(entry.remote_address),
    )
}
