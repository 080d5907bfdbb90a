//! Who the processes are: what the kernel told at an exec, what /proc tells of
//! those that ran before, and what the file has been told already.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::mem;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::Path;

use procfs::process::Process as ProcProcess;
use tcprec_shared::record::{Process, ProcessId};

use crate::container::container;
use crate::kernel::{Clock, Exec, TICK_NS, Task, cgroup_mount};

/// How many processes are remembered. Those that did nothing for longest make room, and
/// are written again when they do something.
const MAX_KNOWN: usize = 1 << 16;
/// How many programs started by processes without a socket are remembered.
const MAX_STARTED: usize = 1 << 12;
/// How many control groups that are gone are remembered; more start anew.
const MAX_GONE: usize = 1 << 12;

/// The processes of a recording.
#[derive(Debug)]
pub(crate) struct Processes {
    clock: Clock,
    /// Those that are in the file.
    known: BTreeMap<ProcessId, Known>,
    /// The keys of `known`, in the order in which they are to be forgotten.
    known_order: VecDeque<ProcessId>,
    max_known: usize,
    /// The latest program of each, also of those that did nothing with TCP so far. What
    /// a process without a socket runs is nobody's business.
    started: BTreeMap<ProcessId, Exec>,
    /// The keys of `started`, the oldest first.
    started_order: VecDeque<ProcessId>,
    groups: ControlGroups,
}

#[derive(Debug)]
struct Known {
    process: Process,
    /// Whether it acted since it was last to be forgotten.
    has_acted: bool,
}

impl Processes {
    pub(crate) fn new(clock: Clock) -> Self {
        Self::within(clock, MAX_KNOWN)
    }

    fn within(clock: Clock, max_known: usize) -> Self {
        Self {
            clock,
            known: BTreeMap::new(),
            known_order: VecDeque::new(),
            max_known,
            started: BTreeMap::new(),
            started_order: VecDeque::new(),
            groups: ControlGroups::default(),
        }
    }

    /// A process that is in the file.
    pub(crate) fn known(&self, id: ProcessId) -> Option<&Process> {
        self.known.get(&id).map(|known| &known.process)
    }

    /// Takes note of a started program. Gives the process's new record if the
    /// file holds an older one.
    pub(crate) fn start(&mut self, exec: Exec) -> Option<Process> {
        let id = exec.task.id;
        let mut process = None;
        if self.known.contains_key(&id) {
            let described = self.describe(&exec.task, Some(&exec));
            self.remember(described.clone());
            process = Some(described);
        }
        if self.started.insert(id, exec).is_none() {
            self.started_order.push_back(id);
        }
        if self.started_order.len() > MAX_STARTED
            && let Some(oldest) = self.started_order.pop_front()
        {
            self.started.remove(&oldest);
        }
        process
    }

    /// The record to write before an event of this task, if the file does not
    /// hold it as it is.
    pub(crate) fn meet(&mut self, task: &Task) -> Option<Process> {
        if let Some(known) = self.known.get_mut(&task.id) {
            known.has_acted = true;
            if known.process.comm == task.comm && known.process.uid == Some(task.uid) {
                return None;
            }
        }
        let exec = self.started.get(&task.id).cloned();
        let process = self.describe(task, exec.as_ref());
        self.remember(process.clone());
        Some(process)
    }

    fn remember(&mut self, process: Process) {
        let id = process.id;
        if !self.known.contains_key(&id) {
            self.make_room();
            self.known_order.push_back(id);
        }
        let known = Known {
            process,
            has_acted: false,
        };
        self.known.insert(id, known);
    }

    /// Forgets the oldest process without the mark that it acted. Those before it lose
    /// theirs and go to the end: the second-chance (clock) algorithm.
    fn make_room(&mut self) {
        while self.known.len() >= self.max_known
            && let Some(oldest) = self.known_order.pop_front()
            && let Some(known) = self.known.get_mut(&oldest)
        {
            if mem::take(&mut known.has_acted) {
                self.known_order.push_back(oldest);
            } else {
                self.known.remove(&oldest);
            }
        }
    }

