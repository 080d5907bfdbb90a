//! The kernel side as the recorder sees it: load, attach, look into the rings,
//! count the losses. The only module that names libbpf, and the only one of the
//! recorder with `unsafe` code.

#![allow(unsafe_code)]

mod attach;
mod batch;
mod classic;
mod counters;
mod decode;
mod ebpf;
mod events;
mod filter;
mod hooks;
mod host;
mod interfaces;
mod link_news;
mod load;
mod misses;
mod namespace;
mod options;
mod packet_rings;
mod perf;
mod raw;
mod recorders;
mod rings;
mod skeleton;
#[cfg(test)]
mod tests;
mod top;
mod tracefs;
mod wanted;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libbpf_rs::{Link, PrintLevel};
use tcprec_shared::record::MissingHook;
use thiserror::Error;

use attach::{Hooks, attach_packets};
use batch::Waiting;
pub(crate) use batch::{Batch, Ring};
pub(crate) use classic::Classic;
use counters::Counters;
pub(crate) use counters::{LossSlot, Losses};
pub(crate) use decode::{
    DecodeError, Decoded, Exec, Task, decode_event, decode_packet, decode_scan,
};
pub(crate) use events::EventHooks;
use events::Events;
pub(crate) use filter::{Filter, passes_no_tcp};
pub(crate) use host::{
    Clock, Need, TICK_NS, boot_id, cgroup_mount, has_btf, hidden_programs, is_in_pid_namespace,
    lacking_rights, names, used_rights,
};
pub(crate) use interfaces::{Changes, Device, Layer, Recorded, Watched, devices, index_of};
pub(crate) use link_news::LinkNews;
use load::load_packets;
use misses::Misses;
pub(crate) use namespace::Namespace;
pub(crate) use options::{Hook, MAX_NAMESPACES, MAX_SNAP_BYTES, Options, Snap};
use rings::{End, Rings};
pub(crate) use rings::{MAX_BUFFER_BYTES, Transport};
pub(crate) use top::{Counted, Counts, Doubts, Owner, Room, Top};
pub(crate) use tracefs::find as find_tracepoint;
pub(crate) use wanted::{Wanted, check_pids};

use skeleton::packets::PacketsSkel;

