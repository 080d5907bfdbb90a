//! What is worth attention in requests.

use super::connection::is_one_sided;
use super::{Finding, FindingKind, Findings, LONG_NS};
use crate::app::{self, Arrived, StreamReset};
use crate::latency::route;
use crate::owner::Owners;
use crate::resolved::{Connection, Request};
use crate::span::Span;
use crate::tcp::ConnState;
use crate::timing::Timing;

/// A request that takes the client so long to send is worth a word, and one that has
/// waited for so long for its answer when the capture ends.
const LONG_SENDING_NS: i64 = 1_000_000_000;

impl Findings {
    /// Whether a request took so long that there may be something to it.
    pub(crate) fn may_have(request: &app::Request) -> bool {
        request.total_ns().is_some_and(|ns| ns >= LONG_NS)
    }

    /// Looks at a finished request on a connection, of a capture whose latest packet is
    /// of `now_ns`. Those of a connection come in order.
    pub(crate) fn request(
        &mut self,
        request: &Request,
        connection: &Connection,
        owners: &Owners,
        now_ns: i64,
    ) {
        self.forgotten += self.errors.take(request);
        let id = connection.tcp.id;
        let is_alone = request.app.stream.is_none();
        let before = self.answered.filter(|(on, _)| is_alone && *on == id);
        if let Some(answered) = &request.app.response {
            self.answered = Some((id, answered.arrived.last_ns));
        }
        let answered = request.app.response.as_ref();
        let is_endless = answered.is_some_and(|it| it.is_endless);
        if request.app.is_response_whole() != Some(true) && !is_endless {
            self.lacking = Some(id);
        }
        let is_short = |timing: &Timing| timing.total_ns() < LONG_NS;
        if request.timing.as_ref().is_some_and(is_short)
            && request.app.is_response_whole() == Some(true)
        {
            return; // most are so
        }
        let Some(asked) = &request.app.request else {
            return;
        };
        let arrived = asked.arrived;
        // The answers that were to come before this one are not held against the server.
        let free_ns = before.map_or(arrived.last_ns, |(_, ns)| ns.max(arrived.last_ns));
        let lack = lack(request, connection, arrived, now_ns).into_iter();
        let slow = slow_server(request, arrived, free_ns).into_iter();
        let answered = request.app.response.as_ref();
        let slow = slow
            .chain(answered.and_then(|it| slow_client(request, connection, arrived, it.arrived)));
        for mut finding in lack.chain(slow) {
            finding.route = asked
                .route()
                .map(|(method, target)| format!("{method} {}", route(target)));
            self.add(finding, owners);
        }
    }
}

/// A finding of a request that took so long from then on.
fn of(
    request: &Request,
    kind: FindingKind,
    by_orig: Option<bool>,
    first_ns: i64,
    ns: i64,
) -> Finding {
    let last_ns = first_ns.saturating_add(ns);
    Finding::new(kind, request.ends, by_orig, Span { first_ns, last_ns })
}

/// A request without an answer, or without all of it.
fn lack(
    request: &Request,
    connection: &Connection,
    arrived: Arrived,
    now_ns: i64,
) -> Option<Finding> {
    let app = &request.app;
    let is_seen = !request.incomplete.lacks_packets() && !is_one_sided(connection);
    let kind = match app.response {
        // However much of it came: its client had given up before.
        Some(_) if app.is_unheard(&connection.tcp) => FindingKind::NoAnswer,
        Some(_) if app.is_response_whole() == Some(false) => FindingKind::CutOff,
        None if !app.may_be_answered && is_seen => FindingKind::NoAnswer,
        _ => return None,
    };
    if let Some(reset) = app.stream.and_then(|stream| stream.reset) {
        return broken_off(request, arrived, reset);
    }
    let tcp = &connection.tcp;
    let is_endless = app.response.as_ref().is_some_and(|it| it.is_endless);
    let by_client = tcp.is_left_by_orig() == Some(request.client_is_orig());
    if kind == FindingKind::CutOff && is_endless && by_client {
        return None; // nothing else ends it
    }
    match (tcp.is_left_by_orig(), tcp.left_ns) {
        // A reset is told of.
        (Some(by_orig), Some(left_ns)) if !tcp.is_left_by_reset() => {
            let ns = left_ns.saturating_sub(arrived.first_ns).max(0);
            Some(of(request, kind, Some(by_orig), arrived.first_ns, ns))
        }
        (None, _) if kind == FindingKind::NoAnswer && tcp.state == ConnState::S1 => {
            let ns = now_ns.saturating_sub(arrived.last_ns);
            (ns >= LONG_SENDING_NS).then(|| of(request, kind, None, arrived.last_ns, ns))
        }
        _ => None,
    }
}

/// A stream that the server broke off, or the client before there was any answer, which it
/// had waited for long: it had a deadline. One that comes it may not want any more.
fn broken_off(request: &Request, arrived: Arrived, reset: StreamReset) -> Option<Finding> {
    let first_ns = arrived.first_ns;
    let at_ns = reset.at_ns.unwrap_or(first_ns);
    let ns = at_ns.saturating_sub(first_ns).max(0);
    let had_deadline = request.app.response.is_none() && ns >= LONG_NS;
    let by_orig = Some(request.client_is_orig() == reset.by_client);
    (!reset.by_client || had_deadline).then(|| Finding {
        error: Some(reset.word()),
        ..of(request, FindingKind::StreamReset, by_orig, first_ns, ns)
    })
}

