//! The packets' rings, one for each CPU, in memory that the programs write and
//! the recorder reads (`bpf/packet_rings.bpf.h`): how large they are, and how
//! they are read in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::MapMut;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::batch::{Batch, Ring};
use super::rings::page_bytes;
use super::skeleton::packets::types::{limits, packet_record, ring_positions};
use super::skeleton::packets::{OpenPacketsMaps, PacketsMaps};

/// Records begin at multiples of this.
const ALIGN_BYTES: u64 = limits::PACKET_ALIGN_BYTES.0 as u64;
const SEGMENT_BYTES: u64 = 1 << 20;
/// What each CPU gets where there are many: packets may all come to one.
const SHARE_BYTES: u64 = 1 << 20;

/// Where the packets of each CPU are put together, and wait to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    cpus: u32,
    /// Of a ring; a power of two.
    segments: u32,
    /// Of a segment; a power of two.
    segment_bytes: u64,
    /// The largest record.
    record_bytes: u64,
}

impl Layout {
    /// Rings that hold `asked` bytes in all, and each at least a mebibyte of it,
    /// and two records with `packet_bytes` of a packet.
    pub(super) fn rings(asked: u32, packet_bytes: u32) -> libbpf_rs::Result<Self> {
        let place = Self::place(packet_bytes)?;
        let asked = u64::from(asked);
        let share = asked / u64::from(place.cpus.max(1));
        let bytes = share
            .max(asked.min(SHARE_BYTES))
            .max(u64::from(page_bytes()))
            .max(2 * place.record_bytes)
            .next_power_of_two();
        let segment_bytes = bytes.min(SEGMENT_BYTES);
        Ok(Self {
            segments: u32::try_from(bytes / segment_bytes).unwrap_or(1),
            segment_bytes,
            ..place
        })
    }

    /// No rings: a place for each CPU to put a packet together.
    pub(super) fn place(packet_bytes: u32) -> libbpf_rs::Result<Self> {
        let record = size_of::<packet_record>() as u64 + u64::from(packet_bytes);
        Ok(Self {
            cpus: u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(u32::MAX),
            segments: 1,
            segment_bytes: 1,
            record_bytes: record.next_multiple_of(ALIGN_BYTES),
        })
    }

    /// Whether packets wait here to be read.
    pub(super) fn is_ring(self) -> bool {
        self.segment_bytes > 1
    }

    /// Of one CPU.
    pub(super) fn ring_bytes(self) -> u64 {
        u64::from(self.segments) * self.segment_bytes
    }

    /// The largest record.
    pub(super) fn record_bytes(self) -> u32 {
        u32::try_from(self.record_bytes).unwrap_or(u32::MAX)
    }

    /// As bpf/packet_rings.bpf.h has it.
    pub(super) fn capacity_bytes(self) -> u64 {
        self.ring_bytes().saturating_sub(self.record_bytes)
    }

    /// The same.
    pub(super) fn segment_shift(self) -> u32 {
        self.segment_bytes.ilog2()
    }

    /// The same.
    pub(super) fn ring_segments(self) -> u32 {
        self.segments
    }

    /// A segment, and the room behind it.
    fn value_bytes(self) -> u64 {
        (self.segment_bytes + self.record_bytes).next_multiple_of(ALIGN_BYTES)
    }

    /// Prepares the maps.
    pub(super) fn set(self, maps: &mut OpenPacketsMaps<'_>) -> libbpf_rs::Result<()> {
        let value_bytes = u32::try_from(self.value_bytes()).unwrap_or(u32::MAX);
        maps.segments.set_value_size(value_bytes)?;
        maps.segments
            .set_max_entries(self.cpus.saturating_mul(self.segments))?;
        maps.positions.set_max_entries(self.cpus)
    }
}

/// The rings of one BPF object.
pub(super) struct End<'a> {
    pub(super) maps: &'a PacketsMaps<'static>,
    pub(super) layout: Layout,
}