    fn describe(&mut self, task: &Task, exec: Option<&Exec>) -> Process {
        let live = Live::read(task.id, self.clock);
        let (exe, argv) = match (exec, &live) {
            (Some(exec), live) => (
                live.as_ref()
                    .and_then(|live| live.exe.clone())
                    .or_else(|| Some(exec.filename.clone())),
                exec.argv.clone(),
            ),
            (None, Some(live)) => (live.exe.clone(), live.argv.clone()),
            // It took another name or user since, and started no program.
            (None, None) => match self.known(task.id) {
                Some(known) => (known.exe.clone(), known.argv.clone()),
                None => self.inherit(task),
            },
        };
        let (live_group, live_container) =
            live.map_or((None, None), |live| (live.cgroup, live.container));
        let cgroup = live_group.or_else(|| self.groups.path(task.cgroup_id, control_groups));
        Process {
            id: task.id,
            ppid: Some(task.ppid),
            uid: Some(task.uid),
            comm: task.comm.clone(),
            exe,
            argv,
            container: cgroup.as_deref().and_then(container).or(live_container),
            cgroup,
        }
    }

    /// A process that is gone and started no program of its own: it ran its
    /// parent's, if it has its parent's name.
    fn inherit(&self, task: &Task) -> (Option<String>, Vec<String>) {
        let known = latest(&self.known, task.ppid);
        let started = latest(&self.started, task.ppid);
        let parent = match (known, started) {
            (Some((id, known)), started) if started.is_none_or(|(other, _)| id >= other) => {
                let Process {
                    comm, exe, argv, ..
                } = &known.process;
                Some((comm, exe.clone(), argv))
            }
            (_, started) => {
                started.map(|(_, exec)| (&exec.task.comm, Some(exec.filename.clone()), &exec.argv))
            }
        };
        match parent {
            Some((comm, exe, argv)) if *comm == task.comm => (exe, argv.clone()),
            _ => Default::default(),
        }
    }
}

/// What is known of a pid's latest process.
fn latest<T>(processes: &BTreeMap<ProcessId, T>, pid: u32) -> Option<(&ProcessId, &T)> {
    let of_pid = |start_ns| ProcessId { pid, start_ns };
    processes
        .range(of_pid(i64::MIN)..=of_pid(i64::MAX))
        .next_back()
}

/// What /proc says of a process that still runs.
#[derive(Debug)]
struct Live {
    exe: Option<String>,
    argv: Vec<String>,
    cgroup: Option<String>,
    /// As the paths of all hierarchies tell it: where there are those of version 1, managers
    /// of containers use them and leave the unified one alone (cgroups(7), "hybrid").
    container: Option<String>,
}

impl Live {
    /// None when the process is gone, or its pid is another's by now.
    fn read(id: ProcessId, clock: Clock) -> Option<Self> {
        let process = ProcProcess::new(i32::try_from(id.pid).ok()?).ok()?;
        let boot_ns = u64::try_from(id.start_ns - clock.offset_ns).ok()?;
        if process.stat().ok()?.starttime.abs_diff(boot_ns / TICK_NS) > 1 {
            return None;
        }
        let exe = process
            .exe()
            .ok()
            .map(|exe| exe.to_string_lossy().into_owned());
        let groups = process.cgroups().map(|groups| groups.0).unwrap_or_default();
        let container = groups.iter().find_map(|group| container(&group.pathname));
        // The unified hierarchy has number 0 (cgroups(7)).
        let unified = groups.into_iter().find(|group| group.hierarchy == 0);
        let cgroup = unified.map(|group| group.pathname);
        Some(Self {
            exe,
            argv: process.cmdline().unwrap_or_default(),
            cgroup,
            container,
        })
    }
}

/// Paths of control groups below the root of the hierarchy by their id, for processes
/// that are gone from /proc. Its id is the inode number of its folder.
#[derive(Debug, Default)]
struct ControlGroups {
    paths: HashMap<u64, String>,
    /// Those that were gone when they were looked for: they are not looked for again.
    gone: HashSet<u64>,
}

impl ControlGroups {
    /// The path of a control group; `look` gives those of all that exist.
    fn path(&mut self, id: u64, look: impl FnOnce() -> HashMap<u64, String>) -> Option<String> {
        if !self.paths.contains_key(&id) && !self.gone.contains(&id) {
            self.paths = look();
            if !self.paths.contains_key(&id) {
                if self.gone.len() >= MAX_GONE {
                    self.gone.clear();
                }
                self.gone.insert(id);
            }
        }
        self.paths.get(&id).cloned()
    }
}

/// The paths of all control groups.
fn control_groups() -> HashMap<u64, String> {
    let mut paths = HashMap::new();
    if let Ok(Some(root)) = cgroup_mount() {
        if let Ok(metadata) = fs::metadata(&root) {
            paths.insert(metadata.ino(), "/".to_owned());
        }
        walk(&root, &root, &mut paths);
    }
    paths
}

