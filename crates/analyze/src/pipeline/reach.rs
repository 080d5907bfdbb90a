//! How far a direction of a connection has come, wherever its packets passed.

use tcprec_shared::headers::{Segment, TcpFlags};

/// What is further ahead than this is of another connection, or has other numbers, as
/// behind a proxy that answers SYNs.
const MAX_AHEAD: u32 = 1 << 20;

/// So many holes are kept; beyond, the oldest is forgotten. Millions of directions may have some.
const MAX_HOLES: usize = 16;

/// The numbers that were carried so far.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// One past the last.
    next: u32,
    /// None before the first.
    ack: Option<u32>,
    /// Below `next`: what was not carried, from a number up to another.
    holes: Vec<(u32, u32)>,
}

impl Reach {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        Self {
            next: end(segment),
            ack: segment.flags.has(TcpFlags::ACK).then_some(segment.ack),
            holes: Vec::new(),
        }
    }

    /// Whether a segment has something that nobody had before, so that it is no copy. A SYN
    /// is the first; another one is of a connection elsewhere that has the same ends.
    pub(super) fn lacks(&self, segment: &Segment<'_>) -> bool {
        let (begin, end) = (segment.seq, end(segment));
        if segment.flags.has(TcpFlags::SYN) || is_far(begin, self.next) {
            return false;
        }
        let is_further = is_ahead(end, self.next);
        let is_in_hole = || {
            let overlaps = |hole: &(u32, u32)| is_ahead(end, hole.0) && is_ahead(hole.1, begin);
            begin != end && self.holes.iter().any(overlaps)
        };
        let acknowledges = || {
            let goes_on = |ack| is_ahead(segment.ack, ack) && !is_far(segment.ack, ack);
            segment.flags.has(TcpFlags::ACK) && self.ack.is_none_or(goes_on)
        };
        is_further || acknowledges() || is_in_hole()
    }

    /// A segment is carried.
    pub(super) fn take(&mut self, segment: &Segment<'_>) {
        let (begin, end) = (segment.seq, end(segment));
        if segment.flags.has(TcpFlags::SYN) || is_far(begin, self.next) {
            *self = Self::of(segment);
            return;
        }
        if is_ahead(begin, self.next) {
            if self.holes.len() >= MAX_HOLES {
                self.holes.remove(0);
            }
            self.holes.push((self.next, begin));
        } else if begin != self.next && !self.holes.is_empty() {
            self.fill(begin, end);
        }
        if is_ahead(end, self.next) {
            self.next = end;
        }
        let acknowledges_more = self.ack.is_none_or(|ack| is_ahead(segment.ack, ack));
        if segment.flags.has(TcpFlags::ACK) && acknowledges_more {
            self.ack = Some(segment.ack);
        }
    }

    #[cold]
    fn fill(&mut self, begin: u32, end: u32) {
        let left = |(from, to): (u32, u32)| {
            let earlier = |a, b| if is_ahead(a, b) { b } else { a };
            let later = |a, b| if is_ahead(a, b) { a } else { b };
            [(from, earlier(begin, to)), (later(end, from), to)]
        };
        let holes = self.holes.drain(..).flat_map(left);
        let holes = holes.filter(|(from, to)| is_ahead(*to, *from));
        self.holes = holes.take(MAX_HOLES).collect();
    }
}

/// One past the last number of a segment. A SYN and a FIN have one each (RFC 9293 section
/// 3.4); so has a reset here, for it to be something new.
fn end(segment: &Segment<'_>) -> u32 {
    let has = |flag| u32::from(segment.flags.has(flag));
    let flags = has(TcpFlags::SYN) + has(TcpFlags::FIN) + has(TcpFlags::RST);
    (segment.seq.wrapping_add(segment.payload_bytes)).wrapping_add(flags)
}

/// Whether a number comes behind another, the shorter way round.
const fn is_ahead(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed() > 0
}

