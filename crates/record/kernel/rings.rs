//! The rings between the programs and the recorder: how large they are, and how
//! they are read.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{MapMut, MapType, RingBuffer, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};
use tcprec_shared::record::MissingHook;

use super::Snap;
use super::batch::{Batch, Ring};
use super::host;
use super::link_news::LinkNews;
use super::packet_rings::{self, Layout, PacketRings};
use super::perf::PerfRings;

/// The largest size that may be asked for: the kernel keeps it in memory.
pub(crate) const MAX_BUFFER_BYTES: u32 = 1 << 30;
/// Events are few and small.
const EVENTS_BYTES: u32 = 4 << 20;
/// How many bytes of a packet fit a record of perf's, whose length has 16 bits:
/// with its head, ours, and a few to spare.
const MAX_PERF_SNAP_BYTES: u32 = 65_000;

/// How records come from the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// The first of these that this kernel and processor support.
    Auto,
    /// A ring for each CPU for packets, which needs an x86 processor and a kernel without
    /// PREEMPT_RT; events as with `ring`.
    Cpu,
    /// A kernel ring buffer shared by all CPUs (Linux 5.8).
    Ring,
    /// A perf ring for each CPU.
    Perf,
}

impl Transport {
    /// What this kernel has of it, [`Transport::Auto`] no more; and what it
    /// lacks of what would be better.
    ///
    /// # Errors
    /// The kernel's, when it cannot be asked; or this processor or kernel cannot do
    /// what is asked for.
    pub(crate) fn choose(self) -> io::Result<(Self, Option<MissingHook>)> {
        self.choose_but(no_cpu_rings())
    }

    /// The same where there are no rings for each CPU, for a reason.
    fn choose_but(
        self,
        no_cpu_rings: Option<&'static str>,
    ) -> io::Result<(Self, Option<MissingHook>)> {
        match (self, no_cpu_rings) {
            (Self::Cpu, Some(reason)) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("there are no rings for each CPU: {reason}"),
                ));
            }
            (Self::Cpu | Self::Ring | Self::Perf, _) => return Ok((self, None)),
            (Self::Auto, _) => {}
        }
        let is_there = MapType::RingBuf.is_supported();
        if is_there.map_err(super::hooks::plain)? {
            let best = no_cpu_rings.map_or(Self::Cpu, |_| Self::Ring);
            return Ok((best, None));
        }
        let missing = MissingHook {
            hook: "ring buffer".to_owned(),
            reason: "this kernel has none (they need Linux 5.8); perf's rings are used instead"
                .to_owned(),
        };
        Ok((Self::Perf, Some(missing)))
    }

    /// How much of a packet can be kept this way.
    pub(crate) fn limit(self, snap: Snap) -> Snap {
        match (self, snap) {
            (Self::Perf, Snap::Fixed(bytes)) => Snap::Fixed(bytes.min(MAX_PERF_SNAP_BYTES)),
            _ => snap,
        }
    }

    /// The sizes of the packets' rings for `asked` bytes, at least, and where
    /// packets are put together.
    pub(super) fn for_packets(self, asked: u32, snap: Snap) -> io::Result<(Size, Layout)> {
        let packet_bytes = snap.packet_bytes();
        if self == Self::Cpu {
            let layout = Layout::rings(asked, packet_bytes).map_err(super::hooks::plain)?;
            let size = Size {
                bytes: page_bytes(),
                waiting_bytes: layout.ring_bytes(),
                transport: self,
            };
            return Ok((size, layout));
        }
        // A record has 8 bytes of a head in a ring (kernel/bpf/ringbuf.c), and
        // 12 in perf's.
        const HEADER_BYTES: u32 = 16;
        let layout = Layout::place(packet_bytes).map_err(super::hooks::plain)?;
        let record_bytes = layout.record_bytes() + HEADER_BYTES;
        Ok((Size::new(self, asked, record_bytes)?, layout))
    }

    /// The sizes of the events' rings.
    pub(super) fn for_events(self) -> io::Result<Size> {
        Size::new(self, EVENTS_BYTES, 0)
    }
}

/// Why there are no rings for each CPU here, if so: see bpf/packet_rings.bpf.h.
fn no_cpu_rings() -> Option<&'static str> {
    if !cfg!(target_arch = "x86_64") {
        Some("they need an x86 processor")
    } else if host::is_realtime() {
        Some("this kernel (PREEMPT_RT) may interrupt a packet program with another")
    } else {
        None
    }
}

/// How large the ring of a BPF object is, or each of its rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// A power of two of whole pages, as the kernel wants it.
    bytes: u32,
    /// How many bytes may wait to be read, where wake-ups are counted.
    waiting_bytes: u64,
    transport: Transport,
}

