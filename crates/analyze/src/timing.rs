//! Where the time of a request went.
//!
//! All is told from one place, where the packets were captured: the request
//! begins when its first byte passes there, and ends with the last byte of the
//! response. What lies beyond that place, on the client's side, is the
//! client's alone.

use crate::app::{Completion, Request};
use crate::resolved::Connection;
use crate::tcp::{Stall, StallCause};

/// The time of a request, in parts that add up to the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// From the first SYN to the ACK that ends the handshake; none if it is not
    /// the first request of its connection, or that was not captured.
    pub connect_ns: Option<i64>,
    /// From the first byte of the request to the last.
    pub send_ns: i64,
    /// From the last byte of the request to the first of the response.
    pub wait_ns: i64,
    /// The part of `wait_ns` that packets were on their way from the place of
    /// capture to the server and back; none if that is not known. The rest is
    /// the server's.
    pub network_ns: Option<i64>,
    /// From the first byte of the response to the last, or to where the last
    /// that was lost is sent again.
    pub receive_ns: i64,
    /// What was taken out of all of these: the end whose turn it was could not
    /// send.
    pub stalled_ns: i64,
    /// The stalls that this comes from, as far as they are within the request.
    pub stalls: Vec<Stall>,
}

impl Timing {
    /// The times of a request on its connection; none if a part of it did not come,
    /// or was not seen, or what was seen is in no sensible order.
    #[must_use]
    pub fn of(request: &Request, connection: &Connection) -> Option<Self> {
        let (asked, answered) = (request.request.as_ref()?, request.response.as_ref()?);
        if asked.completion == Completion::Unseen || request.total_ns().is_none() {
            return None;
        }
        let first_ns = asked.arrived.first_ns;
        let client_is_orig = request.client == connection.tcp.orig.endpoint;
        let by_client = |stall: &Stall| stall.by_orig == client_is_orig;
        let is_timeout = |stall: &Stall| stall.cause == StallCause::Timeout;
        // What is lost behind the place of capture has been seen, and is seen
        // once more: only then the response is on its way. Its timer may begin after
        // it, with a probe for the loss of its tail (RFC 8985 section 7).
        let repairs = connection.tcp.stalls.iter();
        let repairs = repairs.filter(|stall| !by_client(stall) && is_timeout(stall));
        let of_it = repairs.filter(|stall| answered.arrived.spans(stall.sent_ns));
        let last_ns = of_it.map(|stall| stall.to_ns).max();
        let last_ns = answered.arrived.last_ns.max(last_ns.unwrap_or(i64::MIN));
        // The server need not wait for the end of the request.
        let sent_ns = asked.arrived.last_ns.min(answered.arrived.first_ns);
        let is_ordered = first_ns <= sent_ns && answered.arrived.first_ns <= last_ns;
        last_ns.checked_sub(first_ns).filter(|_| is_ordered)?;

        let tcp = &connection.tcp;
        let connect = Phase {
            from_ns: tcp.syn_ns.unwrap_or(first_ns),
            to_ns: tcp.established_ns.unwrap_or(first_ns),
        };
        let is_first = request.index == 0
            && tcp.syn_ns.zip(tcp.established_ns).is_some()
            && connect.from_ns <= connect.to_ns
            && connect.to_ns <= first_ns
            && last_ns.checked_sub(connect.from_ns).is_some();
        let phase = |from_ns, to_ns| Phase { from_ns, to_ns };
        let send = phase(first_ns, sent_ns);
        let wait = phase(sent_ns, answered.arrived.first_ns);
        let receive = phase(answered.arrived.first_ns, last_ns);

        let mut stalls = Stalls {
            all: &tcp.stalls,
            met: Vec::new(),
            sum_ns: 0,
        };
        let connect_ns = is_first.then(|| stalls.take_from(connect, is_timeout));
        let send_ns = stalls.take_from(send, by_client);
        // The request may have been lost on the way, or the response.
        let wait_ns = stalls.take_from(wait, |stall| !by_client(stall) || is_timeout(stall));
        let receive_ns = stalls.take_from(receive, |stall| !by_client(stall));
        Some(Self {
            connect_ns,
            send_ns,
            wait_ns,
            network_ns: way_to_server_ns(connection, client_is_orig).map(|ns| ns.min(wait_ns)),
            receive_ns,
            stalled_ns: stalls.sum_ns,
            stalls: stalls.met,
        })
    }