/// The rings of all CPUs and all objects.
#[derive(Default)]
pub(super) struct PacketRings {
    rings: Vec<CpuRing>,
    /// The times of their next records. Kept, so that a look does not allocate.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
}

impl PacketRings {
    /// Adds those of an object, whose records are of `ring`.
    pub(super) fn add(&mut self, ring: Ring, end: &End<'_>) -> io::Result<()> {
        let layout = end.layout;
        let segments = layout.value_bytes() * u64::from(layout.cpus * layout.segments);
        let segments = Rc::new(Mapping::new(&end.maps.segments, segments)?);
        let positions = size_of::<ring_positions>() as u64 * u64::from(layout.cpus);
        let positions = Rc::new(Mapping::new(&end.maps.positions, positions)?);
        self.rings.extend((0..layout.cpus).map(|cpu| CpuRing {
            ring,
            layout,
            cpu,
            segments: Rc::clone(&segments),
            positions: Rc::clone(&positions),
            written: 0,
            read: 0,
            released: 0,
        }));
        Ok(())
    }

    /// Whether there are none: packets come through the kernel's ring buffers.
    pub(super) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Takes what the rings held when the look began into `batch`, the oldest
    /// first. Where that is more than fits a batch, the time up to which nothing
    /// is left.
    ///
    /// # Errors
    /// When what they hold makes no sense.
    pub(super) fn take(&mut self, batch: &mut Batch) -> io::Result<Option<u64>> {
        self.heads.clear();
        for (place, ring) in self.rings.iter_mut().enumerate() {
            ring.look()?;
            let next_ns = ring.next_boot_ns()?;
            self.heads.extend(next_ns.map(|ns| Reverse((ns, place))));
        }
        let mut last_ns = None;
        while let Some(mut head) = self.heads.peek_mut() {
            if batch.is_full() && last_ns.is_some() {
                drop(head);
                break;
            }
            let Reverse((boot_ns, place)) = *head;
            let Some(ring) = self.rings.get_mut(place) else {
                break;
            };
            batch.push(ring.ring, ring.next()?);
            ring.advance()?;
            last_ns = Some(boot_ns);
            match ring.next_boot_ns()? {
                Some(next_ns) => *head = Reverse((next_ns, place)),
                None => {
                    PeekMut::pop(head);
                }
            }
        }
        for ring in &mut self.rings {
            ring.release()?;
        }
        Ok(last_ns.filter(|_| !self.heads.is_empty()))
    }
}

/// The ring of a CPU.
struct CpuRing {
    ring: Ring,
    layout: Layout,
    cpu: u32,
    segments: Rc<Mapping>,
    positions: Rc<Mapping>,
    /// How far it was written when the look began.
    written: u64,
    read: u64,
    /// How far the programs know that it was read.
    released: u64,
}

impl CpuRing {
    fn position(&self, offset: usize) -> io::Result<&AtomicU64> {
        let place = self.cpu as usize * size_of::<ring_positions>() + offset;
        self.positions.number(place).ok_or_else(nonsense)
    }

    /// Sees what was written so far.
    fn look(&mut self) -> io::Result<()> {
        let written = self.position(std::mem::offset_of!(ring_positions, written_bytes))?;
        self.written = written.load(Ordering::Acquire);
        Ok(())
    }

    /// Gives the room of what was read back.
    fn release(&mut self) -> io::Result<()> {
        if self.released != self.read {
            let read = self.position(std::mem::offset_of!(ring_positions, read_bytes))?;
            read.store(self.read, Ordering::Release);
            self.released = self.read;
        }
        Ok(())
    }

    /// The next record, whole. Only where there is one.
    fn next(&self) -> io::Result<&[u8]> {
        const HEAD_BYTES: usize = size_of::<packet_record>();
        let Layout {
            segments,
            segment_bytes,
            ..
        } = self.layout;
        let segment = self.read / segment_bytes % u64::from(segments);
        let segment = u64::from(self.cpu) * u64::from(segments) + segment;
        let place = segment * self.layout.value_bytes() + self.read % segment_bytes;
        let place = usize::try_from(place).map_err(io::Error::other)?;
        let head = self.segments.bytes(place, HEAD_BYTES);
        let captured = head
            .and_then(|head| head.get(std::mem::offset_of!(packet_record, captured_bytes)..))
            .and_then(|bytes| bytes.first_chunk())
            .ok_or_else(nonsense)?;
        let captured = u32::from_ne_bytes(*captured) as usize;
        let raw = self.segments.bytes(place, HEAD_BYTES + captured);
        raw.ok_or_else(nonsense)
    }