/// Whether a number is far from another, on either side.
const fn is_far(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed().unsigned_abs() > MAX_AHEAD
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tcprec_shared::flow::Endpoint;

    use super::*;

    fn segment(seq: u32, payload_bytes: u32, ack: u32, flags: TcpFlags) -> Segment<'static> {
        let end = Endpoint {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 1,
        };
        Segment {
            src: end,
            dst: end,
            seq,
            ack,
            flags,
            window: 1,
            options: &[],
            options_bytes: 0,
            ip_bytes: 40 + payload_bytes,
            ttl: 64,
            header_bytes: 40,
            payload_bytes,
            payload: &[],
            tunnels: 0,
        }
    }

    fn data(seq: u32, payload_bytes: u32) -> Segment<'static> {
        segment(seq, payload_bytes, 7, TcpFlags::ACK)
    }

    #[test]
    fn what_goes_on_or_fills_a_hole_is_lacking() {
        // Numbers wrap on the way.
        let first = 0_u32.wrapping_sub(150);
        let at = |offset: u32| first.wrapping_add(offset);
        let mut reach = Reach::of(&data(first, 100));
        for copy in [data(first, 100), data(at(50), 50), data(at(99), 1)] {
            assert!(!reach.lacks(&copy), "{copy:?}");
        }
        assert!(reach.lacks(&data(at(100), 100)));
        reach.take(&data(at(400), 100));
        assert!(!reach.lacks(&data(at(400), 100)));
        assert!(reach.lacks(&data(at(200), 100)));
        reach.take(&data(at(200), 100));
        let left = [100, 200, 300, 350, 400].map(|offset| reach.lacks(&data(at(offset), 50)));
        assert_eq!(left, [true, false, true, true, false]);
        reach.take(&data(at(90), 500));
        assert!(!(100..590).any(|offset| reach.lacks(&data(at(offset), 1))));
        assert_eq!(reach.holes, []);
    }

    #[test]
    fn what_acknowledges_more_is_lacking() {
        let mut reach = Reach::of(&data(1, 0));
        let acknowledging = |ack| segment(1, 0, ack, TcpFlags::ACK);
        assert!(!reach.lacks(&acknowledging(7)));
        assert!(reach.lacks(&acknowledging(8)));
        reach.take(&acknowledging(8));
        assert!(!reach.lacks(&acknowledging(8)));
    }

    #[test]
    fn the_end_is_lacking_once() {
        for flag in [TcpFlags::FIN, TcpFlags::RST] {
            let mut reach = Reach::of(&data(1, 10));
            let end = segment(11, 0, 7, TcpFlags(flag.0 | TcpFlags::ACK.0));
            assert!(reach.lacks(&end));
            reach.take(&end);
            assert!(!reach.lacks(&end));
        }
    }

    #[test]
    fn other_numbers_are_not_lacking() {
        for flags in [TcpFlags::ACK, TcpFlags::SYN] {
            let reach = Reach::of(&segment(1, 10, 7, flags));
            for offset in [1 << 21, 1 << 30, 1 << 31, 3 << 30] {
                assert!(!reach.lacks(&segment(offset, 10, offset, TcpFlags::ACK)));
            }
        }
    }

    #[test]
    fn holes_are_bounded() {
        let mut reach = Reach::of(&data(0, 1));
        for number in 1..1000 {
            reach.take(&data(number * 2, 1));
        }
        assert_eq!(reach.holes.len(), MAX_HOLES);
        assert!(!reach.lacks(&data(1, 1)) && reach.lacks(&data(1997, 1)));
        // A piece amid each of them.
        let mut reach = Reach::of(&data(0, 1));
        (1..1000).for_each(|number| reach.take(&data(number * 10, 1)));
        (900..1000).for_each(|number| reach.take(&data(number * 10 - 5, 1)));
        assert_eq!(reach.holes.len(), MAX_HOLES);
    }
}
