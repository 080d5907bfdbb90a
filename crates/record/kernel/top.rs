//! The kernel side of `tcprec top`: it counts per process (`bpf/top.bpf.c`), and
//! here the counts are read.

use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::skel::{OpenSkel as _, Skel as _, SkelBuilder as _};
use libbpf_rs::{Iter, Link, MapCore as _, MapFlags};

use super::KernelError;
use super::hooks;
use super::host;
use super::host::TICK_NS;
use super::load::{avoid_warnings, object};
use super::misses::missed;
use super::raw;
use super::skeleton::top::types::{counts, process_counts, process_key};
use super::skeleton::top::{TopSkel, TopSkelBuilder};
use super::wanted::start_ticks;

/// How many processes and sockets are kept apart; memory is taken as they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) processes: u32,
    pub(crate) sockets: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            processes: 1 << 14,
            sockets: 1 << 18,
        }
    }
}

/// A process as one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    /// Effective user id.
    pub(crate) uid: u32,
    /// When it started: its pid may be another's later.
    pub(crate) start_boot_ns: u64,
}

impl Owner {
    pub(crate) fn is_alive(self) -> bool {
        start_ticks(self.pid) == Some(self.start_boot_ns / TICK_NS)
    }
}

/// What a process did with TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that it asked for, whatever came of them.
    pub(crate) connects: u64,
    pub(crate) accepts: u64,
    /// As on the wire: a segment that the network card cuts is many.
    pub(crate) sent_packets: u64,
    /// TCP payload, sent again or not.
    pub(crate) sent_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) received_bytes: u64,
    /// Segments that the kernel sent again.
    pub(crate) retransmits: u64,
}

/// What was counted for an owner since it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Nobody where it is not known.
    pub(crate) owner: Option<Owner>,
    pub(crate) comm: String,
    pub(crate) counts: Counts,
    /// It is gone, and so are its counts in the kernel.
    pub(crate) is_gone: bool,
}

/// What the counts leave in doubt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// How often a process or a socket had no room, so that what it did was
    /// counted for nobody.
    pub(crate) no_room: u64,
    /// How often the kernel did not run a program, see [`super::misses`]: a
    /// connect, an accept or a retransmission that is not counted, or the change
    /// of a socket's owner that is seen late.
    pub(crate) missed: u64,
}

/// The programs, attached.
pub(crate) struct Top {
    _links: Vec<Link>,
    no_room: &'static AtomicU64,
    // Dropped last: the maps and programs are its.
    programs: TopSkel<'static>,
}

/// The key of what no process is known for.
const NOBODY: [u8; size_of::<process_key>()] = [0; size_of::<process_key>()];

impl Top {
    /// Loads and attaches the programs: first those that tell whose a socket is.
    ///
    /// # Errors
    /// The kernel's: without one of its hooks the counts would not be true.
    pub(crate) fn start(room: Room) -> Result<Self, KernelError> {
        let mut programs = load(room).map_err(KernelError::Load)?;
        let nothing = [0; size_of::<process_counts>()];
        programs
            .maps
            .processes
            .update(&NOBODY, &nothing, MapFlags::ANY)?;
        let links = attach(&mut programs)?;
        let no_room = programs
            .maps
            .bss_data
            .as_deref_mut()
            .map(|bss| &raw mut bss.no_room)
            .ok_or_else(|| io::Error::other("the BPF object has no no_room"))?;
        // SAFETY: it lies in a map that is mapped as long as the object lives,
        // and objects live as long as the process; both sides use it whole.
        let no_room = unsafe { AtomicU64::from_ptr(no_room) };
        Ok(Self {
            _links: links,
            no_room,
            programs,
        })
    }

    /// What was counted so far. Processes that are not alive are told once more,
    /// and if they count again (their sockets may outlive them), from zero.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn read(&self, is_alive: impl Fn(Owner) -> bool) -> io::Result<Vec<Counted>> {
        let processes = &self.programs.maps.processes;
        // A key that is deleted while the next one is asked for begins anew.
        let keys: Vec<_> = processes.keys().collect();
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let owner = owner(&key);
            let is_gone = owner.is_some_and(|owner| !is_alive(owner));
            let value = if is_gone {
                processes.lookup_and_delete(&key)
            } else {
                processes.lookup(&key, MapFlags::ANY)
            };
            let value = value.map_err(hooks::plain)?;
            let value = value.as_deref().and_then(raw::split::<process_counts>);
            if let Some((process, _)) = value {
                all.push(Counted {
                    owner,
                    comm: raw::text(&process.comm),
                    counts: counts(&process.counts),
                    is_gone,
                });
            }
        }
        Ok(all)
    }

    /// What the counts leave in doubt so far.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn doubts(&self) -> io::Result<Doubts> {
        let programs = self.programs.object().progs();
        let missed: io::Result<Vec<_>> = programs.map(|program| missed(&program)).collect();
        Ok(Doubts {
            no_room: self.no_room.load(Ordering::Relaxed),
            missed: missed?.into_iter().sum(),
        })
    }
}

