//! Opening captures by their content.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use flate2::bufread::MultiGzDecoder;

use crate::batch::Batch;
use crate::record::Record;
use crate::stream::{ReadError, Source};

use super::find::{Found, find};
use super::merge::Merge;
use super::series::{self, Parts};
use super::window::Window;
use super::{Compression, Container, Format, is_standard_stream, jsonl, pcap, pcapng};

/// How many bytes tell how an input is compressed. No more is waited for: the
/// input may be a pipe that a slow recording feeds.
const COMPRESSION_MAGIC_BYTES: usize = 4;

/// What is read on several cores.
const JSONL_ZSTD: Format = Format {
    container: Container::Jsonl,
    compression: Compression::Zstd,
};

/// How many bytes tell the layout.
const CONTAINER_MAGIC_BYTES: usize = 12;

/// An open capture.
pub struct Input {
    source: Box<dyn Source + Send>,
    format: Format,
    read_bytes: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    files: Vec<PathBuf>,
    doubled_files: Vec<PathBuf>,
    ended: bool,
}

impl Input {
    /// What the input turned out to be.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How many bytes were read so far, as they stand in the file.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// How many bytes there are, where that is known.
    #[must_use]
    pub const fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Whether nothing has to be waited for: a pipe's next bytes may be long in coming, and
    /// decompression takes longer than what can be done meanwhile with the records before,
    /// unless frames are independent.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        let is_plain = self.format.compression == Compression::None;
        self.total_bytes.is_some() && (is_plain || self.format == JSONL_ZSTD)
    }

    /// The files that are read, which are not what was asked for if that was a
    /// folder or a stem; none for a stream.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The files that tell again what others do, as those of a recording in two formats,
    /// and are not read.
    #[must_use]
    pub fn doubled_files(&self) -> &[PathBuf] {
        &self.doubled_files
    }
}

impl Source for Input {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.source.next();
        self.ended = match &next {
            Ok(record) => record.is_none(),
            Err(error) => !error.is_passing(),
        };
        next
    }

    fn has_next(&self) -> bool {
        !self.ended && self.source.has_next()
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        if self.ended {
            return Ok(false);
        }
        let filled = self.source.fill(batch);
        self.ended = match &filled {
            Ok(is_more) => !is_more,
            Err(error) => !error.is_passing(),
        };
        filled
    }
}

/// Opens the capture at `path`: a file of any format (`-` is the standard
/// input), the stem of one or of a rotated series, as `cap` for
/// `cap.jsonl.zst`, or a folder of captures. Several files are read one after
/// the other, in the order in which they were recorded, by however many recordings, and
/// merged by the times of their records where they overlap; of a
/// recording that is there in several formats those of one are read.
///
/// # Errors
/// Unsupported where the file is no capture; it says what was found instead.
pub fn open(path: &Path) -> Result<Input, ReadError> {
    if is_standard_stream(path) {
        return open_reader(io::stdin());
    }
    match find(path)? {
        Found::File(file) => {
            let read_bytes = Arc::default();
            let opened = open_file(&file, 0, Arc::clone(&read_bytes))?;
            Ok(opened.into_input(read_bytes, vec![file]))
        }
        Found::Series(files) => open_series(files),
        Found::Folder(files) => open_series(captures(files)?),
    }
}

/// Opens what is at each of `paths`, as [`open`] does what is at one, as one capture. A
/// file that is meant more than once is read once.
///
/// # Errors
/// As [`open`], with the path. A stream can be read only alone.
pub fn open_all(paths: &[PathBuf]) -> Result<Input, ReadError> {
    if let [path] = paths {
        return open(path);
    }
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_at(path).map_err(|error| series::named(path, error))?);
    }
    let mut known = BTreeSet::new();
    files.retain(|file| known.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    open_series(files)
}

