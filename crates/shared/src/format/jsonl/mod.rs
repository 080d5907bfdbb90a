//! JSON lines: one record a line, `type` first (the schema is [`crate::record`]).
//!
//! Fields may stand in any order; types and fields of later minor schemas are
//! passed over. Reading and writing a packet does not allocate.

mod ahead;
mod event;
mod line;
mod packet;
mod rest;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::LazyLock;

use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use base64::{DecodeError, Engine as _};
use serde::de::value::{self, StrDeserializer};
use serde::{Deserialize, de};

use crate::batch::{self, Batch};
use crate::record::{Capture, Direction, EventKind, KernelParse, Packet, Record, SCHEMA};
use crate::stream::{Annotation, ReadError, Sink, Source};

pub(super) use self::ahead::Ahead;
use super::frames::Frames;
use super::window::{MAX_RECORD_BYTES, Window};

/// As many bytes of lines are written at once where they are not compressed.
const WRITE_BYTES: usize = 128 * 1024;

/// As many bytes of lines make a frame where they are compressed, fewer where
/// the output is flushed before: zstd finds what repeats within a frame only,
/// and frames of 128 KiB are a tenth larger in sum. It is what one who seeks
/// reads in vain at most.
const FRAME_BYTES: usize = 1024 * 1024;

/// A longer record that is no packet is none: the recorder keeps a KiB of arguments, and in
/// memory it would be many times as large if it was all empty words.
const MAX_OTHER_BYTES: usize = 1 << 20;

/// The encoding of packets' bytes (RFC 4648 section 4, padded).
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// JSON lines as a source.
pub(super) struct Reader {
    window: Window,
    /// Length of the line that was given last, with its end.
    given_bytes: usize,
    /// The bytes of the packets that were read for those who asked last.
    data: Vec<u8>,
    /// Whether a record was given.
    begun: bool,
}

/// A line as read; a packet's bytes stand apart.
pub(super) enum Line {
    Packet(Packet<'static>),
    Other(Record<'static>),
    /// Of a type that a later minor schema added.
    Unknown(String),
}

impl Reader {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            given_bytes: 0,
            data: Vec::new(),
            begun: false,
        }
    }

    /// The length of the next line without its end, and with it; none at the
    /// end of the input.
    fn find_line(&mut self) -> Result<Option<(usize, usize)>, ReadError> {
        let mut searched = 0;
        loop {
            let bytes = self.window.bytes();
            if let Some(at) = memchr::memchr(b'\n', &bytes[searched..]) {
                let len = searched + at;
                return Ok(Some((len, len + 1)));
            }
            searched = bytes.len();
            if searched > MAX_RECORD_BYTES {
                return Err(self.pass_over_line()?);
            }
            if !self.window.fill(searched + 1)? {
                return Ok((searched > 0).then_some((searched, searched)));
            }
        }
    }

    /// Passes over a line that is too long to be a record.
    fn pass_over_line(&mut self) -> Result<ReadError, ReadError> {
        let at_bytes = self.window.offset();
        while self.window.fill(1)? {
            let bytes = self.window.bytes();
            let Some(at) = memchr::memchr(b'\n', bytes) else {
                self.window.consume(bytes.len());
                continue;
            };
            self.window.consume(at + 1);
            break;
        }
        Ok(ReadError::Damaged {
            at_bytes,
            detail: format!("a line of more than {MAX_RECORD_BYTES} bytes"),
        })
    }

    /// The next line; a packet's bytes are put behind what is in `data`.
    fn read(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            self.window.consume(std::mem::take(&mut self.given_bytes));
            let Some((len, whole_len)) = self.find_line()? else {
                return self.window.end("a line");
            };
            self.given_bytes = whole_len;
            let at_bytes = self.window.offset();
            let line = &self.window.bytes()[..len];
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(line, &mut self.data) {
                Ok(Line::Unknown(kind)) if !self.begun => {
                    return Err(ReadError::Unsupported(format!(
                        "this is JSON, but not a capture: its first record is of type {kind:?}"
                    )));
                }
                Ok(line) => {
                    self.begun = true;
                    if let Line::Other(Record::Capture(capture)) = &line {
                        check_schema(capture)?;
                    }
                    return Ok(Some(line));
                }
                // The last line, without its end.
                Err(_) if len == whole_len => return self.window.end("a line"),
                Err(error) if !self.begun => {
                    return Err(ReadError::Unsupported(format!(
                        "this looks like JSON, but its first line is not a record: {error}"
                    )));
                }
                Err(error) => {
                    return Err(ReadError::Damaged {
                        at_bytes,
                        detail: error.to_string(),
                    });
                }
            }
        }
    }

    /// Puts the next records into a batch, but not the bytes of the packets.
    fn read_into(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        while batch.is_empty()
            || !batch.is_full() && self.data.len() < batch::MAX_BYTES && self.has_next()
        {
            let start = self.data.len();
            match self.read()? {
                None => return Ok(false),
                Some(Line::Packet(packet)) => {
                    batch.push_packet_at(&packet, start..self.data.len());
                }
                Some(Line::Other(record)) => batch.push_other(record),
                Some(Line::Unknown(_)) => {}
            }
        }
        Ok(true)
    }
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        self.data.clear();
        loop {
            match self.read()? {
                None => return Ok(None),
                Some(Line::Packet(packet)) => {
                    return Ok(Some(Record::Packet(Packet {
                        data: Cow::Borrowed(&self.data),
                        ..packet
                    })));
                }
                Some(Line::Other(record)) => return Ok(Some(record)),
                Some(Line::Unknown(_)) => {}
            }
        }
    }

    fn has_next(&self) -> bool {
        let rest = self.window.bytes().get(self.given_bytes..);
        rest.is_some_and(|rest| memchr::memchr(b'\n', rest).is_some())
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        self.data.clear();
        let is_more = self.read_into(batch);
        batch.exchange(&mut self.data);
        is_more
    }
}

