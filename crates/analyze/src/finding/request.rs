//! What is worth attention in requests.

use super::{Finding, FindingKind, Findings, LONG_NS, is_one_sided};
use crate::app;
use crate::latency::route;
use crate::owner::Owners;
use crate::report::{Connection, Request};
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
        let id = connection.tcp.id;
        let is_alone = request.app.stream.is_none();
        let before = self.answered.filter(|(on, _)| is_alone && *on == id);
        if let Some(answered) = &request.app.response {
            self.answered = Some((id, answered.arrived.last_ns));
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
        let client_is_orig = request.client_is_orig();
        let of = |kind, by_orig, first_ns: i64, ns| Finding {
            kind,
            count: 1,
            of_several: false,
            ends: request.ends,
            by_orig,
            first_ns,
            last_ns: first_ns.saturating_add(ns),
            at_byte: None,
            packets: None,
            alert: None,
            route: asked
                .route()
                .map(|(method, target)| format!("{method} {}", route(target))),
        };
        let tcp = &connection.tcp;
        let is_cancelled = (request.app.stream).is_some_and(|stream| stream.reset.is_some());
        let is_seen = !request.incomplete.lacks_packets() && !is_one_sided(connection);
        let lack = match request.app.response {
            _ if is_cancelled => None,
            Some(_) => {
                (request.app.is_response_whole() == Some(false)).then_some(FindingKind::CutOff)
            }
            None if request.app.may_be_answered || !is_seen => None,
            None => Some(FindingKind::NoAnswer),
        };
        if let Some(kind) = lack {
            match (tcp.is_left_by_orig(), tcp.left_ns) {
                // A reset is told of.
                (Some(by_orig), Some(left_ns)) if !tcp.is_left_by_reset() => {
                    let ns = left_ns.saturating_sub(asked.arrived.first_ns).max(0);
                    self.add(of(kind, Some(by_orig), asked.arrived.first_ns, ns), owners);
                }
                (None, _) if kind == FindingKind::NoAnswer && tcp.state == ConnState::S1 => {
                    let ns = now_ns.saturating_sub(asked.arrived.last_ns);
                    if ns >= LONG_SENDING_NS {
                        self.add(of(kind, None, asked.arrived.last_ns, ns), owners);
                    }
                }
                _ => {}
            }
        }
        let Some(timing) = &request.timing else {
            return;
        };
        // What the network may have taken is not held against the server, nor the
        // answers that were to come before this one.
        let free_ns = before.map_or(asked.arrived.last_ns, |(_, ns)| {
            ns.max(asked.arrived.last_ns)
        });
        let others_ns = free_ns.saturating_sub(asked.arrived.last_ns);
        let own_ns = timing.server_ns().map(|ns| ns.saturating_sub(others_ns));
        if let Some(server_ns) = own_ns.filter(|ns| *ns >= LONG_NS) {
            let kind = FindingKind::SlowServer;
            self.add(of(kind, Some(!client_is_orig), free_ns, server_ns), owners);
        }
        if timing.send_ns >= LONG_SENDING_NS {
            let kind = FindingKind::SlowClient;
            self.add(
                of(
                    kind,
                    Some(client_is_orig),
                    asked.arrived.first_ns,
                    timing.send_ns,
                ),
                owners,
            );
        }
    }
}