    /// Its time; none where all is read.
    fn next_boot_ns(&self) -> io::Result<Option<u64>> {
        if self.read == self.written {
            return Ok(None);
        }
        let boot_ns = self.next()?.first_chunk().ok_or_else(nonsense)?;
        Ok(Some(u64::from_ne_bytes(*boot_ns)))
    }

    /// Goes on behind it.
    fn advance(&mut self) -> io::Result<()> {
        // How much is read before its room is given back, not to disturb the
        // programs for each record.
        const PARTS: u64 = 16;
        let bytes = (self.next()?.len() as u64).next_multiple_of(ALIGN_BYTES);
        if bytes > self.written - self.read {
            return Err(nonsense());
        }
        self.read += bytes;
        if self.read - self.released > self.layout.ring_bytes() / PARTS {
            self.release()?;
        }
        Ok(())
    }
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a ring of packets is damaged")
}

/// The memory of a map, which programs write too.
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Mapping {
    fn new(map: &MapMut<'_>, bytes: u64) -> io::Result<Self> {
        let pages = bytes.next_multiple_of(u64::from(page_bytes()));
        let bytes = usize::try_from(pages).map_err(io::Error::other)?;
        let length = NonZeroUsize::new(bytes).ok_or_else(nonsense)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: memory that nothing else has; it is taken back on drop only.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.as_fd(), 0) }?;
        Ok(Self { start, bytes })
    }

    /// None where it has not so many. They must be such that no program writes.
    fn bytes(&self, place: usize, length: usize) -> Option<&[u8]> {
        let end = place.checked_add(length)?;
        // SAFETY: within the mapping, which lives as long as the value. Programs
        // write behind what they have told and was not released, see CpuRing.
        (end <= self.bytes).then(|| unsafe {
            slice::from_raw_parts(self.start.as_ptr().cast::<u8>().add(place), length)
        })
    }

    /// None where it ends before, or numbers do not begin there.
    fn number(&self, place: usize) -> Option<&AtomicU64> {
        let end = place.checked_add(size_of::<u64>())?;
        let is_one = end <= self.bytes && place.is_multiple_of(align_of::<u64>());
        // SAFETY: within the mapping, which begins at a page, and aligned; both
        // sides load and store it whole.
        is_one.then(|| unsafe {
            AtomicU64::from_ptr(self.start.as_ptr().cast::<u8>().add(place).cast::<u64>())
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that was made, and nobody borrows of it. That
        // it fails is no harm.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_bytes(asked: u32, packet_bytes: u32) -> u64 {
        Layout::rings(asked, packet_bytes).unwrap().ring_bytes()
    }

    #[test]
    fn the_cpus_share_what_is_asked_for() {
        let cpus = u32::try_from(libbpf_rs::num_possible_cpus().unwrap()).unwrap();
        // The next power of two.
        assert_eq!(ring_bytes(cpus * (3 << 20), 256), 4 << 20);
        // A mebibyte at least, of what is asked for.
        assert_eq!(ring_bytes(2 << 20, 256), (2 << 20) / cpus.min(2) as u64);
    }

    #[test]
    fn a_ring_holds_the_largest_record_and_another() {
        for packet_bytes in [100, 9000, 262_144] {
            let layout = Layout::rings(1, packet_bytes).unwrap();
            assert!(layout.capacity_bytes() >= layout.record_bytes);
            assert!(layout.record_bytes >= u64::from(packet_bytes) + 80);
            let segments = u64::from(layout.segments) * layout.segment_bytes;
            assert_eq!(segments, layout.ring_bytes());
        }
    }
}