fn walk(root: &Path, folder: &Path, paths: &mut HashMap<u64, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if let Ok(below) = path.strip_prefix(root) {
            paths.insert(entry.ino(), format!("/{}", below.display()));
        }
        walk(root, &path, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: u32, comm: &str) -> Task {
        Task {
            id: ProcessId { pid, start_ns: 1 },
            ppid: 1,
            uid: 0,
            comm: comm.to_owned(),
            cgroup_id: u64::MAX,
        }
    }

    #[test]
    fn a_started_program_is_told_with_the_first_event_only() {
        let mut processes = Processes::new(Clock { offset_ns: 0 });
        // Beyond the largest pid: not in /proc.
        let curl = task(1 << 23, "curl");
        let exec = Exec {
            ts_ns: 0,
            task: curl.clone(),
            filename: "/usr/bin/curl".to_owned(),
            argv: vec!["curl".to_owned(), "-s".to_owned()],
        };
        assert_eq!(processes.start(exec.clone()), None);
        let process = processes.meet(&curl).unwrap();
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.argv, ["curl", "-s"]);
        assert_eq!(processes.meet(&curl), None);
        let second = Exec {
            argv: vec!["curl".to_owned(), "-v".to_owned()],
            ..exec
        };
        assert_eq!(processes.start(second).unwrap().argv, ["curl", "-v"]);
        // It takes another name.
        let renamed = processes.meet(&task(1 << 23, "renamed")).unwrap();
        assert_eq!(renamed.argv, ["curl", "-v"]);
    }

    /// A child that is gone by then.
    #[test]
    fn who_takes_another_name_still_runs_its_program() {
        let mut processes = Processes::new(Clock { offset_ns: 0 });
        let parent = task(1 << 23, "server");
        processes.start(Exec {
            ts_ns: 0,
            task: parent.clone(),
            filename: "/bin/server".to_owned(),
            argv: vec!["server".to_owned()],
        });
        let child = |comm| Task {
            ppid: parent.id.pid,
            ..task((1 << 23) + 1, comm)
        };
        assert!(processes.meet(&child("server")).is_some());
        let renamed = processes.meet(&child("worker")).unwrap();
        assert_eq!(renamed.exe.as_deref(), Some("/bin/server"));
        assert_eq!(renamed.argv, ["server"]);
    }

    #[test]
    fn those_that_did_nothing_for_longest_are_forgotten() {
        let mut processes = Processes::within(Clock { offset_ns: 0 }, 2);
        let [busy, idle, third] = [0, 1, 2].map(|number| task((1 << 23) + number, "server"));
        let mut meet = |task: &Task| processes.meet(task).is_some();
        assert!(meet(&busy) && meet(&idle) && !meet(&busy));
        assert!(meet(&third));
        assert!(!meet(&busy) && !meet(&third) && meet(&idle));
    }

    #[test]
    fn control_groups_that_are_gone_are_looked_for_once() {
        let mut groups = ControlGroups::default();
        let mut looks = 0;
        let mut path = |id, there: &[u64]| {
            groups.path(id, || {
                looks += 1;
                let there = there.iter();
                there.map(|id| (*id, format!("/{id}"))).collect()
            })
        };
        for _ in 0..2 {
            assert_eq!(path(1, &[3]), None);
            assert_eq!(path(2, &[3]), None);
            assert_eq!(path(3, &[]).as_deref(), Some("/3"));
        }
        assert_eq!(looks, 2);
    }

    /// The latest of its pid.
    #[test]
    fn a_child_runs_its_parents_program() {
        let mut processes = Processes::new(Clock { offset_ns: 0 });
        let parent = task(1 << 23, "server");
        let mut start = |start_ns, filename: &str, has_acted| {
            let mut parent = parent.clone();
            parent.id.start_ns = start_ns;
            processes.start(Exec {
                ts_ns: 0,
                task: parent.clone(),
                filename: filename.to_owned(),
                argv: Vec::new(),
            });
            if has_acted {
                processes.meet(&parent);
            }
            let child = Task {
                ppid: parent.id.pid,
                ..task((1 << 23) + u32::try_from(start_ns).unwrap(), "server")
            };
            let process = processes.meet(&child).unwrap();
            assert_eq!(process.exe.as_deref(), Some(filename));
        };
        start(1, "/first", false);
        start(2, "/second", true);
        start(3, "/third", false);
    }
}
