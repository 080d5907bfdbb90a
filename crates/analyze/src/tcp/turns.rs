//! Turns: the client sends something, and the server answers, whatever they speak. Of
//! what cannot be read, as within TLS, they tell how long the server was waited for.
//!
//! What a server sends unasked is no answer, nor is what it sent before it had all of
//! the question: an answer acknowledges that.

use super::rare::Rare;
use super::waits::Waits;
use crate::app::{Hidden, is_hidden_finished};

/// The turns of a connection, as far as they are not requests that are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turns {
    /// From the last byte that the client sent to the first of the server's answer.
    pub waits: Waits,
    /// The turn with the longest, of equals the first.
    pub longest: Turn,
}

/// How a session of TLS ended, as its alerts tell, which mostly are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Farewell {
    /// Whether the last that the client sent is an alert, as that which closes a session.
    pub is_by_client: bool,
    /// Whether an alert is all that the server of TLS 1.3 said to what its client sent with
    /// its Finished, as to a certificate that it does not accept: the client has sent its
    /// Finished before the server looks at that (RFC 8446 section 4.4.2.4).
    pub is_refusal: bool,
}

/// A turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// When the client sent its last packet before the answer.
    pub asked_ns: i64,
    /// When the first packet of the answer came.
    pub answered_ns: i64,
}

impl Turn {
    /// How long the answer was waited for.
    #[must_use]
    pub fn wait_ns(&self) -> i64 {
        self.answered_ns.saturating_sub(self.asked_ns).max(0)
    }
}

impl Turns {
    fn add(&mut self, turn: Turn) {
        if self.waits.is_empty() || turn.wait_ns() > self.longest.wait_ns() {
            self.longest = turn;
        }
        self.waits.add(turn.wait_ns());
    }
}

/// How the record of an alert begins.
const ALERT: [u8; 2] = [21, 3];

/// That of one that TLS 1.3 hides: level and description, the type of the content, and a
/// tag (RFC 8446 section 5.2).
const HIDDEN_ALERT: [u8; 5] = [23, 3, 3, 0, 2 + 1 + 16];

/// The header of a record with encrypted data.
const DATA: [u8; 3] = [23, 3, 3];
const HEADER_BYTES: u32 = 5;

/// A server that refuses what came does so within this time; later it closes what is not
/// used.
const REFUSAL_NS: i64 = 1_000_000_000;

/// The turns of a connection so far. One that HTTP is read of has none.
#[derive(Debug, Default)]
pub(super) struct TurnTaking(Rare<State>);

#[derive(Debug, Default)]
struct State {
    /// What hides the requests, as of the latest payload.
    hidden: Option<Hidden>,
    /// What the client sent, and was not answered so far.
    open: Option<Question>,
    /// Up to where the server and the client have sent.
    until: [i64; 2],
    tickets: Tickets,
    turns: Turns,
    farewell: Farewell,
}

/// Something that the client sent.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// Its last packet, and the position of what follows it.
    last_ns: i64,
    end: i64,
    /// When something came that may have been an answer, or a ticket.
    maybe_ns: Option<i64>,
}

/// Session tickets: a server of TLS 1.3 mostly sends them as soon as it has the client's
/// Finished (RFC 8446 section 4.6.1), before it has looked at the first request, and they
/// look like any data. They are alike, and each has a record for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Tickets {
    /// None will come.
    #[default]
    Over,
    /// They may come.
    Due,
    /// They came, in packets that begin with a record of this length.
    Record(u16),
}

/// A packet with payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) by_client: bool,
    pub(super) ts_ns: i64,
    /// Position of its first payload byte, and how many there are.
    pub(super) position: i64,
    pub(super) bytes: u32,
    /// Those of them that were captured.
    pub(super) captured: &'a [u8],
}