impl Size {
    /// Room for `asked` bytes in all, and for at least one record of
    /// `record_bytes` in each ring.
    fn new(transport: Transport, asked: u32, record_bytes: u32) -> io::Result<Self> {
        let rings = match transport {
            Transport::Perf => libbpf_rs::num_possible_cpus().map_err(super::hooks::plain)?,
            Transport::Auto | Transport::Cpu | Transport::Ring => 1,
        };
        let share = asked / u32::try_from(rings).unwrap_or(u32::MAX).max(1);
        let bytes = share.max(page_bytes()).max(record_bytes);
        let bytes = bytes
            .checked_next_power_of_two()
            .unwrap_or(MAX_BUFFER_BYTES);
        Ok(Self {
            bytes,
            waiting_bytes: bytes.into(),
            transport,
        })
    }

    /// Prepares an object's two maps, of which one is used.
    pub(super) fn set(
        self,
        ring: &mut libbpf_rs::OpenMapMut<'_>,
        cpu_rings: &mut libbpf_rs::OpenMapMut<'_>,
    ) -> libbpf_rs::Result<()> {
        let uses_perf = self.transport == Transport::Perf;
        ring.set_autocreate(!uses_perf)?;
        cpu_rings.set_autocreate(uses_perf)?;
        if uses_perf {
            return Ok(());
        }
        ring.set_max_entries(self.bytes)
    }

    /// Of each of perf's rings.
    pub(super) fn pages(self) -> u32 {
        self.bytes / page_bytes()
    }

    /// As `uses_perf` of bpf/rings.bpf.h.
    pub(super) fn uses_perf(self) -> u32 {
        u32::from(self.transport == Transport::Perf)
    }

    /// How much may wait before the recorder is woken, as a power of two: 256
    /// KiB, and of a small ring a quarter (`wakeup_shift` of bpf/rings.bpf.h).
    pub(super) fn wakeup_shift(self) -> u32 {
        const LARGEST: u32 = 18;
        self.waiting_bytes.ilog2().saturating_sub(2).min(LARGEST)
    }
}

pub(super) fn page_bytes() -> u32 {
    const USUAL: u32 = 4096;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(USUAL)
}

/// One BPF object's end of a transport: whose records they are, its two maps,
/// their size. Where each CPU has a ring, the first map only wakes the recorder.
pub(super) struct End<'a, 'map> {
    pub(super) ring: Ring,
    pub(super) map: &'a MapMut<'map>,
    pub(super) cpu_maps: &'a MapMut<'map>,
    pub(super) size: Size,
    pub(super) packets: Option<packet_rings::End<'a>>,
}

/// The rings, as the recorder reads them.
pub(super) struct Rings {
    filling: Rc<RefCell<Batch>>,
    open: Open,
}

enum Open {
    /// A ring buffer of each object, and the packets' rings where each CPU has one.
    Ring(Vec<RingBuffer<'static>>, PacketRings),
    Perf(Vec<PerfRings>),
}

impl Rings {
    /// Those of each object, to be read in this order.
    pub(super) fn open(transport: Transport, ends: &[End<'_, '_>]) -> libbpf_rs::Result<Self> {
        let filling = Rc::new(RefCell::new(Batch::default()));
        let open = if transport == Transport::Perf {
            let rings = ends
                .iter()
                .map(|end| PerfRings::open(end, Rc::clone(&filling)));
            Open::Perf(rings.collect::<io::Result<_>>()?)
        } else {
            let mut packets = PacketRings::default();
            let rings = ends.iter().map(|end| {
                let mut builder = RingBufferBuilder::new();
                if let Some(cpu_rings) = &end.packets {
                    packets.add(end.ring, cpu_rings)?;
                    builder.add(end.map, |_wake_up: &[u8]| 0)?;
                    return builder.build();
                }
                let (ring, filling) = (end.ring, Rc::clone(&filling));
                builder.add(end.map, move |raw: &[u8]| {
                    let mut batch = filling.borrow_mut();
                    batch.push(ring, raw);
                    if batch.is_full() { BATCH_IS_FULL } else { 0 }
                })?;
                builder.build()
            });
            let rings = rings.collect::<libbpf_rs::Result<_>>()?;
            Open::Ring(rings, packets)
        };
        Ok(Self { filling, open })
    }

