//! When records were lost, and what may therefore not be whole.
//!
//! Nothing is concluded from what is missing where it may have been lost:
//! whoever reads a connection or a request asks here first. What was lost, and
//! why, is told by [`crate::report`].

use crate::span::Span;
use crate::tcp;

/// At most so many stretches are told apart; beyond, neighbours become one.
const MAX_SPANS: usize = 1 << 14;

/// Events of a connection may come so long before its first packet, or after
/// its last: it is asked for before it is made, and closed by when the
/// process likes.
const EVENT_MARGIN_NS: i64 = 1_000_000_000;

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incomplete {
    /// Packets were lost meanwhile.
    pub packets: bool,
    /// Events were lost meanwhile: the owner and the kernel's facts may be
    /// missing, or be another's.
    pub events: bool,
    /// The recording ended abruptly before it did.
    pub end: bool,
}

impl Incomplete {
    /// Whether packets may be missing, for any cause.
    #[must_use]
    pub const fn lacks_packets(self) -> bool {
        self.packets || self.end
    }

    /// A word for each thing that may be missing.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [
            (self.packets, "packets"),
            (self.events, "events"),
            (self.end, "end"),
        ];
        let missing = words.into_iter().filter(|(is_missing, _)| *is_missing);
        missing.map(|(_, word)| word)
    }
}

/// When records were lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gaps {
    /// When packets were.
    pub packets: Spans,
    /// When events were.
    pub events: Spans,
    /// Whether the recording ended in no good order.
    pub is_cut: bool,
}

impl Gaps {
    /// What may be missing of a connection.
    #[must_use]
    pub(crate) fn of_connection(&self, connection: &tcp::Connection) -> Incomplete {
        let span = possible(connection);
        let events = Span {
            first_ns: span.first_ns.saturating_sub(EVENT_MARGIN_NS),
            last_ns: span.last_ns.saturating_add(EVENT_MARGIN_NS),
        };
        Incomplete {
            packets: self.packets.meet(span),
            events: self.events.meet(events),
            end: self.is_cut && !connection.state.is_over(),
        }
    }

    /// What may be missing of a part of a connection, as far as it is known
    /// when it began and ended; `whole` is what may be missing of all of it.
    #[must_use]
    pub(crate) fn of_part(
        &self,
        connection: &tcp::Connection,
        whole: Incomplete,
        first_ns: Option<i64>,
        last_ns: Option<i64>,
    ) -> Incomplete {
        let possible = possible(connection);
        let span = Span {
            first_ns: first_ns.unwrap_or(possible.first_ns),
            last_ns: last_ns.unwrap_or(possible.last_ns),
        };
        Incomplete {
            packets: self.packets.meet(span),
            events: whole.events,
            end: whole.end && last_ns.is_none(),
        }
    }
}

/// When packets of a connection may have passed. Where its beginning or its
/// end was not seen there may have been others at any time.
fn possible(connection: &tcp::Connection) -> Span {
    let is_begun = connection.orig.syn_packets > 0;
    Span {
        first_ns: if is_begun {
            connection.first_ns
        } else {
            i64::MIN
        },
        last_ns: if connection.state.is_over() {
            connection.last_ns
        } else {
            i64::MAX
        },
    }
}

/// Stretches of time: ascending, and no two of them meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    /// Adds a stretch.
    pub(crate) fn add(&mut self, span: Span) {
        // Of a damaged record the end may come first.
        let mut span = Span {
            first_ns: span.first_ns.min(span.last_ns),
            last_ns: span.last_ns.max(span.first_ns),
        };
        let from = self
            .0
            .partition_point(|known| known.last_ns < span.first_ns);
        let to = self
            .0
            .partition_point(|known| known.first_ns <= span.last_ns);
        for known in self.0.get(from..to).unwrap_or_default() {
            span.first_ns = span.first_ns.min(known.first_ns);
            span.last_ns = span.last_ns.max(known.last_ns);
        }
        self.0.splice(from..to, [span]);
        if self.0.len() > MAX_SPANS {
            let pairs = self.0.chunks(2).map(|pair| Span {
                first_ns: pair.first().map_or(i64::MIN, |span| span.first_ns),
                last_ns: pair.last().map_or(i64::MAX, |span| span.last_ns),
            });
            self.0 = pairs.collect();
        }
    }

    /// Whether one of them has a moment in common with `other`.
    fn meet(&self, other: Span) -> bool {
        let place = self.0.partition_point(|span| span.last_ns < other.first_ns);
        let next = self.0.get(place);
        next.is_some_and(|span| span.first_ns <= other.last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first_ns: i64, last_ns: i64) -> Span {
        Span { first_ns, last_ns }
    }

    #[test]
    fn spans_meet_where_they_have_a_moment_in_common() {
        let mut spans = Spans::default();
        for (first, last) in [(50, 60), (10, 20), (15, 30), (55, 56)] {
            spans.add(span(first, last));
        }
        assert_eq!(spans.0, [span(10, 30), span(50, 60)]);
        for (first, last, meets) in [
            (0, 9, false),
            (0, 10, true),
            (30, 30, true),
            (31, 49, false),
            (31, 50, true),
            (61, i64::MAX, false),
            (i64::MIN, i64::MAX, true),
        ] {
            assert_eq!(spans.meet(span(first, last)), meets, "{first}..{last}");
        }
    }

    #[test]
    fn many_losses_take_no_more_memory_and_none_is_forgotten() {
        let mut spans = Spans::default();
        for at in 0..100_000 {
            spans.add(Span::at(at * 10));
        }
        assert!(spans.0.len() <= MAX_SPANS);
        for at in 0..100_000 {
            assert!(spans.meet(Span::at(at * 10)));
        }
        assert!(!spans.meet(span(1_000_000, i64::MAX)));
    }
}
