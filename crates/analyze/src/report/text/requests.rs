//! The requests.

use std::io::{self, Write};

use anstyle::Style;
use tcprec_shared::flow::Endpoint;

use super::table::{Cell, Kind, Table};
use super::{BAD, Text, WARN, missing, tally};
use crate::report::{Outcome, OwnerId, Request, units};
use crate::timing::Timing;

impl Text<'_> {
    pub(super) fn requests(&self, to: &mut dyn Write) -> io::Result<()> {
        let totals = &self.report.totals;
        let all = totals.requests.values().sum();
        if all == 0 {
            return Ok(());
        }
        let by_outcome = totals.requests.iter().map(|(outcome, count)| {
            let outcome = match outcome {
                Outcome::Status(_) | Outcome::GrpcFailed(..) => {
                    format!("with {}", outcome.status().unwrap_or_default())
                }
                Outcome::Reset => "reset".into(),
                Outcome::Answered => "with a status that is not known".into(),
                Outcome::Unanswered => "unanswered".into(),
                Outcome::Unknown => "with an answer that may be lost".into(),
            };
            (outcome, *count)
        });
        self.heading(to, "HTTP requests", &tally(all, by_outcome.collect()))?;
        if let Some(waits) = totals.waits {
            let line = format!(
                "waited for the first byte: median {}, 99% within {}, longest {}",
                units::duration(waits.p50_ns),
                units::duration(waits.p99_ns),
                units::duration(waits.max_ns)
            );
            self.note(to, Some(&line))?;
        }
        let mut table = Table::new([
            ("START", Kind::Text),
            ("STATUS", Kind::Flexible),
            ("WAIT", Kind::Figure),
            ("TOTAL", Kind::Spare),
            ("CLIENT", Kind::Flexible),
            ("SERVER", Kind::Flexible),
            ("REQUEST", Kind::Flexible),
            ("MISSING", Kind::Text),
        ]);
        let (first, note) = self.first(&self.report.requests, all);
        for request in first {
            self.request(&mut table, request);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    fn request(&self, table: &mut Table, request: &Request) {
        let app = &request.app;
        let incomplete = request.incomplete;
        let is_whole = !incomplete.lacks_packets();
        let [client, server] = request.owners();
        let timed_ns = request.timing.as_ref().map(Timing::total_ns);
        let total_ns = timed_ns.or_else(|| app.total_ns().filter(|_| is_whole));
        let total = match total_ns {
            Some(ns) => units::duration(ns).into(),
            None if app.is_response_whole() == Some(false) => Cell::styled("cut off", WARN),
            None => Cell::from(String::new()),
        };
        let duration = |ns: Option<i64>| Cell::from(ns.map_or(String::new(), units::duration));
        table.row([
            app.first_ns()
                .map_or(String::new(), |ns| self.moment(ns))
                .into(),
            status(request),
            duration(app.ttfb_ns().filter(|_| is_whole)),
            total,
            self.who_cell(client, app.client),
            self.who_cell(server, app.server),
            self.asked(request).into(),
            missing(incomplete),
        ]);
    }

    /// Who an end is: its process, else its address.
    pub(super) fn who(&self, owner: Option<OwnerId>, endpoint: Endpoint) -> String {
        self.who_parts(owner, endpoint).concat()
    }

    fn who_cell(&self, owner: Option<OwnerId>, endpoint: Endpoint) -> Cell {
        let [name, number] = self.who_parts(owner, endpoint);
        Cell::keeping([&name, &number, ""], Style::new())
    }

    /// Who an end is, and the number that tells it from others of that name.
    fn who_parts(&self, owner: Option<OwnerId>, endpoint: Endpoint) -> [String; 2] {
        if let Some(owner) = owner {
            return self.name_parts(owner.process);
        }
        let (text, port) = (endpoint.to_string(), format!(":{}", endpoint.port));
        let addr = text.strip_suffix(&port).unwrap_or(&text);
        [addr.to_owned(), port]
    }

    /// What was asked for, as `GET example.org/index.html`.
    pub(super) fn asked(&self, request: &Request) -> String {
        let Some(message) = &request.app.request else {
            return "(not seen)".into();
        };
        let method = message.method.as_deref().unwrap_or("?");
        let target = message.target.as_deref().unwrap_or("?");
        // An absolute target has the host in it; `*` and CONNECT's have none.
        let host = message.host.as_deref().unwrap_or("");
        let host = if target.starts_with('/') { host } else { "" };
        // A request line may lack the target.
        let line = format!("{method} {host}{target}");
        line.trim_end().to_owned()
    }
}

/// What came of a request: the status of HTTP, that of gRPC where it is a failure, and
/// why it was broken off.
fn status(request: &Request) -> Cell {
    let outcome = request.outcome();
    let status = outcome.status().unwrap_or_default();
    let (status, style) = match outcome {
        Outcome::Unknown | Outcome::Answered => ("?".into(), WARN),
        Outcome::Unanswered => ("none".into(), BAD),
        Outcome::Status(..400) => (status, Style::new()),
        Outcome::Status(400..500) => (status, WARN),
        Outcome::Status(_) | Outcome::GrpcFailed(..) | Outcome::Reset => (status, BAD),
    };
    match request.broken_off() {
        None => Cell::styled(&status, style),
        Some(reset) => {
            let line = format!("{status} reset: {}", reset.word());
            Cell::styled(line.trim_start(), BAD)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use crate::app::{self, Completion, ResponseMessage, Stream, StreamReset};
    use crate::report::row::sample;
    use crate::report::{Report, Request};

    /// What is told of a request's status, and of all of them.
    fn told(
        status: Option<u16>,
        completion: Completion,
        grpc_status: Option<u32>,
        reset: Option<u32>,
    ) -> (String, String) {
        let connection = sample::connection();
        let request = Request {
            app: app::Request {
                connection: connection.tcp.id,
                index: 0,
                client: connection.tcp.orig.endpoint,
                server: connection.tcp.resp.endpoint,
                request: None,
                response: status.map(|status| ResponseMessage {
                    status: Some(status),
                    arrived: Default::default(),
                    body_bytes: Some(0),
                    completion,
                    is_endless: false,
                }),
                may_be_answered: false,
                stream: Some(Stream {
                    id: 1,
                    is_pushed: false,
                    grpc_status,
                    reset: reset.map(|code| StreamReset {
                        by_client: true,
                        code,
                        at_ns: None,
                    }),
                    lacks_frames: false,
                }),
            },
            ends: connection.ends(),
            incomplete: Default::default(),
            timing: None,
        };
        let mut report = Report::default();
        report.totals.requests.insert(request.outcome(), 1);
        report.requests.push(request);
        let text = written(&report, None);
        let of_requests = text.lines().skip_while(|line| !line.starts_with("HTTP"));
        let [all, titles, row] = of_requests.take(3).collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        let (from, to) = (
            titles.find("STATUS").unwrap(),
            titles.find("CLIENT").unwrap(),
        );
        let status = row.get(from..to).unwrap().split("  ").next().unwrap();
        (status.to_owned(), all.to_owned())
    }

    #[test]
    fn a_call_that_failed_is_no_200() {
        let told = |grpc_status| told(Some(200), Completion::Seen, Some(grpc_status), None);
        assert_eq!(
            told(0),
            ("200".into(), "HTTP requests: 1 (with 200)".into())
        );
        assert_eq!(
            told(14),
            (
                "200 grpc 14".into(),
                "HTTP requests: 1 (with 200 grpc 14)".into()
            )
        );
    }

    #[test]
    fn a_stream_that_was_broken_off_says_why() {
        let (cancel, no_error) = (Some(8), Some(0));
        assert_eq!(
            told(None, Completion::Missing, None, cancel),
            ("reset: cancel".into(), "HTTP requests: 1 (reset)".into())
        );
        let (status, _) = told(Some(200), Completion::Missing, None, cancel);
        assert_eq!(status, "200 reset: cancel");
        let (status, _) = told(Some(200), Completion::Seen, None, no_error);
        assert_eq!(status, "200");
    }
}
