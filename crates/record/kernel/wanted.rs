//! The processes that are wanted, where not all are, as the kernel side is told
//! them. What they are is decided there, when one acts on a socket.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore as _, MapFlags, MapMut};
use procfs::process::{Process, all_processes};

use super::host;
use super::skeleton::events::{EventsSkel, OpenEventsSkel};
use super::skeleton::packets::types::limits;
use super::skeleton::packets::{OpenPacketsSkel, PacketsSkel};

/// Sockets whose packets are known to be wanted; the least recent make room.
const MAX_SOCKETS: u32 = 1 << 16;
/// As many as there can be ports: who listens at more addresses and ports is known by the
/// ports alone.
const MAX_LISTENERS: u32 = 1 << 16;
const PORTS: u32 = 1 << 16;
/// Processes that wanted ones started.
const MAX_FOLLOWED: u32 = 1 << 16;
/// The kernel's TASK_COMM_LEN, with a zero at the end.
const COMM_BYTES: usize = limits::COMM_BYTES.0 as usize;
const YES: [u8; 1] = [1];

/// When a process started, in ticks since boot. None when it is gone.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    Some(process.stat().ok()?.starttime)
}

/// The process that a task belongs to: /proc tells of threads by their numbers, too. None
/// when it is gone.
fn process_of(task: u32) -> Option<u32> {
    let task = Process::new(i32::try_from(task).ok()?).ok()?;
    u32::try_from(task.status().ok()?.tgid).ok()
}

/// Says which of the processes that are asked for is not there.
pub(crate) fn check_pids(pids: &[u32]) -> Result<(), String> {
    let Some(first) = pids.first() else {
        return Ok(());
    };
    if host::is_in_pid_namespace() {
        return Err(format!(
            "process {first} has another pid outside this pid namespace: run tcprec outside, or \
             use --comm or --cgroup"
        ));
    }
    pids.iter().try_for_each(|pid| match process_of(*pid) {
        None => Err(format!("there is no process {pid}")),
        Some(process) if process != *pid => Err(format!(
            "{pid} is a thread of process {process}: give the process"
        )),
        Some(_) => Ok(()),
    })
}

/// Of each kind that is not empty, a wanted process is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) pids: Vec<u32>,
    pub(crate) comms: Vec<String>,
    pub(crate) uids: Vec<u32>,
    /// Paths below the mount of the unified hierarchy, or whole.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Whether those are wanted too that wanted processes start.
    pub(crate) follow_forks: bool,
}

impl Wanted {
    /// Whether all processes are wanted.
    pub(crate) fn is_all(&self) -> bool {
        let Self {
            pids,
            comms,
            uids,
            cgroups,
            follow_forks: _,
        } = self;
        pids.is_empty() && comms.is_empty() && uids.is_empty() && cgroups.is_empty()
    }

