//! Journal entries: records that are no packets, as Wireshark shows them in
//! their place among the packets (systemd Journal Export Format).

use std::fmt::Write as _;
use std::io;

use pcap_file::pcapng::blocks::SYSTEMD_JOURNAL_EXPORT_BLOCK;

use crate::record::{End, Event, Loss, Record};

use super::super::jsonl;
use super::super::text::Text;
use super::body::split_line;
use super::comment::push_text;
use super::packet::{begin, end, pad};

/// The field that holds the record's JSON.
const RECORD: &str = "TCPREC_RECORD=";

/// Appends the block of an entry: what happened at `ts_ns`, and in which
/// process.
pub(super) fn write(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    ts_ns: i64,
    process: Option<(u32, Option<&str>)>,
) -> io::Result<()> {
    let start = begin(out, SYSTEMD_JOURNAL_EXPORT_BLOCK);
    write_fields(&mut Text::new(out), record, ts_ns, process);
    if let Err(error) = jsonl::write_record(out, record) {
        out.truncate(start);
        return Err(error.into());
    }
    out.push(b'\n');
    pad(out, start);
    end(out, start);
    Ok(())
}

/// Writes the fields that other programs know, and the name of the record's.
fn write_fields(
    entry: &mut Text<'_>,
    record: &Record<'_>,
    ts_ns: i64,
    process: Option<(u32, Option<&str>)>,
) {
    // Wireshark takes no entry without a time.
    entry.number("__REALTIME_TIMESTAMP=", ts_ns.max(0) / 1000);
    entry.text("\nSYSLOG_IDENTIFIER=tcprec\nMESSAGE=");
    write_message(entry, record);
    entry.text("\n");
    if let Some((pid, comm)) = process {
        entry.number("_PID=", pid);
        if let Some(comm) = comm {
            entry.text("\n_COMM=");
            push_text(entry, comm);
        }
        entry.text("\n");
    }
    entry.text(RECORD);
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

/// Writes a record in a few words.
fn write_message(entry: &mut Text<'_>, record: &Record<'_>) {
    // Writing to memory does not fail.
    let _ = match record {
        Record::Event(event) => {
            write_event(entry, event);
            Ok(())
        }
        Record::Loss(Loss {
            cause,
            lost,
            count,
            bytes,
            ..
        }) => write!(entry, "lost {count} {lost}, {bytes} bytes: {cause}"),
        Record::End(End {
            recorded_packets,
            lost_packets,
            ..
        }) => write!(
            entry,
            "end of the recording: {recorded_packets} packets recorded, {lost_packets} lost"
        ),
        Record::Capture(_) => write!(entry, "capture"),
        Record::Process(process) => write!(entry, "process {}", process.id.pid),
        Record::Interface(_) | Record::Packet(_) => Ok(()),
    };
}

fn write_event(entry: &mut Text<'_>, event: &Event) {
    entry.text(event.kind.word());
    entry.endpoint(" ", &event.local);
    if event.remote.port != 0 {
        entry.endpoint(" -> ", &event.remote);
    }
    if let Some(direction) = event.direction {
        entry.text(" ");
        entry.text(direction.word());
    }
    if let Some(new) = event.new_state {
        entry.text(", ");
        if let Some(old) = event.old_state {
            entry.text(old.word());
            entry.text(" -> ");
        }
        entry.text(new.word());
    }
}