/// The files at one of several paths.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let alone = || ReadError::Unsupported("a stream must be the only input".into());
    if is_standard_stream(path) {
        return Err(alone());
    }
    match find(path)? {
        // What is looked at of a pipe is gone.
        Found::File(file) if !file.is_file() => Err(alone()),
        Found::File(file) => {
            let is_empty = file.metadata()?.len() == 0;
            match glance(&file) {
                // Of what is cut or empty the rest is read.
                Err(error) if !is_empty && !matches!(error, ReadError::Truncated { .. }) => {
                    Err(error)
                }
                _ => Ok(vec![file]),
            }
        }
        Found::Series(files) => Ok(files),
        Found::Folder(files) => captures(files),
    }
}

fn no_captures() -> ReadError {
    ReadError::Unsupported("no captures in this folder".into())
}

/// The captures among the files of a folder.
fn captures(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, ReadError> {
    let mut captures = Vec::new();
    for file in files {
        let content = File::open(&file)
            .map_err(ReadError::Io)
            .and_then(|input| identify(input, Arc::default()))
            .map_err(|error| series::named(&file, error))?;
        if let Content::Capture(..) = content {
            captures.push(file);
        }
    }
    if captures.is_empty() {
        return Err(no_captures());
    }
    Ok(captures)
}

/// Opens a capture that is read from `input`.
///
/// # Errors
/// As [`open`].
pub fn open_reader(input: impl Read + Send + 'static) -> Result<Input, ReadError> {
    let read_bytes = Arc::default();
    let opened = open_stream(input, Arc::clone(&read_bytes))?;
    Ok(opened.into_input(read_bytes, Vec::new()))
}

/// A recorder that was killed when it had just created a file leaves it empty.
fn without_empty(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_empty = |file: &PathBuf| file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    if !files.iter().all(is_empty) {
        files.retain(|file| !is_empty(file));
    }
    files
}

fn open_series(files: Vec<PathBuf>) -> Result<Input, ReadError> {
    let mut parts = Parts::of(without_empty(files));
    let doubled_files = parts.take_doubled();
    let read_bytes = Arc::default();
    parts.sort();
    let files = parts.paths();
    let Some(first) = files.first() else {
        return Err(no_captures());
    };
    let opened = Opened {
        format: glance(first)
            .map_err(|error| series::named(first, error))?
            .format,
        source: Box::new(Merge::new(parts.into_strands(), Arc::clone(&read_bytes))),
    };
    Ok(Input {
        doubled_files,
        ..opened.into_input(read_bytes, files)
    })
}

/// A source, and what it turned out to be.
pub(super) struct Opened {
    pub(super) format: Format,
    pub(super) source: Box<dyn Source + Send>,
}

impl Opened {
    fn into_input(self, read_bytes: Arc<AtomicU64>, files: Vec<PathBuf>) -> Input {
        let total_bytes = files.iter().map(|file| {
            let metadata = file.metadata().ok()?;
            metadata.is_file().then_some(metadata.len())
        });
        Input {
            source: self.source,
            format: self.format,
            read_bytes,
            total_bytes: total_bytes
                .sum::<Option<u64>>()
                .filter(|_| !files.is_empty()),
            files,
            doubled_files: Vec::new(),
            ended: false,
        }
    }
}

/// Opens one file beside so many others; what is read of it is counted.
pub(super) fn open_file(
    path: &Path,
    others: usize,
    read_bytes: Arc<AtomicU64>,
) -> Result<Opened, ReadError> {
    // What is read ahead takes memory for each thread.
    let threads = thread::available_parallelism().map_or(1, NonZero::get) / (others + 1);
    // A pipe gives what was read of it only once.
    if path.metadata()?.is_file() {
        let format = glance(path)?.format;
        if format == JSONL_ZSTD {
            let ahead = jsonl::Ahead::new(File::open(path)?, threads, read_bytes);
            return Ok(Opened {
                format,
                source: Box::new(ahead),
            });
        }
    }
    open_stream(File::open(path)?, read_bytes)
}

/// Opens one file to look at its beginning.
pub(super) fn glance(path: &Path) -> Result<Opened, ReadError> {
    open_stream(File::open(path)?, Arc::default())
}

fn open_stream(
    input: impl Read + Send + 'static,
    read_bytes: Arc<AtomicU64>,
) -> Result<Opened, ReadError> {
    match identify(input, read_bytes)? {
        Content::Capture(format, window) => Ok(Opened {
            format,
            source: match format.container {
                Container::Jsonl => Box::new(jsonl::Reader::new(window)),
                Container::Pcap => Box::new(pcap::Reader::new(window)?),
                Container::Pcapng => Box::new(pcapng::Reader::new(window)?),
            },
        }),
        Content::Foreign(what) => Err(ReadError::Unsupported(format!(
            "this is {what}; expected jsonl, pcap or pcapng, plain, gzip or zstd"
        ))),
    }
}

/// What an input holds.
enum Content {
    Capture(Format, Window),
    /// Something else, in words.
    Foreign(String),
}

/// Looks at the first bytes of an input.
fn identify(
    input: impl Read + Send + 'static,
    read_bytes: Arc<AtomicU64>,
) -> Result<Content, ReadError> {
    let (start, input) = peek(Counted { input, read_bytes })?;
    let (compression, plain): (_, Box<dyn Read + Send>) = match *start {
        [0x1f, 0x8b, ..] => (
            Compression::Gzip,
            Box::new(MultiGzDecoder::new(BufReader::new(input))),
        ),
        // A frame, or a skippable frame.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            (Compression::Zstd, Box::new(zstd::Decoder::new(input)?))
        }
        _ => (Compression::None, Box::new(input)),
    };
    let mut window = Window::new(plain);
    if !window.fill(CONTAINER_MAGIC_BYTES)? && window.bytes().is_empty() {
        // Compressed data may be cut before the first byte.
        window.end::<()>("the file")?;
    }
    let start = window.bytes();
    let container = if pcapng::recognizes(start) {
        Container::Pcapng
    } else if pcap::recognizes(start) {
        Container::Pcap
    } else if start.trim_ascii_start().starts_with(b"{") {
        Container::Jsonl
    } else {
        return Ok(Content::Foreign(what_is(start)));
    };
    let format = Format {
        container,
        compression,
    };
    Ok(Content::Capture(format, window))
}

