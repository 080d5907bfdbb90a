//! `tcprec convert`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tcprec_shared::format::{self, CreateError};
use tcprec_shared::record::{End, Loss, LossCause, Lost, Packet, Record};
use tcprec_shared::stream::Sink;

use super::progress::Progress;
use super::{Failure, FilterArgs, open, read_on, select, warn};
use crate::annotate::LookAhead;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A capture of any format, by its content; `-` is the standard input
    input: PathBuf,
    /// The file to write, its format by its extension; `-` is JSON lines to the standard output
    output: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut selection = args.filter.selection()?;
    let input = open(&args.input)?;
    if input
        .files()
        .iter()
        .any(|input| is_same_file(input, &args.output))
    {
        return Err(Failure::Usage(format!(
            "{}: is the input; give another file to write",
            args.output.display()
        )));
    }
    let name = args.output.display();
    let mut sink = format::create(&args.output).map_err(|error| {
        Failure::Usage(match error {
            CreateError::Io(error) => format!("cannot write {name}: {error}"),
            error => format!("{name}: {error}"),
        })
    })?;
    let mut input = LookAhead::new(input);
    let mut left_out = LeftOut::default();
    let mut progress = Progress::new();
    loop {
        match input.next_record() {
            Ok(Some(record)) => {
                if let Some(record) = select(&mut selection, &args.input, record)? {
                    let note = input.annotator().note(&record);
                    let written = if let Record::End(end) = &record {
                        left_out
                            .write_loss(&mut *sink)
                            .and_then(|()| sink.write(&Record::End(left_out.end(end)), None))
                    } else {
                        sink.write(&record, note.annotation.as_ref())
                    };
                    match (written, &record) {
                        // No file of this format can say what this record does.
                        (Err(error), Record::Packet(packet)) if is_unfit(&error) => {
                            left_out.add(packet, error);
                        }
                        // Other records are what packets are understood by.
                        (Err(error), _) if is_unfit(&error) => {
                            return Err(Failure::Failed(format!(
                                "{}: {error}; JSON lines (.jsonl) have room for any",
                                args.input.display()
                            )));
                        }
                        (written, _) => written.map_err(|error| unwritten(&args.output, error))?,
                    }
                }
            }
            Ok(None) => break,
            Err(error) => read_on(&args.input, &error)?,
        }
        progress.record(input.source());
    }
    drop(progress);
    left_out
        .write_loss(&mut *sink)
        .and_then(|()| sink.finish())
        .map_err(|error| unwritten(&args.output, error))?;
    if let Some(first) = left_out.first {
        let from = args.input.display();
        warn(&match left_out.count {
            1 => format!("{from}: a packet was left out, which {name} cannot hold: {first}"),
            count => format!(
                "{from}: {count} packets were left out, which {name} cannot hold; the first: {first}"
            ),
        });
    }
    Ok(())
}

/// The packets that the format has no place for.
#[derive(Debug, Default)]
struct LeftOut {
    count: u64,
    /// Why the first was left out.
    first: Option<io::Error>,
    /// What no `loss` record tells of so far.
    unsaid: Option<Loss>,
    /// Packets and their bytes on the wire that totals to come must not count as recorded.
    of_recording: (u64, u64),
}

impl LeftOut {
    fn add(&mut self, packet: &Packet<'_>, error: io::Error) {
        let bytes = u64::from(packet.wire_bytes);
        self.count += 1;
        self.first.get_or_insert(error);
        self.of_recording.0 += 1;
        self.of_recording.1 += bytes;
        let loss = self.unsaid.get_or_insert(Loss {
            cause: LossCause::Writer,
            lost: Lost::Packets,
            cpu: None,
            count: 0,
            bytes: 0,
            first_ns: packet.ts_ns,
            last_ns: packet.ts_ns,
        });
        loss.count += 1;
        loss.bytes += bytes;
        loss.first_ns = loss.first_ns.min(packet.ts_ns);
        loss.last_ns = loss.last_ns.max(packet.ts_ns);
    }

    fn write_loss(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        match self.unsaid.take() {
            Some(loss) => sink.write(&Record::Loss(loss), None),
            None => Ok(()),
        }
    }

    /// The totals, with what was left out as lost.
    fn end(&mut self, end: &End) -> End {
        let (packets, bytes) = self.of_recording;
        if !end.continued {
            self.of_recording = (0, 0);
        }
        let packets = packets.min(end.recorded_packets);
        End {
            recorded_packets: end.recorded_packets - packets,
            lost_packets: end.lost_packets.saturating_add(packets),
            wire_bytes: end.wire_bytes.saturating_sub(bytes),
            ..end.clone()
        }
    }
}

/// Whether it is the record that cannot be written, not the file.
fn is_unfit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// An output that takes no more. One that nobody reads any more is none of these.
fn unwritten(path: &Path, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Output(error),
        _ => Failure::Failed(format!("cannot write {}: {error}", path.display())),
    }
}

/// Whether writing the one would destroy the other.
fn is_same_file(input: &Path, output: &Path) -> bool {
    let canonical = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    canonical(input).is_some_and(|input| canonical(output) == Some(input))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// Each file of a series has the totals of all before it; another recording has none of them.
    #[test]
    fn what_is_left_out_is_in_the_totals_of_its_recording() {
        let packet = Packet {
            ts_ns: 1,
            interface: 7,
            direction: None,
            wire_bytes: 60,
            cookie: None,
            kernel: None,
            data: Cow::Borrowed(&[]),
        };
        let totals = |continued, recorded, lost| End {
            continued,
            seen_packets: 5,
            recorded_packets: recorded,
            lost_packets: lost,
            wire_bytes: recorded * 60,
            ..End::default()
        };
        let mut left_out = LeftOut::default();
        left_out.add(&packet, io::ErrorKind::InvalidData.into());
        assert_eq!(left_out.end(&totals(true, 4, 1)), totals(true, 3, 2));
        left_out.add(&packet, io::ErrorKind::InvalidData.into());
        assert_eq!(left_out.end(&totals(false, 4, 1)), totals(false, 2, 3));
        assert_eq!(left_out.end(&totals(false, 4, 1)), totals(false, 4, 1));
    }
}