    /// Waits until a ring holds much or there is news, or for `timeout`.
    pub(super) fn wait(&self, timeout: Duration, news: &[LinkNews]) -> io::Result<()> {
        let descriptors: Vec<_> = match &self.open {
            Open::Ring(rings, _) => rings.iter().map(RingBuffer::epoll_fd).collect(),
            Open::Perf(rings) => rings.iter().map(PerfRings::epoll_fd).collect(),
        };
        let descriptors = descriptors.into_iter().map(|fd| {
            // SAFETY: the descriptors are those of the rings, which outlive the call.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            PollFd::new(fd, PollFlags::POLLIN)
        });
        let news = news
            .iter()
            .map(|news| PollFd::new(news.as_fd(), PollFlags::POLLIN));
        let mut descriptors: Vec<_> = descriptors.chain(news).collect();
        let timeout = PollTimeout::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut descriptors, timeout) {
            // A signal: the caller looks what it means.
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what the rings hold into `batch`, beside what is there. Where that
    /// is more than fits a batch, the time up to which it should be handed on.
    pub(super) fn take(&mut self, batch: &mut Batch) -> io::Result<Option<u64>> {
        std::mem::swap(&mut *self.filling.borrow_mut(), batch);
        let until_ns = match &self.open {
            Open::Ring(rings, _) => self.take_ring_buffers(rings),
            Open::Perf(rings) => {
                let taken = rings.iter().try_for_each(PerfRings::take);
                taken.map(|()| None)
            }
        };
        std::mem::swap(&mut *self.filling.borrow_mut(), batch);
        let until_ns = until_ns?;
        let Open::Ring(_, packets) = &mut self.open else {
            return Ok(until_ns);
        };
        batch.make_room();
        let packets_until_ns = packets.take(batch)?;
        Ok(until_ns.into_iter().chain(packets_until_ns).min())
    }

    /// Takes events alone into `batch`; nothing where packets come through such rings, too.
    pub(super) fn take_events(&self, batch: &mut Batch) -> io::Result<()> {
        let Open::Ring(rings, packets) = &self.open else {
            return Ok(());
        };
        if packets.is_empty() {
            return Ok(());
        }
        std::mem::swap(&mut *self.filling.borrow_mut(), batch);
        let taken = self.take_ring_buffers(rings);
        std::mem::swap(&mut *self.filling.borrow_mut(), batch);
        taken.map(drop)
    }

    /// The same of the kernel's ring buffers. A program reads the clock before it reserves
    /// its place in the ring. So a record that is left may be older than the latest one
    /// that was taken, by no more than the time that a program needs in between.
    fn take_ring_buffers(&self, rings: &[RingBuffer<'static>]) -> io::Result<Option<u64>> {
        let mut until_ns = None;
        for ring in rings {
            self.filling.borrow_mut().make_room();
            match ring.consume_raw() {
                BATCH_IS_FULL => {
                    let latest_ns = self.filling.borrow().latest_boot_ns();
                    until_ns = until_ns.into_iter().chain(latest_ns).min();
                }
                error @ ..0 => return Err(io::Error::from_raw_os_error(-error)),
                0.. => {}
            }
        }
        Ok(until_ns)
    }
}

/// What the rings' callback returns to end a look: the record it got is taken.
const BATCH_IS_FULL: i32 = -libc::EAGAIN;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(asked: u32, snap: Snap) -> u32 {
        Transport::Ring.for_packets(asked, snap).unwrap().0.bytes
    }

    #[test]
    fn rings_are_powers_of_two_that_hold_a_packet() {
        assert_eq!(bytes(10 << 20, Snap::Adaptive), 16 << 20);
        assert_eq!(bytes(16 << 20, Snap::Adaptive), 16 << 20);
        assert_eq!(bytes(1, Snap::Fixed(100)), page_bytes());
        assert_eq!(bytes(1, Snap::Adaptive), page_bytes().max(16 << 10));
        assert_eq!(
            bytes(1, Snap::Fixed(super::super::MAX_SNAP_BYTES)),
            512 << 10
        );
        assert_eq!(bytes(MAX_BUFFER_BYTES, Snap::Adaptive), MAX_BUFFER_BYTES);
    }

    #[test]
    fn rings_for_each_cpu_are_not_taken_where_they_do_not_go() {
        let why = Some("why");
        assert!(Transport::Cpu.choose_but(why).is_err());
        let chosen = |transport: Transport, why| transport.choose_but(why).unwrap().0;
        assert_eq!(chosen(Transport::Auto, None), Transport::Cpu);
        assert_eq!(chosen(Transport::Auto, why), Transport::Ring);
        assert_eq!(chosen(Transport::Perf, why), Transport::Perf);
    }

    #[test]
    fn a_small_ring_wakes_the_recorder_earlier() {
        let shift = |bytes| Size::new(Transport::Ring, bytes, 0).unwrap().wakeup_shift();
        assert_eq!(shift(16 << 20), 18);
        assert_eq!(shift(1 << 20), 18);
        assert_eq!(1 << shift(16 << 10), 4 << 10);
    }

    #[test]
    fn the_cpus_share_what_perf_is_given() {
        let size = Transport::Perf.for_packets(64 << 20, Snap::Adaptive);
        let cpus = libbpf_rs::num_possible_cpus().unwrap() as u32;
        let each = size.unwrap().0.bytes;
        assert!(each >= (64 << 20) / cpus && each < 2 * (64 << 20) / cpus);
    }

    #[test]
    fn a_packet_fits_a_record_of_perfs() {
        let all = Snap::Fixed(super::super::MAX_SNAP_BYTES);
        assert_eq!(Transport::Ring.limit(all), all);
        let layout = Layout::place(Transport::Perf.limit(all).packet_bytes());
        let record = layout.unwrap().record_bytes();
        // Its header, its length and padding.
        assert!(record + 8 + 4 + 8 <= u32::from(u16::MAX));
    }
}
