//! Why the kernel counts other retransmissions than the packets show.
//!
//! Both are true, of different places. Where they differ something stands in
//! between, and is named here if it is known.

use serde::Serialize;

use crate::resolved::{Connection, EndFacts};
use crate::tcp::End;

/// What stands between the kernel's count and the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contrast {
    /// Packets may be missing in the capture.
    PacketsLost,
    /// Events may be missing in the capture.
    EventsLost,
    /// The kernel counts since before the first packet.
    Older,
    /// Packets held several segments each (GSO, TSO), which the kernel counts.
    Offload,
    /// The wire's are keep-alives and probes of a zero window, which the kernel
    /// does not count.
    Probes,
    /// More was sent again than passed the place of capture.
    NotCaptured,
    /// More passed the place of capture than was sent again: copies.
    Copies,
}

impl Contrast {
    /// Of the originator's, then of the responder's retransmissions; none where
    /// the kernel's count is that of the wire, or is not known.
    #[must_use]
    pub(crate) fn of(connection: &Connection) -> [Option<Self>; 2] {
        let (orig, resp) = (&connection.tcp.orig, &connection.tcp.resp);
        [
            Self::at(connection, &connection.orig, orig, resp),
            Self::at(connection, &connection.resp, resp, orig),
        ]
    }

    fn at(connection: &Connection, facts: &EndFacts, end: &End, peer: &End) -> Option<Self> {
        let kernel = facts.kernel?.retransmits;
        let wire = end.retransmitted_packets;
        let incomplete = connection.incomplete;
        if kernel == wire {
            None
        } else if kernel > wire {
            Some(if incomplete.lacks_packets() {
                Self::PacketsLost
            } else if end.syn_packets == 0 {
                Self::Older
            } else if has_long_packets(end, peer) {
                Self::Offload
            } else {
                Self::NotCaptured
            })
        } else {
            let probes = end.analysis.keep_alives + end.analysis.zero_window_probes;
            Some(if incomplete.events {
                Self::EventsLost
            } else if wire.saturating_sub(probes) <= kernel {
                Self::Probes
            } else {
                Self::Copies
            })
        }
    }
}

/// How many packets an end can have sent again at most: the kernel knows, where all
/// events are there. What the wire shows beyond are copies, or were overtaken.
pub(crate) fn resent_at_most(connection: &Connection, by_orig: bool) -> u64 {
    let facts = if by_orig {
        &connection.orig
    } else {
        &connection.resp
    };
    let kernel = facts.kernel.filter(|_| !connection.incomplete.events);
    kernel.map_or(u64::MAX, |kernel| kernel.retransmits)
}

/// Whether packets on average are longer than a segment that the peer takes.
fn has_long_packets(end: &End, peer: &End) -> bool {
    let mss = peer.syn_options.and_then(|options| options.mss);
    mss.is_some_and(|mss| end.wire_bytes > end.data_packets.saturating_mul(mss.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::Incomplete;
    use crate::owner::KernelFacts;
    use crate::report::row::sample;

    fn differs(change: impl FnOnce(&mut Connection)) -> Option<Contrast> {
        let mut connection = sample::connection();
        connection.incomplete = Incomplete::default();
        connection.orig.kernel = Some(KernelFacts::default());
        connection.tcp.orig.retransmitted_packets = 0;
        connection.tcp.orig.syn_packets = 1;
        change(&mut connection);
        let [orig, _] = Contrast::of(&connection);
        orig
    }

    fn kernel_counts(connection: &mut Connection, retransmits: u64) {
        connection.orig.kernel = Some(KernelFacts {
            retransmits,
            ..KernelFacts::default()
        });
    }

    #[test]
    fn equal_counts_and_unknown_ones_are_no_contrast() {
        assert_eq!(differs(|_| {}), None);
        assert_eq!(
            differs(|connection| {
                connection.orig.kernel = None;
                connection.tcp.orig.retransmitted_packets = 3;
            }),
            None
        );
    }

    #[test]
    fn no_more_was_sent_again_than_the_kernel_knows_of() {
        let mut connection = sample::connection();
        connection.incomplete = Incomplete::default();
        kernel_counts(&mut connection, 3);
        assert_eq!(resent_at_most(&connection, true), 3);
        connection.incomplete.events = true;
        assert_eq!(resent_at_most(&connection, true), u64::MAX);
        connection.incomplete.events = false;
        connection.orig.kernel = None;
        assert_eq!(resent_at_most(&connection, true), u64::MAX);
    }

    #[test]
    fn what_the_kernel_counts_more_has_a_reason() {
        let more = |change: fn(&mut Connection)| {
            differs(|connection| {
                kernel_counts(connection, 2);
                change(connection);
            })
        };
        assert_eq!(more(|_| {}), Some(Contrast::NotCaptured));
        assert_eq!(
            more(|connection| connection.incomplete.packets = true),
            Some(Contrast::PacketsLost)
        );
        assert_eq!(
            more(|connection| connection.tcp.orig.syn_packets = 0),
            Some(Contrast::Older)
        );
        assert_eq!(
            more(|connection| {
                connection.tcp.orig.data_packets = 2;
                connection.tcp.orig.wire_bytes = 4000;
                let options = connection.tcp.resp.syn_options.get_or_insert_default();
                options.mss = Some(1460);
            }),
            Some(Contrast::Offload)
        );
    }

    #[test]
    fn what_the_wire_shows_more_has_a_reason() {
        let more = |change: fn(&mut Connection)| {
            differs(|connection| {
                kernel_counts(connection, 1);
                connection.tcp.orig.retransmitted_packets = 3;
                change(connection);
            })
        };
        assert_eq!(more(|_| {}), Some(Contrast::Copies));
        assert_eq!(
            more(|connection| connection.incomplete.events = true),
            Some(Contrast::EventsLost)
        );
        assert_eq!(
            more(|connection| connection.tcp.orig.analysis.keep_alives = 2),
            Some(Contrast::Probes)
        );
    }
}