/// Why the kernel side does not run.
#[derive(Debug, Error)]
pub(crate) enum KernelError {
    #[error("{}", cannot_be_loaded(.0))]
    Load(#[source] libbpf_rs::Error),
    #[error("cannot record kernel events: {0:#}")]
    Events(#[source] libbpf_rs::Error),
    #[error("cannot attach to {interface} with {hook}: {source}")]
    Attach {
        interface: String,
        hook: &'static str,
        source: io::Error,
    },
    #[error("cannot attach to {hook}: {source}")]
    Hook { hook: String, source: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0:#}")]
    Libbpf(#[from] libbpf_rs::Error),
}

fn cannot_be_loaded(error: &libbpf_rs::Error) -> String {
    let why = match error.kind() {
        libbpf_rs::ErrorKind::OutOfMemory => {
            ": their memory counts against the limit of tcprec's control group (memory.max); \
             raise it"
        }
        libbpf_rs::ErrorKind::PermissionDenied if host::is_in_user_namespace() => {
            ": root of a user namespace, as in a rootless container, is not allowed to; record \
             on its host, with --netns PID"
        }
        _ if !host::has_sysfs() => ": /sys is missing (mount -t sysfs sysfs /sys)",
        _ => "",
    };
    format!("cannot load the BPF programs: {error:#}{why}")
}

/// The programs, attached.
pub(crate) struct Kernel {
    rings: Rings,
    waiting: Waiting,
    packets: Vec<Packets>,
    events: Option<Counters>,
    misses: Misses,
    /// How to attach to interfaces that come later.
    options: Options,
    links: Vec<Link>,
    // Dropped last: the maps and programs are theirs.
    _events: Option<Events>,
}

/// The packets of a network namespace. Each has an object of its own: a packet
/// tells the number of its interface, and each namespace has a number 2.
struct Packets {
    netns: u32,
    hooks: Hooks,
    counters: Counters,
    /// Other than 0: packets pass by unseen.
    is_idle: &'static AtomicU32,
    programs: PacketsSkel<'static>,
}

impl Packets {
    fn load(options: &Options, netns: u32, before: Option<&Self>) -> Result<Self, KernelError> {
        let mut programs = load_packets(options, netns, before.map(|before| &before.programs))?;
        let bss = programs.maps.bss_data.as_deref_mut();
        let of_bss = bss.map(|bss| (&raw mut bss.loss_slot, &raw mut bss.is_idle));
        let slot = shared(of_bss.map(|(slot, _)| slot))?;
        let is_idle = shared(of_bss.map(|(_, is_idle)| is_idle))?;
        is_idle.store(1, Ordering::Relaxed);
        Ok(Self {
            netns,
            hooks: Hooks::new(),
            counters: Counters::new(&programs.maps.seen, &programs.maps.losses, slot)?,
            is_idle,
            programs,
        })
    }

    fn attach(
        &mut self,
        options: &Options,
        devices: &[Device],
        attached: &mut Attached,
    ) -> Result<(), KernelError> {
        let of_these = devices.iter().filter(|device| device.netns == self.netns);
        let devices: Vec<_> = of_these.cloned().collect();
        self.hooks = attach_packets(&mut self.programs, options, &devices, attached)?;
        Ok(())
    }
}

/// Where the packets of a namespace come out.
fn end_of<'a>(
    netns: u32,
    programs: &'a PacketsSkel<'static>,
    options: &Options,
) -> Result<End<'a, 'static>, KernelError> {
    let maps = &programs.maps;
    let transport = options.transport;
    let (size, layout) = transport.for_packets(options.buffer_bytes, options.snap)?;
    Ok(End {
        ring: Ring::Packets { netns },
        map: &maps.ring,
        cpu_maps: &maps.cpu_rings,
        size,
        packets: layout
            .is_ring()
            .then_some(packet_rings::End { maps, layout }),
    })
}

/// What came of attaching.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) hooks: Vec<String>,
    pub(crate) missing: Vec<MissingHook>,
    /// The sockets that existed before, as raw events.
    pub(crate) scan: Vec<u8>,
    /// Who completes events, where the kernel tells no types.
    pub(crate) classic: Option<Classic>,
}

/// Lets libbpf speak, on standard error, or silences it.
pub(crate) fn set_verbose(verbose: bool) {
    fn print(_: PrintLevel, text: String) {
        use std::io::Write as _;
        // Nothing can be done where standard error is closed.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    libbpf_rs::set_print(verbose.then_some((PrintLevel::Debug, print)));
}

impl Kernel {
    /// Loads and attaches the programs: packets, which pass by unseen, then events, then
    /// the scan. From then on packets are seen, so that each finds its socket known.
    ///
    /// # Errors
    /// When packets cannot be had. Missing event hooks are no error: they are
    /// named in [`Attached::missing`].
    pub(crate) fn start(
        options: &Options,
        recorded: &Recorded,
        clock: Clock,
    ) -> Result<(Self, Attached), KernelError> {
        let mut packets_attached = Attached::default();
        let mut packets: Vec<Packets> = Vec::new();
        for namespace in &*options.namespaces {
            packets.push(Packets::load(options, namespace.inode(), packets.first())?);
        }
        for packets in &mut packets {
            packets.attach(options, recorded.devices(), &mut packets_attached)?;
        }
        packets_attached.hooks.dedup();
        let first = packets
            .first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut links = Vec::new();
        let mut attached = Attached::default();
        let mut events = Events::start(options, &first.programs, clock, &mut links, &mut attached)?;
        attached.hooks.append(&mut packets_attached.hooks);
        attached.missing.append(&mut packets_attached.missing);

        // Events are looked into first, so that of two records of the same time
        // the event comes before the packet.
        let mut ends = Vec::new();
        if let Some(events) = &events {
            ends.push(events.end(options.transport.for_events()?));
        }
        for packets in &packets {
            ends.push(end_of(packets.netns, &packets.programs, options)?);
        }
        let rings = Rings::open(options.transport, &ends)?;
        drop(ends);

        let events_counters = events.as_mut().map(Events::counters).transpose()?;
        let kernel = Self {
            rings,
            waiting: Waiting::default(),
            packets,
            misses: Misses::of(events.as_ref().map(Events::object))?,
            events: events_counters,
            options: Options {
                hook: if attached.hooks.iter().any(|hook| hook == "tcx") {
                    Hook::Tcx
                } else {
                    Hook::SocketFilter
                },
                ..options.clone()
            },
            links,
            _events: events,
        };
        kernel.let_packets_pass(false);
        Ok((kernel, attached))
    }

    /// Waits until something is worth a look, or for `timeout`, then takes what
    /// the rings hold into `batch`, in the order of time.
    ///
    /// # Errors
    /// The kernel's, when the rings cannot be read.
    pub(crate) fn collect(
        &mut self,
        timeout: Duration,
        news: &[LinkNews],
        batch: &mut Batch,
    ) -> io::Result<()> {
        self.rings.wait(timeout, news)?;
        // Whatever has an earlier time than this is in a ring by now.
        let horizon = Clock::boot_ns()?;
        // What came during the look may be newer than what was taken of other rings.
        let until = self.consume(batch)?;
        let horizon = until.map_or(horizon, |until| until.min(horizon));
        batch.settle(horizon, &mut self.waiting);
        Ok(())
    }

    /// Takes events out of their ring, for a later batch, where there is none to take them
    /// into: they are to survive what packets do not.
    ///
    /// # Errors
    /// As [`Kernel::collect`].
    pub(crate) fn keep_events(&mut self) -> io::Result<()> {
        while !self.waiting.is_full() {
            let mut events = Batch::default();
            self.rings.take_events(&mut events)?;
            if events.is_empty() {
                break;
            }
            self.waiting.keep(events);
        }
        Ok(())
    }

    /// Takes what is left after [`Kernel::stop`]. An empty batch is the end.
    ///
    /// # Errors
    /// As [`Kernel::collect`].
    pub(crate) fn drain(&mut self, batch: &mut Batch) -> io::Result<()> {
        let horizon = self.consume(batch)?.unwrap_or(u64::MAX);
        batch.settle(horizon, &mut self.waiting);
        Ok(())
    }

    /// As [`Rings::take`].
    fn consume(&mut self, batch: &mut Batch) -> io::Result<Option<u64>> {
        batch.clear();
        self.rings.take(batch)
    }

    /// Attaches to an interface that came when the recording ran. False: it is gone again.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn attach(&mut self, device: &Device) -> Result<bool, KernelError> {
        let of_this = |packets: &&mut Packets| packets.netns == device.netns;
        let Some(packets) = self.packets.iter_mut().find(of_this) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let hooks = attach_packets(
            &mut packets.programs,
            &self.options,
            std::slice::from_ref(device),
            &mut Attached::default(),
        )?;
        let is_attached = !hooks.is_empty();
        packets.hooks.extend(hooks);
        Ok(is_attached)
    }

    /// Whether nothing is attached to an interface: it was deleted, though another one may
    /// have its number.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn has_lost(&self, device: &Device) -> io::Result<bool> {
        let of_this = |packets: &&Packets| packets.netns == device.netns;
        let packets = self.packets.iter().find(of_this);
        let hooks = packets.and_then(|packets| packets.hooks.get(&device.index));
        // All that is attached to an interface ends with it.
        let first = hooks.and_then(|hooks| hooks.first());
        first.map_or(Ok(true), |hooked| hooked.has_lost(device))
    }

    /// Whether another program than a recorder's was attached in front at an interface,
    /// since this was asked last. What it does not pass on is not seen.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn has_fallen_behind(&mut self, device: &Device) -> io::Result<bool> {
        let namespaces = &self.options.namespaces;
        let of_this = |packets: &&mut Packets| packets.netns == device.netns;
        let packets = self.packets.iter_mut().find(of_this);
        let hooks = packets.and_then(|packets| packets.hooks.get_mut(&device.index));
        let mut is_behind = false;
        for hooked in hooks.into_iter().flatten() {
            is_behind |= hooked.has_fallen_behind(namespaces, device)?;
        }
        Ok(is_behind)
    }

