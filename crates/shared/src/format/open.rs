//! Opening captures by their content.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::record::Record;
use crate::stream::{ReadError, Source};

use super::window::Window;
use super::{Compression, Container, Format, jsonl, pcap, pcapng};

/// How many bytes tell how an input is compressed. No more is waited for: the
/// input may be a pipe that a slow recording feeds.
const COMPRESSION_MAGIC_BYTES: usize = 4;

/// How many bytes tell the layout.
const CONTAINER_MAGIC_BYTES: usize = 12;

/// What a capture may be called that is asked for by its stem, best first.
const EXTENSIONS: [&str; 9] = [
    "jsonl.zst",
    "jsonl",
    "jsonl.gz",
    "pcapng.zst",
    "pcapng",
    "pcapng.gz",
    "pcap.zst",
    "pcap",
    "pcap.gz",
];

/// An open capture.
pub struct Input {
    source: Box<dyn Source + Send>,
    format: Format,
    read_bytes: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    path: Option<PathBuf>,
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

    /// The file that is read, which is longer than what was asked for if that
    /// was a stem; none for a stream.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
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
}

/// Opens the capture at `path`: a file of any format (`-` is the standard
/// input), or the stem of one, as `cap` for `cap.jsonl.zst`.
///
/// # Errors
/// Unsupported where the file is no capture; it says what was found instead.
pub fn open(path: &Path) -> Result<Input, ReadError> {
    if path.as_os_str() == "-" {
        return open_reader(io::stdin());
    }
    let path = find(path)?;
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    let mut input = open_reader(file)?;
    input.total_bytes = metadata.is_file().then_some(metadata.len());
    input.path = Some(path);
    Ok(input)
}

/// Opens a capture that is read from `input`.
///
/// # Errors
/// As [`open`].
pub fn open_reader(input: impl Read + Send + 'static) -> Result<Input, ReadError> {
    let read_bytes = Arc::new(AtomicU64::new(0));
    let input = Counted {
        input,
        read_bytes: Arc::clone(&read_bytes),
    };
    let (start, input) = peek(input)?;
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
    window.fill(CONTAINER_MAGIC_BYTES)?;
    let start = window.bytes();
    let (container, source): (_, Box<dyn Source + Send>) = if pcapng::recognizes(start) {
        (Container::Pcapng, Box::new(pcapng::Reader::new(window)?))
    } else if pcap::recognizes(start) {
        (Container::Pcap, Box::new(pcap::Reader::new(window)?))
    } else if start.trim_ascii_start().starts_with(b"{") {
        (Container::Jsonl, Box::new(jsonl::Reader::new(window)))
    } else {
        return Err(ReadError::Unsupported(format!(
            "this is {}; expected jsonl, pcap or pcapng, plain, gzip or zstd",
            what_is(start)
        )));
    };
    Ok(Input {
        source,
        format: Format {
            container,
            compression,
        },
        read_bytes,
        total_bytes: None,
        path: None,
        ended: false,
    })
}

/// The file that is meant by `path`.
fn find(path: &Path) -> Result<PathBuf, ReadError> {
    if fs::exists(path)? {
        return Ok(path.to_owned());
    }
    for extension in EXTENSIONS {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        if fs::exists(&name)? {
            return Ok(name.into());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "no such file, nor one of this name with .{}",
            EXTENSIONS.join(", .")
        ),
    )
    .into())
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
        return "an empty file".into();
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
struct Counted<R> {
    input: R,
    read_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