/// Refuses what a later major schema wrote: it would be misread.
pub(super) fn check_schema(capture: &Capture) -> Result<(), ReadError> {
    match capture.schema {
        Some(schema) if schema.major > SCHEMA.major => Err(ReadError::Unsupported(format!(
            "this capture follows schema {schema}, written by {}; this version reads up to {}.x: \
             a newer tcprec is needed",
            capture.program, SCHEMA.major
        ))),
        _ => Ok(()),
    }
}

/// Reads a line; a packet's bytes are put behind what is in `data`.
pub(super) fn parse(line: &[u8], data: &mut Vec<u8>) -> serde_json::Result<Line> {
    if let Some(packet) = packet::parse(line, data) {
        return Ok(Line::Packet(packet));
    }
    if let Some(event) = event::parse(line) {
        return Ok(Line::Other(Record::Event(event)));
    }
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let Tag { kind } = serde_json::from_slice(line)?;
    Ok(Line::Other(match &*kind {
        "packet" => return parse_packet(line, data).map(Line::Packet),
        "capture" => Record::Capture(parse_other(line)?),
        "interface" => Record::Interface(parse_other(line)?),
        "process" => Record::Process(parse_other(line)?),
        "loss" => Record::Loss(parse_other(line)?),
        "end" => Record::End(parse_other(line)?),
        kind if is_event(kind) => Record::Event(parse_other(line)?),
        _ => return Ok(Line::Unknown(kind.into_owned())),
    }))
}

fn parse_other<'a, T: Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    if line.len() > MAX_OTHER_BYTES {
        let what =
            format!("a record of more than {MAX_OTHER_BYTES} bytes (only packets may be larger)");
        return Err(de::Error::custom(what));
    }
    serde_json::from_slice(line)
}

/// Whether it is the type of an event.
fn is_event(kind: &str) -> bool {
    EventKind::deserialize(StrDeserializer::<value::Error>::new(kind)).is_ok()
}

/// Reads a packet of any form; its bytes are put behind what is in `data`.
fn parse_packet(line: &[u8], data: &mut Vec<u8>) -> serde_json::Result<Packet<'static>> {
    /// A [`Packet`] whose bytes are still base64 text, so that they can be
    /// decoded into memory that is there already.
    #[derive(Deserialize)]
    struct PacketLine<'a> {
        ts_ns: i64,
        interface: u32,
        direction: Option<Direction>,
        wire_bytes: u32,
        cookie: Option<u64>,
        kernel: Option<KernelParse>,
        #[serde(borrow)]
        data: Cow<'a, str>,
    }
    let packet: PacketLine<'_> = serde_json::from_slice(line)?;
    decode(packet.data.as_bytes(), data).map_err(de::Error::custom)?;
    Ok(Packet {
        ts_ns: packet.ts_ns,
        interface: packet.interface,
        direction: packet.direction,
        wire_bytes: packet.wire_bytes,
        cookie: packet.cookie,
        kernel: packet.kernel,
        data: Cow::Borrowed(&[]),
    })
}

/// Puts the bytes of a packet behind what is in `data`; nothing if they are none.
fn decode(text: &[u8], data: &mut Vec<u8>) -> Result<(), DecodeError> {
    let start = data.len();
    let decoded = BASE64.decode_vec(text, data);
    if decoded.is_err() {
        data.truncate(start);
    }
    decoded
}

/// JSON lines as a sink.
pub(super) struct Writer<W> {
    /// Whole lines.
    lines: Vec<u8>,
    /// As many bytes of lines are written at once.
    whole_bytes: usize,
    output: Output<W>,
}