fn load(room: Room) -> libbpf_rs::Result<TopSkel<'static>> {
    if !host::has_btf() {
        return Err(libbpf_rs::Error::from(host::no_btf()));
    }
    let mut open = TopSkelBuilder::default().open(object())?;
    avoid_warnings(open.open_object_mut())?;
    // One more: nobody.
    let processes = room.processes.saturating_add(1);
    open.maps.processes.set_max_entries(processes)?;
    open.maps.sockets.set_max_entries(room.sockets)?;
    open.load()
}

/// Attaches each program by its section's name; packets last, so that each finds
/// its socket known.
fn attach(programs: &mut TopSkel<'static>) -> Result<Vec<Link>, KernelError> {
    let cgroup = host::cgroup_root()?;
    let mut links = Vec::new();
    let mut packets = Vec::new();
    let mut scan = None;
    for program in programs.object_mut().progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        let failed = |source| KernelError::Hook {
            hook: section.clone(),
            source,
        };
        let mut parts = section.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("tracepoint"), Some(category), Some(name)) => {
                links.push(hooks::tracepoint(&program, category, name).map_err(failed)?);
            }
            (Some("cgroup_skb"), ..) => packets.push((section.clone(), program)),
            (Some("iter"), ..) => scan = Some(program),
            _ => links.push(program.attach().map_err(hooks::plain).map_err(failed)?),
        }
    }
    if let Some(scan) = scan {
        let link = scan.attach()?;
        // It writes nothing, it fills the map.
        Iter::new(&link)?.read_to_end(&mut Vec::new())?;
    }
    for (hook, program) in packets {
        let link = program.attach_cgroup(cgroup.as_raw_fd());
        links.push(link.map_err(|error| KernelError::Hook {
            hook,
            source: hooks::plain(error),
        })?);
    }
    Ok(links)
}

fn owner(key: &[u8]) -> Option<Owner> {
    let (key, _) = raw::split::<process_key>(key)?;
    (key.pid != 0).then_some(Owner {
        pid: key.pid,
        uid: key.uid,
        start_boot_ns: key.start_boot_ns,
    })
}

fn counts(counts: &counts) -> Counts {
    Counts {
        connects: counts.connects,
        accepts: counts.accepts,
        sent_packets: counts.sent.packets,
        sent_bytes: counts.sent.bytes,
        received_packets: counts.received.packets,
        received_bytes: counts.received.bytes,
        retransmits: counts.retransmits,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn what_has_no_room_is_nobodys() {
        let room = Room {
            processes: 0,
            sockets: 1,
        };
        let top = Top::start(room).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[0; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        let all = top.read(|_| true).unwrap();
        let [
            Counted {
                owner: None,
                counts,
                ..
            },
        ] = &all[..]
        else {
            panic!("nobody alone has room: {all:?}");
        };
        // Others do something on this host too.
        assert!(counts.connects >= 1 && counts.accepts >= 1, "{counts:?}");
        assert!(
            counts.sent_bytes >= 1000 && counts.received_bytes >= 1000,
            "{counts:?}"
        );
        assert!(top.doubts().unwrap().no_room > 0);
    }

    #[test]
    #[ignore = "needs root"]
    fn who_is_gone_is_told_once_more() {
        let top = Top::start(Room::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let own = |all: Vec<Counted>| {
            let pid = std::process::id();
            all.into_iter()
                .find(|counted| counted.owner.is_some_and(|owner| owner.pid == pid))
        };
        for _ in 0..10 {
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
        let first = own(top.read(|_| false).unwrap()).unwrap();
        assert!(first.is_gone && first.counts.connects > 10, "{first:?}");
        let _other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let second = own(top.read(|_| true).unwrap()).unwrap();
        assert!(!second.is_gone, "{second:?}");
        // The other test's are of this process too.
        assert!(second.counts.connects < 10, "{second:?}");
    }
}