/// The first bytes of an input, and the whole input.
fn peek(mut input: impl Read + Send) -> io::Result<(Vec<u8>, impl Read + Send)> {
    let mut start = Vec::with_capacity(COMPRESSION_MAGIC_BYTES);
    input
        .by_ref()
        .take(COMPRESSION_MAGIC_BYTES as u64)
        .read_to_end(&mut start)?;
    Ok((start.clone(), Cursor::new(start).chain(input)))
}

/// Says what an input is that is no capture.
fn what_is(start: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 14] = [
        (b"\x7fELF", "an ELF executable"),
        (b"MZ", "a Windows executable"),
        (b"\x1f\x8b", "gzip inside gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd inside a compressed file"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"BZh", "a bzip2 file"),
        (b"\x04\x22\x4d\x18", "an lz4 file"),
        (b"snoop\0\0\0", "a snoop capture"),
        (b"\x89PNG", "a picture"),
        (b"%PDF", "a PDF document"),
        (b"PAR1", "a Parquet file"),
        (b"SQLite format 3", "an SQLite database"),
        (b"#!", "a script"),
    ];
    if start.is_empty() {
        return "an empty file (as left by a recording killed at its start)".into();
    }
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*name).into();
    }
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    if start.iter().all(is_text) {
        return "text".into();
    }
    let first: Vec<String> = start.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("unknown data (it begins with {})", first.join(" "))
}

/// A reader that counts.
pub(super) struct Counted<R> {
    pub(super) input: R,
    pub(super) read_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