impl TurnTaking {
    /// Takes a packet, of which `hidden` says what it cannot be read for. The client's
    /// payload has been acknowledged up to where `is_acknowledged` says.
    pub(super) fn packet(
        &mut self,
        said: Said<'_>,
        hidden: Hidden,
        is_acknowledged: impl Fn(i64) -> bool,
    ) {
        let state = self.0.make();
        if state.hidden != Some(hidden) {
            state.hidden = Some(hidden);
            state.open = None;
            state.tickets = match hidden {
                Hidden::Tls13 => Tickets::Due,
                Hidden::Tls | Hidden::Unknown => Tickets::Over,
            };
        }
        let end = said.position + i64::from(said.bytes);
        let until = &mut state.until[usize::from(said.by_client)];
        let is_new = end > *until;
        *until = end.max(*until);
        if !is_new {
            return;
        }
        let is_alert = hidden != Hidden::Unknown && is_alert(said);
        if said.by_client {
            state.farewell.is_by_client = is_alert;
        } else {
            state.farewell.is_refusal = is_alert && state.is_open(said.ts_ns, &is_acknowledged);
        }
        if is_alert {
            return;
        }
        if said.by_client && state.tickets == Tickets::Due && is_finished(said) {
            // Nothing is asked yet.
        } else if said.by_client {
            state.asked(said.ts_ns, end);
        } else {
            state.answered(said, is_acknowledged);
        }
    }

    /// Takes it that a packet can be read, and what was asked before, as with the first
    /// packet of a request's head, is no question.
    pub(super) fn read(&mut self) {
        if let Some(state) = self.0.get_mut() {
            state.hidden = None;
        }
    }

    /// What is known of them; none if there were none.
    pub(super) fn so_far(&self) -> Option<Box<Turns>> {
        let state = self.0.get()?;
        let mut turns = state.turns.clone();
        if let Some(turn) = state.open.and_then(Question::maybe) {
            turns.add(turn);
        }
        (!turns.waits.is_empty()).then(|| Box::new(turns))
    }

    /// How the session ended, if it was one of TLS and has ended. There need not have been
    /// a turn.
    pub(super) fn farewell(&self) -> Farewell {
        self.0
            .get()
            .map_or_else(Farewell::default, |it| it.farewell)
    }
}

impl State {
    /// Whether the server may refuse what the client sent with its Finished: it has not
    /// answered anything, and the client goes on.
    fn is_open(&self, ts_ns: i64, is_acknowledged: impl FnOnce(i64) -> bool) -> bool {
        let is_early = self.tickets == Tickets::Due && !self.farewell.is_by_client;
        self.open.filter(|_| is_early).is_some_and(|open| {
            ts_ns.saturating_sub(open.last_ns) < REFUSAL_NS && is_acknowledged(open.end)
        })
    }

    fn asked(&mut self, ts_ns: i64, end: i64) {
        if let Some(turn) = self.open.and_then(Question::maybe) {
            self.turns.add(turn);
        }
        self.open = Some(Question {
            last_ns: ts_ns,
            end,
            maybe_ns: None,
        });
    }

    fn answered(&mut self, said: Said<'_>, is_acknowledged: impl FnOnce(i64) -> bool) {
        let may_be_tickets = self.tickets.are_in(said);
        let Some(open) = &mut self.open else { return };
        if !is_acknowledged(open.end) {
            return;
        }
        if may_be_tickets {
            open.maybe_ns.get_or_insert(said.ts_ns);
            return;
        }
        self.tickets = Tickets::Over;
        self.turns.add(Turn {
            asked_ns: open.last_ns,
            answered_ns: said.ts_ns,
        });
        self.open = None;
    }
}

impl Question {
    /// The turn, if what may have been a ticket was the answer.
    fn maybe(self) -> Option<Turn> {
        Some(Turn {
            asked_ns: self.last_ns,
            answered_ns: self.maybe_ns?,
        })
    }
}

impl Tickets {
    /// Whether a packet of the server may have nothing but tickets.
    fn are_in(&mut self, said: Said<'_>) -> bool {
        let Some(&[a, b, c, high, low]) = said.captured.first_chunk() else {
            return false;
        };
        let record = u16::from_be_bytes([high, low]);
        let are_whole = said.bytes.is_multiple_of(HEADER_BYTES + u32::from(record));
        let are_alike = match *self {
            Self::Over => false,
            Self::Due => true,
            Self::Record(before) => before == record,
        };
        let are_in = [a, b, c] == DATA && are_whole && are_alike;
        if are_in {
            *self = Self::Record(record);
        }
        are_in
    }
}

