//! The rings between the programs and the recorder: how large they are.

use nix::unistd::{SysconfVar, sysconf};

use super::Snap;
use super::skeleton::packets::types::packet_record;

/// The largest that may be asked for: the kernel keeps it in memory.
pub(crate) const MAX_BUFFER_BYTES: u32 = 1 << 30;
/// Events are few and small.
pub(super) const EVENTS_RING_BYTES: u32 = 4 << 20;

/// The size of a ring for `asked` bytes of packets: a power of two and whole
/// pages, as the kernel wants it, and room for at least one of the largest.
pub(super) fn packets_ring_bytes(asked: u32, snap: Snap) -> u32 {
    // Linux: kernel/bpf/ringbuf.c.
    const HEADER_BYTES: u32 = 8;
    let record = size_of::<packet_record>() as u32 + snap.packet_bytes() + HEADER_BYTES;
    asked
        .max(page_bytes())
        .max(record)
        .checked_next_power_of_two()
        .unwrap_or(MAX_BUFFER_BYTES)
}

fn page_bytes() -> u32 {
    const USUAL: u32 = 4096;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(USUAL)
}

/// How much may wait in a ring before the recorder is woken, as a power of two:
/// 256 KiB, and of a small ring a quarter (`wakeup_shift` of bpf/rings.bpf.h).
pub(super) fn wakeup_shift(ring_bytes: u32) -> u32 {
    const LARGEST: u32 = 18;
    ring_bytes.ilog2().saturating_sub(2).min(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_that_hold_a_packet() {
        let bytes = |asked, snap| packets_ring_bytes(asked, snap);
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
    fn a_small_ring_wakes_the_recorder_earlier() {
        assert_eq!(wakeup_shift(16 << 20), 18);
        assert_eq!(wakeup_shift(1 << 20), 18);
        assert_eq!(1 << wakeup_shift(16 << 10), 4 << 10);
    }
}