/// A server that took long, from when it was free to; what the network may have taken
/// is not held against it.
fn slow_server(request: &Request, arrived: Arrived, free_ns: i64) -> Option<Finding> {
    let others_ns = free_ns.saturating_sub(arrived.last_ns);
    let own_ns = request
        .timing
        .as_ref()?
        .server_ns()?
        .saturating_sub(others_ns);
    let by_orig = Some(!request.client_is_orig());
    (own_ns >= LONG_NS).then(|| of(request, FindingKind::SlowServer, by_orig, free_ns, own_ns))
}

/// A client that took long to send its request, for it paused: what the network takes, or
/// a server that does not read, is not held against it, nor a round trip of each pause.
fn slow_client(
    request: &Request,
    connection: &Connection,
    asked: Arrived,
    answered: Arrived,
) -> Option<Finding> {
    let ns = request.timing.as_ref()?.send_ns;
    let sent_ns = asked.last_ns.min(answered.first_ns);
    let stalled_ns = sent_ns - asked.first_ns - ns;
    let tcp = &connection.tcp;
    let ways = [tcp.syn_synack_ns, tcp.synack_ack_ns].map(|ns| ns.unwrap_or(0));
    let round_trip_ns = ways[0].saturating_add(ways[1]);
    let others_ns = round_trip_ns.saturating_mul(asked.pauses.into());
    let paused_ns = asked.paused_ns.saturating_sub(others_ns.max(0));
    let paused_ns = paused_ns.saturating_sub(stalled_ns);
    let by_orig = Some(request.client_is_orig());
    (ns.min(paused_ns) >= LONG_SENDING_NS).then(|| {
        of(
            request,
            FindingKind::SlowClient,
            by_orig,
            asked.first_ns,
            ns,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Completion;
    use crate::gaps::Incomplete;
    use crate::report::row::sample;

    #[test]
    fn a_client_that_pauses_is_slow_and_not_the_network() {
        const MS: i64 = 1_000_000;
        let is_slow = |at_ms: &[i64], stalled_ms: i64, round_trip_ms: i64| {
            let mut connection = sample::connection();
            connection.tcp.syn_synack_ns = Some(round_trip_ms * MS);
            let mut request = sample::request(&connection);
            let packets = at_ms.iter().map(|ms| Some(ms * MS));
            let asked = packets.fold(Arrived::default(), Arrived::and);
            let answered = Arrived::default().and(Some(asked.last_ns));
            let timing = request.timing.as_mut().unwrap();
            timing.send_ns = asked.last_ns - asked.first_ns - stalled_ms * MS;
            slow_client(&request, &connection, asked, answered).is_some()
        };
        assert!(is_slow(&[0, 1000], 0, 0));
        assert!(is_slow(&[0, 500, 600, 1100], 0, 0));
        assert!(!is_slow(&[0, 500, 600, 1000], 0, 0));
        // It sends whenever it may: the network is slow, or the server reads slowly.
        let always: Vec<_> = (0..100).map(|number| number * 199).collect();
        assert!(!is_slow(&always, 0, 0));
        // A timeout, or a window that was closed.
        assert!(!is_slow(&[0, 100, 200, 2000], 1000, 0));
        // It waits for ACKs, on a long way.
        let rounds: Vec<_> = (0..10).map(|number| number * 300).collect();
        assert!(!is_slow(&rounds, 0, 300) && is_slow(&rounds, 0, 100));
    }

    #[test]
    fn a_server_breaks_streams_off_and_a_client_gives_them_up() {
        let found = |by_client, completion, at_ns| {
            let connection = sample::connection();
            let mut request = sample::request(&connection);
            request.incomplete = Incomplete::default();
            let reset = StreamReset {
                by_client,
                code: 2,
                at_ns: Some(at_ns),
            };
            if let Some(stream) = &mut request.app.stream {
                stream.lacks_frames = false;
                stream.reset = Some(reset);
            }
            let response = request.app.response.as_mut().zip(completion);
            if let Some((response, completion)) = response {
                response.completion = completion;
            } else {
                request.app.response = None;
            }
            let asked = Arrived::default().and(Some(3));
            let finding = lack(&request, &connection, asked, LONG_NS);
            finding.map(|it| (it.kind, it.by_orig, it.error, it.last_ns - it.first_ns))
        };
        let by = |by_client, ns| {
            let by_orig = Some(by_client);
            let error = Some("internal_error".to_owned());
            Some((FindingKind::StreamReset, by_orig, error, ns))
        };
        assert_eq!(found(false, Some(Completion::Missing), 7), by(false, 4));
        assert_eq!(found(false, None, 7), by(false, 4));
        // Behind the response it harms nobody.
        assert_eq!(found(false, Some(Completion::Seen), 7), None);
        // It has seen enough, or changed its mind; or waited for too long.
        assert_eq!(found(true, Some(Completion::Missing), LONG_NS + 3), None);
        assert_eq!(found(true, None, LONG_NS + 2), None);
        assert_eq!(found(true, None, LONG_NS + 3), by(true, LONG_NS));
    }
}
