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
                Outcome::Status(status) => format!("with {status}"),
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
            ("STATUS", Kind::Text),
            ("WAIT", Kind::Figure),
            ("TOTAL", Kind::Spare),
            ("CLIENT", Kind::Text),
            ("SERVER", Kind::Text),
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
        let status = match request.outcome() {
            Outcome::Unknown | Outcome::Answered => Cell::styled("?", WARN),
            Outcome::Unanswered => Cell::styled("none", BAD),
            Outcome::Status(status) => {
                let style = match status {
                    ..400 => Style::new(),
                    400..500 => WARN,
                    _ => BAD,
                };
                Cell::styled(&status.to_string(), style)
            }
        };
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
            status,
            duration(app.ttfb_ns().filter(|_| is_whole)),
            total,
            self.who(client, app.client).into(),
            self.who(server, app.server).into(),
            self.asked(request).into(),
            missing(incomplete),
        ]);
    }

    /// Who an end is: its process, else its address.
    pub(super) fn who(&self, owner: Option<OwnerId>, endpoint: Endpoint) -> String {
        owner.map_or_else(|| endpoint.to_string(), |owner| self.name(owner.process))
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