/// Whether a packet of a client of TLS 1.3 has nothing but its Finished, maybe behind the
/// ChangeCipherSpec of RFC 8446 appendix D.4.
fn is_finished(said: Said<'_>) -> bool {
    const CHANGE: [u8; 6] = [20, 3, 3, 0, 1, 1];
    let (finished, before) = match said.captured.strip_prefix(&CHANGE) {
        Some(rest) => (rest, CHANGE.len() as u32),
        None => (said.captured, 0),
    };
    let [a, b, c, high, low] = finished.first_chunk().copied().unwrap_or_default();
    let record = u16::from_be_bytes([high, low]);
    [a, b, c] == DATA
        && is_hidden_finished(record)
        && said.bytes == before + HEADER_BYTES + u32::from(record)
}

/// Whether a packet of TLS has an alert, as that which closes a session.
fn is_alert(said: Said<'_>) -> bool {
    said.captured.starts_with(&ALERT)
        || said.captured.starts_with(&HIDDEN_ALERT)
            && said.bytes == HEADER_BYTES + u32::from(HIDDEN_ALERT[4])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who says something (`c`, `s`), when, and the lengths of its records of TLS.
    fn turns(hidden: Hidden, talk: &[(char, i64, &[u16])]) -> TurnTaking {
        let mut turns = TurnTaking::default();
        let mut positions = [1, 1];
        for &(who, ts_ns, records) in talk {
            let header = |length: &u16| [&DATA[..], &length.to_be_bytes()].concat();
            let captured = records.first().map(header).unwrap_or_default();
            let bytes = records
                .iter()
                .map(|length| u32::from(*length) + HEADER_BYTES);
            let bytes = bytes.sum::<u32>();
            let position = &mut positions[usize::from(who == 'c')];
            let said = Said {
                by_client: who == 'c',
                ts_ns,
                position: *position,
                bytes,
                captured: &captured,
            };
            *position += i64::from(bytes);
            turns.packet(said, hidden, |_| true);
        }
        turns
    }

    fn waits(hidden: Hidden, talk: &[(char, i64, &[u16])]) -> Vec<i64> {
        let turns = turns(hidden, talk).so_far().unwrap_or_default();
        turns.waits.iter().map(|(ns, _)| ns).collect()
    }

    #[test]
    fn the_last_of_a_question_waits_for_the_first_of_its_answer() {
        let talk: [(char, i64, &[u16]); 8] = [
            ('s', 0, &[9]),
            ('c', 10, &[9]),
            ('c', 20, &[9]),
            ('s', 50, &[9]),
            ('s', 90, &[9]), // unasked, or more of it
            ('c', 100, &[9]),
            ('s', 101, &[9]),
            ('c', 500, &[9]),
        ];
        assert_eq!(waits(Hidden::Unknown, &talk), [1, 30]);
        assert_eq!(waits(Hidden::Tls, &talk), [1, 30]);
    }

    #[test]
    fn tickets_are_no_answer_if_something_else_is() {
        // The Finished with a request, two tickets in a packet or in two, the answer.
        let answer: (char, i64, &[u16]) = ('s', 300, &[100, 19]);
        assert_eq!(
            waits(
                Hidden::Tls13,
                &[('c', 0, &[53, 90]), ('s', 2, &[250, 250]), answer]
            ),
            [300]
        );
        let mut talk: Vec<(char, i64, &[u16])> = vec![
            ('c', 0, &[53]),
            ('s', 9, &[250]),
            ('c', 10, &[90]),
            ('s', 12, &[250]),
            answer,
        ];
        assert_eq!(waits(Hidden::Tls13, &talk), [290]);
        assert_eq!(waits(Hidden::Tls, &talk), [2, 9]);
        // Those that came before all questions are known, too.
        let early: [(char, i64, &[u16]); 5] = [
            ('c', 0, &[53]),
            ('s', 1, &[250, 250]),
            ('c', 10, &[90]),
            ('s', 30, &[80]),
            ('s', 500, &[100]), // unasked
        ];
        assert_eq!(waits(Hidden::Tls13, &early), [20]);
        // Later they do not come any more.
        talk.extend([
            ('c', 400, &[90][..]),
            ('s', 404, &[80]),
            ('s', 500, &[80, 19]),
        ]);
        assert_eq!(waits(Hidden::Tls13, &talk), [4, 290]);
        // There were none: the client goes on, or the session ends.
        let talk: [(char, i64, &[u16]); 4] = [
            ('c', 0, &[53, 90]),
            ('s', 7, &[80]),
            ('c', 10, &[90]),
            ('s', 15, &[80]),
        ];
        assert_eq!(waits(Hidden::Tls13, &talk), [5, 7]);
        assert_eq!(waits(Hidden::Tls13, &talk[..2]), [7]);
    }

    #[test]
    fn alerts_are_neither_questions_nor_answers() {
        let talk: [(char, i64, &[u16]); 3] =
            [('c', 0, &[53, 90]), ('s', 9, &[80]), ('s', 65_000, &[19])];
        assert_eq!(waits(Hidden::Tls13, &talk), [9]);
        assert_eq!(waits(Hidden::Tls, &[talk[0], talk[2]]), [0; 0]);
        assert_eq!(waits(Hidden::Unknown, &[talk[0], talk[2]]), [65_000]);
    }

    #[test]
    fn a_client_closes_its_session_with_its_last_word() {
        let is_closed = |hidden, talk: &[(bool, u16)]| {
            let mut turns = TurnTaking::default();
            let mut position = 1;
            for &(by_client, record) in talk {
                let captured = [&DATA[..], &record.to_be_bytes()].concat();
                let said = Said {
                    by_client,
                    ts_ns: position,
                    position,
                    bytes: HEADER_BYTES + u32::from(record),
                    captured: &captured,
                };
                position += i64::from(said.bytes);
                turns.packet(said, hidden, |_| true);
            }
            turns.farewell().is_by_client
        };
        let talk = [(true, 90), (false, 80), (true, 19), (false, 19), (true, 90)];
        assert!(!is_closed(Hidden::Tls13, &talk[..2]));
        assert!(is_closed(Hidden::Tls13, &talk[..3]) && is_closed(Hidden::Tls13, &talk[..4]));
        assert!(!is_closed(Hidden::Tls13, &talk));
        assert!(!is_closed(Hidden::Unknown, &talk[..3]));
        // As who only looks whether a server is there: it asks nothing.
        assert!(is_closed(
            Hidden::Tls13,
            &[(true, 53), (false, 250), (true, 19)]
        ));
    }

    #[test]
    fn a_server_refuses_with_an_alert_and_nothing_else() {
        let is_refused = |hidden, talk: &[(char, i64, &[u16])]| {
            let turns = turns(hidden, talk);
            turns.farewell().is_refusal
        };
        // A certificate and the Finished, an alert.
        let refused: [(char, i64, &[u16]); 2] = [('c', 0, &[900, 53]), ('s', 9, &[19])];
        assert!(is_refused(Hidden::Tls13, &refused));
        assert!(!is_refused(Hidden::Tls, &refused));
        // The Finished alone is nothing to refuse; who is not used closes later.
        assert!(!is_refused(Hidden::Tls13, &[('c', 0, &[53]), refused[1]]));
        let late = ('s', 1_000_000_000, &[19][..]);
        assert!(!is_refused(Hidden::Tls13, &[refused[0], late]));
        // There were tickets, or an answer, or the client closed first; or it goes on.
        let before = |said| is_refused(Hidden::Tls13, &[refused[0], said, refused[1]]);
        assert!(!before(('s', 5, &[250, 250])) && !before(('s', 5, &[80, 19])));
        assert!(!before(('c', 5, &[19])) && before(('c', 5, &[90])));
        let after = [refused[0], refused[1], ('s', 10, &[80])];
        assert!(!is_refused(Hidden::Tls13, &after));
    }

    #[test]
    fn an_answer_acknowledges_the_question_and_is_new() {
        let mut turns = TurnTaking::default();
        let said = |by_client, ts_ns, position| Said {
            by_client,
            ts_ns,
            position,
            bytes: 10,
            captured: &[],
        };
        let mut takes = |said, acknowledged_to: i64| {
            turns.packet(said, Hidden::Unknown, |end| end <= acknowledged_to);
            turns.so_far().map(|turns| turns.longest)
        };
        assert_eq!(takes(said(false, 0, 1), 1), None);
        assert_eq!(takes(said(true, 10, 1), 1), None);
        assert_eq!(takes(said(true, 15, 1), 1), None); // again
        assert_eq!(takes(said(false, 20, 11), 1), None); // on its way before
        assert_eq!(takes(said(false, 30, 1), 11), None); // again
        let turn = Turn {
            asked_ns: 10,
            answered_ns: 40,
        };
        assert_eq!(takes(said(false, 40, 21), 11), Some(turn));
    }
}
