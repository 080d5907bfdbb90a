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

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use serde::de::value::{self, StrDeserializer};
use serde::{Deserialize, de};

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

/// The encoding of packets' bytes (RFC 4648 section 4, padded).
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// JSON lines as a source.
pub(super) struct Reader {
    window: Window,
    /// Length of the line that was given last, with its end.
    given_bytes: usize,
    /// The bytes of the packet that was given last.
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
}

impl Source for Reader {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
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
                Ok(Line::Packet(packet)) => {
                    self.begun = true;
                    return Ok(Some(Record::Packet(Packet {
                        data: Cow::Borrowed(&self.data),
                        ..packet
                    })));
                }
                Ok(Line::Other(record)) => {
                    self.begun = true;
                    if let Record::Capture(capture) = &record {
                        check_schema(capture)?;
                    }
                    return Ok(Some(record));
                }
                Ok(Line::Unknown(kind)) if !self.begun => {
                    return Err(ReadError::Unsupported(format!(
                        "this is JSON, but no capture: its first record is of type {kind:?}"
                    )));
                }
                Ok(Line::Unknown(_)) => {}
                // The last line, without its end.
                Err(_) if len == whole_len => return self.window.end("a line"),
                Err(error) if !self.begun => {
                    return Err(ReadError::Unsupported(format!(
                        "this looks like JSON, but its first line is no record: {error}"
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

/// Reads a line, a packet's bytes into `data`.
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
        "capture" => Record::Capture(serde_json::from_slice(line)?),
        "interface" => Record::Interface(serde_json::from_slice(line)?),
        "process" => Record::Process(serde_json::from_slice(line)?),
        "loss" => Record::Loss(serde_json::from_slice(line)?),
        "end" => Record::End(serde_json::from_slice(line)?),
        kind if is_event(kind) => Record::Event(serde_json::from_slice(line)?),
        _ => return Ok(Line::Unknown(kind.into_owned())),
    }))
}

/// Whether it is the type of an event.
fn is_event(kind: &str) -> bool {
    EventKind::deserialize(StrDeserializer::<value::Error>::new(kind)).is_ok()
}

/// Reads a packet of any form, its bytes into `data`.
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
    data.clear();
    BASE64
        .decode_vec(&*packet.data, data)
        .map_err(de::Error::custom)?;
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