    /// Says what is not there of what was asked for: nothing would be recorded, and
    /// nobody would know why.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_pids(&self.pids)?;
        for path in &self.cgroups {
            cgroup_id(path).map_err(|error| {
                let path = path.display();
                format!(
                    "there is no control group {path} ({error}): give its path as in \
                     /proc/PID/cgroup, after `0::`"
                )
            })?;
        }
        Ok(())
    }

    /// As it was asked for; none where all are wanted.
    pub(crate) fn words(&self) -> Option<String> {
        if self.is_all() {
            return None;
        }
        let mut words = Vec::new();
        words.extend(self.pids.iter().map(|pid| format!("--pid {pid}")));
        words.extend(self.comms.iter().map(|comm| format!("--comm {comm}")));
        words.extend(self.uids.iter().map(|uid| format!("--uid {uid}")));
        let paths = self.cgroups.iter();
        words.extend(paths.map(|path| format!("--cgroup {}", path.display())));
        words.extend(self.follow_forks.then(|| "--follow-forks".to_owned()));
        Some(words.join(" "))
    }

    /// Prepares the packet programs. All of them share the maps of sockets.
    pub(super) fn open_packets(
        &self,
        open: &mut OpenPacketsSkel<'_>,
        before: Option<&PacketsSkel<'_>>,
    ) -> libbpf_rs::Result<()> {
        if self.is_all() {
            return Ok(());
        }
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.by_process = 1;
        }
        let maps = &mut open.maps;
        if let Some(PacketsSkel { maps: shared, .. }) = before {
            maps.wanted_ends.reuse_fd(shared.wanted_ends.as_fd())?;
            maps.wanted_cookies
                .reuse_fd(shared.wanted_cookies.as_fd())?;
            maps.listening_ends
                .reuse_fd(shared.listening_ends.as_fd())?;
            return maps.wanted_ports.reuse_fd(shared.wanted_ports.as_fd());
        }
        maps.wanted_ends.set_max_entries(MAX_SOCKETS)?;
        maps.wanted_cookies.set_max_entries(MAX_SOCKETS)?;
        maps.listening_ends.set_max_entries(MAX_LISTENERS)?;
        maps.wanted_ports.set_max_entries(PORTS)
    }

    /// Prepares the events' programs: they share the maps of sockets with the
    /// packets'.
    pub(super) fn open_events(
        &self,
        open: &mut OpenEventsSkel<'_>,
        packets: &PacketsSkel<'_>,
    ) -> libbpf_rs::Result<()> {
        let is_followed = self.follow_forks && !self.is_all();
        open.progs.process_fork.set_autoload(is_followed);
        open.progs.process_exit.set_autoload(is_followed);
        open.progs.enter_accept.set_autoload(!self.is_all());
        open.progs.enter_accept4.set_autoload(!self.is_all());
        open.progs.enter_epoll_ctl.set_autoload(!self.is_all());
        if self.is_all() {
            return Ok(());
        }
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.by_process = 1;
            rodata.by_pid = u32::from(!self.pids.is_empty());
            rodata.by_comm = u32::from(!self.comms.is_empty());
            rodata.by_uid = u32::from(!self.uids.is_empty());
            rodata.by_cgroup = u32::from(!self.cgroups.is_empty());
            rodata.follow_forks = u32::from(self.follow_forks);
        }
        let (maps, shared) = (&mut open.maps, &packets.maps);
        maps.followed.set_max_entries(MAX_FOLLOWED)?;
        maps.wanted_listeners.set_max_entries(MAX_LISTENERS)?;
        maps.wanted_ends.reuse_fd(shared.wanted_ends.as_fd())?;
        maps.wanted_cookies
            .reuse_fd(shared.wanted_cookies.as_fd())?;
        maps.listening_ends
            .reuse_fd(shared.listening_ends.as_fd())?;
        maps.wanted_ports.reuse_fd(shared.wanted_ports.as_fd())
    }

    /// Tells the loaded programs who is wanted, before they are attached.
    pub(super) fn tell(&self, events: &EventsSkel<'_>) -> io::Result<()> {
        let maps = &events.maps;
        for pid in &self.pids {
            let gone = || io::Error::other(format!("process {pid} has ended"));
            let start_ticks = start_ticks(*pid).ok_or_else(gone)?;
            add(
                &maps.wanted_pids,
                &pid.to_ne_bytes(),
                &start_ticks.to_ne_bytes(),
            )?;
        }
        for comm in &self.comms {
            add(&maps.wanted_comms, &name(comm), &YES)?;
        }
        for uid in &self.uids {
            add(&maps.wanted_uids, &uid.to_ne_bytes(), &YES)?;
        }
        for path in &self.cgroups {
            add(&maps.wanted_cgroups, &cgroup_id(path)?.to_ne_bytes(), &YES)?;
        }
        Ok(())
    }

    /// Tells the processes that wanted ones have started already, once those that
    /// start are noticed.
    pub(super) fn follow(&self, events: &EventsSkel<'_>) -> io::Result<()> {
        if !self.follow_forks || self.is_all() {
            return Ok(());
        }
        // Children of the processes that the first look finds may come during it.
        for _ in 0..2 {
            for (pid, start_ticks) in self.descendants()? {
                add(
                    &events.maps.followed,
                    &pid.to_ne_bytes(),
                    &start_ticks.to_ne_bytes(),
                )?;
            }
        }
        Ok(())
    }

    /// The processes that wanted ones have started already, and when they started, in
    /// ticks since boot.
    fn descendants(&self) -> io::Result<Vec<(i32, u64)>> {
        let mut children: HashMap<i32, Vec<(i32, u64)>> = HashMap::new();
        let mut found = Vec::new();
        for process in all_processes().map_err(io::Error::other)?.flatten() {
            // It may have ended meanwhile.
            let Ok(stat) = process.stat() else { continue };
            let child = (stat.pid, stat.starttime);
            children.entry(stat.ppid).or_default().push(child);
            if self.is_wanted(&process, &stat.comm) {
                found.push(stat.pid);
            }
        }
        let mut descendants = Vec::new();
        // Each has one parent, and is taken out with it: this ends.
        while let Some(pid) = found.pop() {
            for child in children.remove(&pid).unwrap_or_default() {
                descendants.push(child);
                found.push(child.0);
            }
        }
        Ok(descendants)
    }

    /// As `is_wanted_process` of bpf/processes.bpf.h.
    fn is_wanted(&self, process: &Process, comm: &str) -> bool {
        let pid = u32::try_from(process.pid).unwrap_or(0);
        let uid = || process.status().map(|status| status.euid).ok();
        let in_group = |wanted: &PathBuf| {
            let groups = process.cgroups().ok().into_iter().flatten();
            let mut paths = groups.filter(|group| group.hierarchy == 0);
            paths.any(|group| cgroup_id(Path::new(&group.pathname)).ok() == cgroup_id(wanted).ok())
        };
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.comms.is_empty() || self.comms.iter().any(|wanted| name(wanted) == name(comm)))
            && (self.uids.is_empty() || uid().is_some_and(|uid| self.uids.contains(&uid)))
            && (self.cgroups.is_empty() || self.cgroups.iter().any(in_group))
    }
}

fn add(map: &MapMut<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    map.update(key, value, MapFlags::ANY)
        .map_err(super::hooks::plain)
}

/// A process's name as the kernel keeps it: cut.
fn name(comm: &str) -> [u8; COMM_BYTES] {
    let mut name = [0; COMM_BYTES];
    for (to, from) in name.iter_mut().take(COMM_BYTES - 1).zip(comm.bytes()) {
        *to = from;
    }
    name
}

/// The kernel's number of a control group: its folder's inode. The root may be mounted
/// nowhere that this process can see (`ip netns exec` hides what is below /sys).
fn cgroup_id(path: &Path) -> io::Result<u64> {
    let named = host::cgroup_mount()?.unwrap_or_else(|| "/sys/fs/cgroup".into());
    let below = path.strip_prefix(&named);
    let below = below.or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let root = host::cgroup_root()?;
    let folder = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())).join(below);
    let folder = fs::metadata(folder).map_err(|error| {
        let whole = named.join(below);
        io::Error::new(error.kind(), format!("{}: {error}", whole.display()))
    })?;
    Ok(folder.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel has it in `task_struct.comm`, which ends with a zero.
    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(&name("nginx"), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&name("a-very-long-process"), b"a-very-long-pro\0");
    }
}
