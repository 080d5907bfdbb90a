//! The requests.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use tcprec_shared::flow::Endpoint;

use super::table::{Cell, Kind, Table};
use super::{BAD, Text, WARN, missing, tally};
use crate::app::Request;
use crate::latency::Quantiles;
use crate::report::{OwnerId, units};

impl Text<'_> {
    pub(super) fn requests(&self, to: &mut dyn Write) -> io::Result<()> {
        let all = &self.report.requests;
        if all.is_empty() {
            return Ok(());
        }
        let mut by_status = BTreeMap::new();
        for request in all {
            let status = request.response.as_ref().map(|message| message.status);
            let is_whole = || !self.report.incomplete(request).lacks_packets();
            let status = match status {
                Some(status) => format!("with {status}"),
                None if is_whole() => "unanswered".into(),
                None => "with an answer that may be lost".into(),
            };
            *by_status.entry(status).or_insert(0) += 1;
        }
        self.heading(to, "HTTP requests", &tally(all.len(), by_status))?;
        let whole = all
            .iter()
            .filter(|request| !self.report.incomplete(request).lacks_packets());
        let waits: Vec<_> = whole.filter_map(Request::ttfb_ns).collect();
        if waits.len() > 1 {
            let waits = Quantiles::of(waits);
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
            ("TOTAL", Kind::Figure),
            ("CLIENT", Kind::Text),
            ("SERVER", Kind::Text),
            ("REQUEST", Kind::Flexible),
            ("MISSING", Kind::Text),
        ]);
        let (first, note) = self.first(all);
        for request in first {
            self.request(&mut table, request);
        }
        self.table(to, &table)?;
        self.note(to, note.as_deref())
    }

    fn request(&self, table: &mut Table, request: &Request) {
        let (asked, answered) = (request.request.as_ref(), request.response.as_ref());
        let start = asked
            .map(|message| message.first_ns)
            .or(answered.map(|message| message.first_ns));
        let incomplete = self.report.incomplete(request);
        let is_whole = !incomplete.lacks_packets();
        let status = match answered.map(|message| message.status) {
            None if !is_whole => Cell::styled("?", WARN),
            None => Cell::styled("none", BAD),
            Some(status) => {
                let style = match status {
                    ..400 => Style::new(),
                    400..500 => WARN,
                    _ => BAD,
                };
                Cell::styled(&status.to_string(), style)
            }
        };
        let [client, server] = self.report.owners_of(request);
        let duration = |ns: Option<i64>| Cell::from(ns.map_or(String::new(), units::duration));
        table.row([
            start.map_or(String::new(), |ns| self.moment(ns)).into(),
            status,
            duration(request.ttfb_ns().filter(|_| is_whole)),
            duration(request.total_ns().filter(|_| is_whole)),
            self.who(client, request.client).into(),
            self.who(server, request.server).into(),
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
        let Some(message) = &request.request else {
            return "(not seen)".into();
        };
        // An absolute target has the host in it; `*` and CONNECT's have none.
        let host = message.host.as_deref().unwrap_or("");
        let host = if message.target.starts_with('/') {
            host
        } else {
            ""
        };
        // A request line may lack the target.
        let line = format!("{} {host}{}", message.method, message.target);
        line.trim_end().to_owned()
    }
}