    /// The part of the wait that was the server's; none if the network's is
    /// not known.
    #[must_use]
    pub fn server_ns(&self) -> Option<i64> {
        Some(self.wait_ns - self.network_ns?)
    }

    /// The whole.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        let connect_ns = self.connect_ns.unwrap_or(0);
        connect_ns + self.send_ns + self.wait_ns + self.receive_ns + self.stalled_ns
    }
}

/// How long packets take from where they were captured to the server and back.
///
/// The handshake tells: at the client it is the whole round trip, at the
/// server next to nothing, in between what lies on the server's side. Without
/// it the kernel tells, if it is known which end's host it is.
fn way_to_server_ns(connection: &Connection, client_is_orig: bool) -> Option<i64> {
    let tcp = &connection.tcp;
    let (handshake_ns, client, server) = if client_is_orig {
        (tcp.syn_synack_ns, &connection.orig, &connection.resp)
    } else {
        (tcp.synack_ack_ns, &connection.resp, &connection.orig)
    };
    let from_kernel = || match (client.kernel, server.kernel) {
        (Some(kernel), _) => kernel.tcp?.round_trip_ns(),
        (None, Some(_)) => Some(0),
        (None, None) => None,
    };
    handshake_ns.filter(|ns| *ns >= 0).or_else(from_kernel)
}

#[derive(Debug, Clone, Copy)]
struct Phase {
    from_ns: i64,
    to_ns: i64,
}

/// The stalls of a connection, and those that a request met.
struct Stalls<'a> {
    all: &'a [Stall],
    met: Vec<Stall>,
    sum_ns: i64,
}

impl Stalls<'_> {
    /// Takes from a phase the time of the stalls that count there. Gives what
    /// is left of it.
    fn take_from(&mut self, phase: Phase, counts: impl Fn(&Stall) -> bool) -> i64 {
        if self.all.is_empty() {
            return phase.to_ns - phase.from_ns;
        }
        let all = self.all.iter().filter(|stall| counts(stall));
        let within = all.map(|stall| Stall {
            from_ns: stall.from_ns.max(phase.from_ns),
            to_ns: stall.to_ns.min(phase.to_ns),
            ..*stall
        });
        let mut within: Vec<_> = within.filter(|stall| stall.from_ns < stall.to_ns).collect();
        within.sort_by_key(|stall| stall.from_ns);
        let mut until_ns = phase.from_ns;
        let mut stalled_ns = 0;
        for stall in &within {
            stalled_ns += (stall.to_ns - stall.from_ns.max(until_ns)).max(0);
            until_ns = until_ns.max(stall.to_ns);
        }
        self.sum_ns += stalled_ns;
        self.met.extend(within);
        phase.to_ns - phase.from_ns - stalled_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Arrived;
    use crate::report::row::sample;

    /// As of a server that refuses a body before all of it came.
    #[test]
    fn an_answer_may_come_before_the_end_of_its_request() {
        let mut connection = sample::connection();
        connection.tcp.stalls.clear();
        let mut request = sample::request(&connection).app;
        request.index = 1;
        let arrived = |first_ns, last_ns| Arrived {
            first_ns,
            last_ns,
            ..Arrived::default()
        };
        request.request.as_mut().unwrap().arrived = arrived(10, 50);
        request.response.as_mut().unwrap().arrived = arrived(30, 60);
        let timing = Timing::of(&request, &connection).unwrap();
        let parts = [timing.send_ns, timing.wait_ns, timing.receive_ns];
        assert_eq!(parts, [20, 0, 30]);
        assert_eq!(timing.total_ns(), 50);
    }
}
