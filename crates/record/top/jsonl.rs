//! One JSON object a process and interval, for other programs: counts, not
//! rates, so that nothing is rounded away. docs/top.md describes it.

use std::io::{self, Write};

use serde::Serialize;

use super::Interval;

#[derive(Serialize)]
struct Line<'a> {
    ts_ns: i64,
    interval_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
    connects: u64,
    accepts: u64,
    sent_packets: u64,
    sent_bytes: u64,
    received_packets: u64,
    received_bytes: u64,
    retransmits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    no_room: u64,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Writes the first `rows` of an interval.
///
/// # Errors
/// The output's.
pub(crate) fn write(
    to: &mut dyn Write,
    interval: &Interval,
    rows: Option<usize>,
) -> io::Result<()> {
    let interval_ns = u64::try_from(interval.length.as_nanos()).unwrap_or(u64::MAX);
    for row in interval.rows.iter().take(rows.unwrap_or(usize::MAX)) {
        let counts = &row.counts;
        let line = Line {
            ts_ns: interval.ts_ns,
            interval_ns,
            pid: row.owner.map(|owner| owner.pid),
            uid: row.owner.map(|owner| owner.uid),
            comm: row.owner.map(|_| row.comm.as_str()),
            connects: counts.connects,
            accepts: counts.accepts,
            sent_packets: counts.sent_packets,
            sent_bytes: counts.sent_bytes,
            received_packets: counts.received_packets,
            received_bytes: counts.received_bytes,
            retransmits: counts.retransmits,
            no_room: row.doubts.no_room,
            missed: row.doubts.missed,
        };
        serde_json::to_writer(&mut *to, &line)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}
