//! The objects of the JSON reports. `docs/report.md` documents each field.
//!
//! Connections and requests have the names of Zeek's `conn.log` and `http.log`
//! where these have the same thing. Times are seconds, as in those; a field
//! that cannot be known is left out or null.

mod capture;
mod connection;
mod fields;
mod finding;
mod http2;
mod request;
pub(crate) mod sample;
mod services;
mod times;
mod tls;
mod turns;

use tcprec_shared::record::ProcessId;

pub(super) use self::capture::{capture, loss, process};
pub(crate) use self::connection::Conn;
use self::fields::Fields;
pub(super) use self::fields::{Row, line};
pub(crate) use self::finding::FindingRow;
pub(crate) use self::request::Http;
pub(super) use self::services::service;
pub(super) use self::times::LatencyRow;
pub(super) use self::turns::turns;
use super::{Ends, OwnerId, Report};
use crate::gaps::Incomplete;
use crate::owner::Owners;

/// Nanoseconds as seconds, as exactly as a double can hold them: in our days
/// to a quarter of a microsecond.
fn seconds(ns: i64) -> f64 {
    const SECOND_NS: i64 = 1_000_000_000;
    // Not one division: 64 bits of nanoseconds are more than a double holds.
    (ns / SECOND_NS) as f64 + (ns % SECOND_NS) as f64 / 1e9
}

/// Writes the fields of one end that are known, each with the name of the end before
/// it.
macro_rules! known_end_fields {
    ($to:expr, $prefix:literal, $($name:literal: $value:expr,)*) => {
        $(if let Some(value) = $value {
            $to.field(concat!($prefix, $name), &value)?;
        })*
    };
}

macro_rules! owner_fields {
    ($to:expr, $prefix:literal, $names:expr, $owner:expr) => {{
        let (names, owner) = ($names, $owner);
        known_end_fields!($to, $prefix,
            "pid": owner.map(|owner| owner.process.pid),
            "pid_start_ns": owner.map(|owner| owner.process.start_ns),
            "comm": owner.and_then(|owner| names.comm(owner.process)),
            "owner": owner.map(|owner| owner.provenance),
        );
    }};
}

use known_end_fields;

/// Knows the names of processes.
pub(crate) trait Names {
    fn comm(&self, process: ProcessId) -> Option<&str>;
}

impl Names for Owners {
    fn comm(&self, process: ProcessId) -> Option<&str> {
        self.process(process).map(|process| process.comm.as_str())
    }
}

impl Names for Report {
    fn comm(&self, process: ProcessId) -> Option<&str> {
        let summary = self.processes.get(&process);
        summary.map(|summary| summary.process.comm.as_str())
    }
}

fn ids<F: Fields>(to: &mut F, ends: Ends) -> Result<(), F::Error> {
    let Ends { id, orig, resp, .. } = ends;
    if let Some(id) = id {
        to.field("conn_id", &id.0)?;
    }
    to.field("id.orig_h", &orig.addr)?;
    to.field("id.orig_p", &orig.port)?;
    to.field("id.resp_h", &resp.addr)?;
    to.field("id.resp_p", &resp.port)
}

/// Who owns the ends.
fn owners<F: Fields>(
    to: &mut F,
    names: &dyn Names,
    orig: Option<OwnerId>,
    resp: Option<OwnerId>,
) -> Result<(), F::Error> {
    owner_fields!(to, "orig_", names, orig);
    owner_fields!(to, "resp_", names, resp);
    Ok(())
}

/// What may be missing, if anything.
fn missing<F: Fields>(to: &mut F, incomplete: Incomplete) -> Result<(), F::Error> {
    if incomplete == Incomplete::default() {
        return Ok(());
    }
    let words: Vec<_> = incomplete.words().collect();
    to.field("incomplete", &words)
}

const fn end_word(is_orig: bool) -> &'static str {
    if is_orig { "orig" } else { "resp" }
}