/// Where lines go.
enum Output<W> {
    Plain(W),
    Zstd(Frames<W>),
}

impl<W: Write> Writer<W> {
    /// `file_bytes`: how long the file is to become, if that is known.
    pub(super) fn plain(output: W, file_bytes: Option<u64>) -> Self {
        Self::new(Output::Plain(output), WRITE_BYTES, file_bytes)
    }

    /// As [`Self::plain`], compressed.
    pub(super) fn zstd(output: W, file_bytes: Option<u64>) -> io::Result<Self> {
        let frames = Output::Zstd(Frames::new(output)?);
        Ok(Self::new(frames, FRAME_BYTES, file_bytes))
    }

    fn new(output: Output<W>, most_bytes: usize, file_bytes: Option<u64>) -> Self {
        let file_bytes = file_bytes.and_then(|bytes| bytes.try_into().ok());
        Self {
            lines: Vec::new(),
            // A file that is to be short must not end a frame too late.
            whole_bytes: most_bytes.min(file_bytes.unwrap_or(most_bytes)),
            output,
        }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        match &mut self.output {
            Output::Plain(output) => output.write_all(&self.lines)?,
            Output::Zstd(frames) => frames.write(&self.lines)?,
        }
        self.lines.clear();
        Ok(())
    }
}

/// Appends the line of a record, without its end.
pub(super) fn write_record(out: &mut Vec<u8>, record: &Record<'_>) -> serde_json::Result<()> {
    match record {
        Record::Packet(packet) => packet::write(out, packet),
        Record::Event(event) => event::write(out, event),
        _ => serde_json::to_writer(out, record)?,
    }
    Ok(())
}

impl<W: Write> Sink for Writer<W> {
    fn write(&mut self, record: &Record<'_>, _: Option<&Annotation<'_>>) -> io::Result<()> {
        write_record(&mut self.lines, record)?;
        self.lines.push(b'\n');
        if self.lines.len() >= self.whole_bytes {
            self.write_lines()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_lines()?;
        match &mut self.output {
            Output::Plain(output) => output.flush(),
            Output::Zstd(frames) => frames.flush(),
        }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_lines()?;
        match self.output {
            Output::Plain(mut output) => output.flush(),
            Output::Zstd(frames) => frames.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// What a reader of `lines` gives: record by record, or in batches.
    fn read(lines: &str, in_batches: bool) -> Vec<String> {
        let mut reader = Reader::new(Window::new(Box::new(Cursor::new(lines.to_owned()))));
        let mut given = Vec::new();
        let mut is_more = true;
        while is_more {
            let mut batch = Batch::default();
            let step = if in_batches {
                reader.fill(&mut batch)
            } else {
                let next = reader.next();
                next.map(|record| record.map(|record| batch.push(record)).is_some())
            };
            while let Some(record) = batch.take_next() {
                given.push(format!("{record:?}"));
            }
            is_more = match step {
                Ok(is_more) => is_more,
                Err(error) => {
                    given.push(format!("{error:?}"));
                    error.is_passing()
                }
            };
        }
        given
    }

    #[test]
    fn batches_hold_what_is_given_one_by_one() {
        let packet = |number: usize, data: &str| {
            format!(
                r#"{{"type":"packet","ts_ns":{number},"interface":0,"wire_bytes":2,"data":"{data}"}}"#
            )
        };
        let process = |bytes: usize| {
            let comm = "c".repeat(bytes);
            format!(r#"{{"type":"process","pid":1,"start_ns":1,"comm":"{comm}"}}"#)
        };
        // Usual ones, one in another form, and ones that are damaged.
        let some = [
            packet(1, "AAEC"),
            packet(2, r"AQID\u0042QUG"),
            packet(3, "AAEC!"),
            packet(4, r"AAEC\u0021"),
            packet(5, ""),
            r#"{"type":"reset","ts_ns":6,"netns":2,"local":{"addr":"::1","port":80},"remote":{"addr":"::1","port":9}}"#.into(),
            r#"{"type":"later"}"#.into(),
            " ".into(),
            packet(7, &"BBBB".repeat(batch::MAX_BYTES / 8)),
            process(1),
            process(MAX_OTHER_BYTES),
            packet(7, &"BBBB".repeat(MAX_OTHER_BYTES)),
        ];
        let mut lines = some.join("\n") + "\n";
        lines += &(lines.repeat(3) + &(packet(8, "CCCC") + "\n").repeat(5000));
        for end in [0, 1, 2] {
            let lines = &lines[..lines.len() - end];
            let given = read(lines, true);
            assert_eq!(given, read(lines, false));
            assert!(given.len() > 5000);
            let told = |what: &&String| what.contains("only packets may be larger");
            assert_eq!(given.iter().filter(told).count(), 4);
        }
    }
}
