//! The slowest requests, and where their time went.

use std::io::{self, Write};

use super::table::{Cell, Kind, Table};
use super::{BAD, BOLD, Text};
use crate::report::{Request, units};
use crate::tcp::StallCause;
use crate::timing::Timing;

impl Text<'_> {
    /// Two lines for each: the figures with the request, and the reason.
    pub(super) fn slow(&self, to: &mut dyn Write) -> io::Result<()> {
        if !self.looks.slow {
            return Ok(());
        }
        let all = &self.report.slowest;
        let whole = units::count(self.report.totals.timed_requests);
        let title = format!("{} of {whole} whole", units::count(all.len() as u64));
        self.heading(to, "Slowest requests", &title)?;
        let mut table = Table::new([
            ("START", Kind::Text),
            ("TOTAL", Kind::Figure),
            ("CONNECT", Kind::Figure),
            ("SEND", Kind::Figure),
            ("NETWORK", Kind::Figure),
            ("SERVER", Kind::Figure),
            ("RECEIVE", Kind::Figure),
            ("STALLED", Kind::Figure),
            ("REQUEST", Kind::Flexible),
        ]);
        for request in all {
            if let Some(timing) = &request.timing {
                self.slow_request(&mut table, request, timing);
            }
        }
        self.table(to, &table)
    }

    fn slow_request(&self, table: &mut Table, request: &Request, timing: &Timing) {
        let arrived = request.app.request.as_ref();
        let start_ns = arrived.map(|message| message.arrived.first_ns);
        let cause = Cause::of(timing, start_ns);
        let figure = |ns: Option<i64>, part: Part| {
            let text = ns
                .filter(|ns| *ns > 0)
                .map_or(String::new(), units::duration);
            if cause.part == part {
                Cell::styled(&text, BAD)
            } else {
                text.into()
            }
        };
        // What is not known to be either stands with the server, who is asked.
        let server_ns = timing.server_ns().unwrap_or(timing.wait_ns);
        table.row([
            start_ns.map_or(String::new(), |ns| self.moment(ns)).into(),
            Cell::styled(&units::duration(timing.total_ns()), BOLD),
            figure(timing.connect_ns, Part::Connect),
            figure(Some(timing.send_ns), Part::Send),
            figure(timing.network_ns, Part::Network),
            figure(Some(server_ns), Part::Server),
            figure(Some(timing.receive_ns), Part::Receive),
            figure(Some(timing.stalled_ns), Part::Stalled),
            self.asked(request).into(),
        ]);
        let [client, server] = request.owners();
        let client = self.who(client, request.app.client);
        let server = self.who(server, request.app.server);
        table.remark(format!("{client} -> {server}: {}", cause.reason));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Connect,
    Send,
    Network,
    Server,
    Receive,
    Stalled,
}

/// The largest part of a request's time, in words.
struct Cause {
    part: Part,
    reason: String,
}

impl Cause {
    /// Of a request that began at `start_ns`.
    fn of(timing: &Timing, start_ns: Option<i64>) -> Self {
        let (part, ns) = [
            (Part::Stalled, timing.stalled_ns),
            (Part::Server, timing.server_ns().unwrap_or(timing.wait_ns)),
            (Part::Network, timing.network_ns.unwrap_or(0)),
            (Part::Connect, timing.connect_ns.unwrap_or(0)),
            (Part::Receive, timing.receive_ns),
            (Part::Send, timing.send_ns),
        ]
        .into_iter()
        // Of equals the first.
        .rev()
        .max_by_key(|(_, ns)| *ns)
        .unwrap_or((Part::Server, 0));
        let time = units::duration(ns);
        let reason = match part {
            Part::Stalled => stalled(timing, start_ns),
            Part::Server if timing.network_ns.is_none() => {
                format!("the server, or the network, took {time}")
            }
            Part::Server => format!("the server took {time} to process it"),
            Part::Network => format!("the network round trip took {time}"),
            Part::Connect => format!("connecting took {time}"),
            Part::Receive => format!("the response took {time} from its first byte to its last"),
            Part::Send => format!("the request took {time} from its first byte to its last"),
        };
        Self { part, reason }
    }
}

/// The longest stall, in words, and how many there were besides.
fn stalled(timing: &Timing, start_ns: Option<i64>) -> String {
    let longest = timing
        .stalls
        .iter()
        .max_by_key(|stall| stall.to_ns.saturating_sub(stall.from_ns));
    let Some(stall) = longest else {
        return String::new();
    };
    let time = units::duration(stall.to_ns.saturating_sub(stall.from_ns));
    let byte = units::count(stall.at_byte);
    let reader = if stall.by_orig { "server" } else { "client" };
    let what = match stall.cause {
        // What is before the request is the handshake.
        StallCause::Timeout if Some(stall.from_ns) < start_ns && stall.by_orig => {
            format!("the SYN was not answered for {time}")
        }
        StallCause::Timeout if Some(stall.from_ns) < start_ns => {
            format!("the SYN-ACK was retransmitted for {time}")
        }
        StallCause::Timeout => {
            format!("lost segment: retransmission timeout of {time} at byte {byte}")
        }
        StallCause::ZeroWindow => {
            format!("{reader} read slowly: zero window for {time} at byte {byte}")
        }
    };
    match timing.stalls.len() - 1 {
        0 => what,
        more => format!("{what}, and {}", units::counted(more as u64, "stall")),
    }
}
