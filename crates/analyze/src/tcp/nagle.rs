//! When an end held a segment back until a delayed ACK came.
//!
//! Nagle's algorithm (RFC 9293 section 3.7.4) sends nothing that is less than a full segment
//! while such a one waits for its ACK, and the other end may delay the ACK
//! (section 3.8.6.3). Who writes twice before it reads waits for both: 40 ms and more with
//! Linux, 200 ms with others. On the wire it is a small segment right behind an ACK that
//! came late. Nobody sees whether it was held back, so what speaks against it counts: who
//! sends small segments while others wait has switched the algorithm off (`TCP_NODELAY`).

use super::Delays;
use super::pair::Side;

/// An ACK that takes so much longer than a round trip was delayed. Linux takes 40 ms at least
/// (`TCP_DELACK_MIN`), less half a jiffy.
pub(super) const LATE_NS: i64 = 30_000_000;

/// RFC 9293 section 3.8.6.3: an ACK is to be delayed less than that.
const TOO_LATE_NS: i64 = 500_000_000;

/// Who waited for an ACK sends so soon after it.
const AT_ONCE_NS: i64 = 2_000_000;

/// The segment size where the SYN of the other end does not tell it (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// Room for options that the segment size does not tell of (RFC 6691): timestamps.
const OPTIONS_BYTES: u32 = 12;

/// What an end held back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nagle {
    /// The latest ACK that came late: of what it had sent when, until when, and up to where.
    late: Option<(i64, i64, i64)>,
    /// Up to where its latest small segment goes.
    small_end: Option<i64>,
    /// It does not hold anything back.
    is_off: bool,
    count: u64,
    longest: (i64, i64),
}

/// New payload that an end sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) ts_ns: i64,
    pub(super) position: i64,
    pub(super) payload_bytes: u32,
    /// Whether nothing before it waits for an ACK.
    pub(super) is_alone: bool,
    /// The segment size that the other end asked for.
    pub(super) mss: Option<u16>,
    /// The handshake's round trip; without it no ACK is known to be late.
    pub(super) rtt_ns: Option<i64>,
}

impl Nagle {
    /// An ACK without payload of all before `position`, of which the last was sent at
    /// `sent_ns`.
    #[cold]
    pub(super) fn acknowledged(&mut self, sent_ns: i64, ts_ns: i64, position: i64) {
        self.late = Some((sent_ns, ts_ns, position));
    }

    /// Takes new payload. By itself: few connections have met an ACK that came late.
    #[inline(never)]
    pub(super) fn sends(&mut self, new: New) {
        let late = self.late.take();
        let full = u32::from(new.mss.unwrap_or(DEFAULT_MSS));
        if new.payload_bytes + OPTIONS_BYTES >= full {
            self.small_end = None;
            return;
        }
        let before = self
            .small_end
            .replace(new.position + i64::from(new.payload_bytes));
        self.is_off |= !new.is_alone && before == Some(new.position);
        let Some((sent_ns, came_ns, _)) = late.filter(|late| late.2 == new.position) else {
            return;
        };
        // Wherever it was captured, the way there and back is in the one or the other.
        let Some(rtt_ns) = new.rtt_ns else { return };
        let delayed_ns = new.ts_ns.saturating_sub(sent_ns).saturating_sub(rtt_ns);
        let is_at_once = new.ts_ns.saturating_sub(came_ns) <= rtt_ns.saturating_add(AT_ONCE_NS);
        if is_at_once && (LATE_NS..TOO_LATE_NS).contains(&delayed_ns) {
            self.count += 1;
            if new.ts_ns - sent_ns > self.longest.1 - self.longest.0 {
                self.longest = (sent_ns, new.ts_ns);
            }
        }
    }

    /// What was found, of the end `side`.
    pub(super) fn delays(&self, side: Side, originator: Side) -> Option<Delays> {
        (self.count > 0 && !self.is_off).then_some(Delays {
            by_orig: side == originator,
            count: self.count,
            first_ns: self.longest.0,
            last_ns: self.longest.1,
        })
    }
}
