//! Journal entries: records that are no packets, as Wireshark shows them in
//! their place among the packets (systemd Journal Export Format).

use std::fmt::{self, Display, Write};
use std::io;

use pcap_file::pcapng::blocks::SYSTEMD_JOURNAL_EXPORT_BLOCK;

use crate::flow::Endpoint;
use crate::record::{End, Event, Loss, Record};

use super::super::jsonl;
use super::body::split_line;
use super::comment::push_text;
use super::packet::{begin, end, pad};

/// The field that holds the record's JSON.
const RECORD: &str = "TCPREC_RECORD=";

/// Appends the block of an entry: what happened at `ts_ns`, and in which
/// process. `text` is room to work in.
pub(super) fn write(
    out: &mut Vec<u8>,
    text: &mut String,
    record: &Record<'_>,
    ts_ns: i64,
    process: Option<(u32, Option<&str>)>,
) -> io::Result<()> {
    text.clear();
    write_fields(text, record, ts_ns, process);
    text.push_str(RECORD);
    let start = begin(out, SYSTEMD_JOURNAL_EXPORT_BLOCK);
    out.extend(text.as_bytes());
    if let Err(error) = jsonl::write_record(out, record) {
        out.truncate(start);
        return Err(error.into());
    }
    out.push(b'\n');
    pad(out, start);
    end(out, start);
    Ok(())
}

/// Writes the fields that other programs know.
fn write_fields(
    out: &mut String,
    record: &Record<'_>,
    ts_ns: i64,
    process: Option<(u32, Option<&str>)>,
) {
    // Writing to memory does not fail. Wireshark takes no entry without a time.
    let _ = writeln!(out, "__REALTIME_TIMESTAMP={}", ts_ns.max(0) / 1000);
    let _ = writeln!(out, "SYSLOG_IDENTIFIER=tcprec");
    let _ = writeln!(out, "MESSAGE={}", Message(record));
    if let Some((pid, comm)) = process {
        let _ = writeln!(out, "_PID={pid}");
        if let Some(comm) = comm {
            out.push_str("_COMM=");
            push_text(out, comm);
            out.push('\n');
        }
    }
}

/// The JSON of the record that an entry tells of; none in entries of others.
pub(super) fn record(entry: &[u8]) -> Option<&[u8]> {
    let mut rest = entry;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        if let Some(json) = line.strip_prefix(RECORD.as_bytes()) {
            return Some(json);
        }
        rest = after;
    }
    None
}

/// A record in a few words.
struct Message<'a>(&'a Record<'a>);

impl Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Event(event) => event_message(event, f),
            Record::Loss(Loss {
                cause,
                lost,
                count,
                bytes,
                ..
            }) => write!(f, "lost {count} {lost}, {bytes} bytes: {cause}"),
            Record::End(End {
                recorded_packets,
                lost_packets,
                ..
            }) => write!(
                f,
                "end of the recording: {recorded_packets} packets recorded, {lost_packets} lost"
            ),
            Record::Capture(_) => f.write_str("capture"),
            Record::Process(process) => write!(f, "process {}", process.id.pid),
            Record::Interface(_) | Record::Packet(_) => Ok(()),
        }
    }
}

fn event_message(event: &Event, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Event {
        kind,
        local,
        remote: Endpoint { port, .. },
        ..
    } = event;
    write!(f, "{kind} {local}")?;
    if *port != 0 {
        write!(f, " -> {}", event.remote)?;
    }
    if let Some(direction) = event.direction {
        write!(f, " {direction}")?;
    }
    match (event.old_state, event.new_state) {
        (Some(old), Some(new)) => write!(f, ", {old} -> {new}"),
        (None, Some(new)) => write!(f, ", {new}"),
        _ => Ok(()),
    }
}