    /// Detaches from an interface that is gone: tcx would follow it into another
    /// network namespace.
    pub(crate) fn release(&mut self, device: &Device) {
        for packets in &mut self.packets {
            if packets.netns == device.netns {
                packets.hooks.remove(&device.index);
            }
        }
    }

    /// Whether packets are to pass by unseen.
    fn let_packets_pass(&self, is_idle: bool) {
        for packets in &self.packets {
            packets.is_idle.store(is_idle.into(), Ordering::Relaxed);
        }
    }

    /// Lets all programs see nothing more, and waits until the last has run to its end.
    /// Those of packets are detached when this is dropped, which may take seconds.
    pub(crate) fn stop(&mut self) {
        self.let_packets_pass(true);
        self.links.clear();
        // The command waits for an RCU grace period (kernel's membarrier.c), and
        // programs run inside one.
        // SAFETY: takes no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    }

    /// What was lost between the last call but one and the last call. All that
    /// is left when `slot` is [`LossSlot::All`], to be asked for after
    /// [`Kernel::stop`].
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn losses(&mut self, slot: LossSlot) -> Result<Losses, KernelError> {
        let mut packets = Vec::new();
        for one in &mut self.packets {
            packets.extend(one.counters.losses(slot)?);
        }
        Ok(Losses {
            packets,
            events: match &mut self.events {
                Some(events) => events.losses(slot)?,
                None => Vec::new(),
            },
            misses: self.misses.take()?,
        })
    }

    /// How many packets and events the programs saw so far.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn seen(&self) -> Result<(u64, u64), KernelError> {
        let events = self.events.as_ref().map_or(Ok(0), Counters::seen)?;
        let mut packets = 0;
        for one in &self.packets {
            packets += one.counters.seen()?;
        }
        Ok((packets, events + self.misses.events()))
    }
}

/// A number among the programs' data, as both sides use it.
fn shared(number: Option<*mut u32>) -> io::Result<&'static AtomicU32> {
    let number = number.ok_or_else(|| io::Error::other("the BPF object has no data"))?;
    // SAFETY: it lies in a map that is mapped as long as the object lives, and
    // objects live as long as the process; both sides load and store it whole.
    Ok(unsafe { AtomicU32::from_ptr(number) })
}
