//! The file formats: one module each, readers and writers side by side.
//!
//! [`open()`] finds out by itself what an input is, whatever it is called.

use std::fmt;
use std::path::Path;

mod create;
mod find;
mod frames;
mod jsonl;
mod merge;
mod open;
mod pcap;
mod pcapng;
mod series;
#[cfg(test)]
mod tests;
mod text;
mod window;

pub use create::{CreateError, UnknownFormat, create, create_counted, create_writer};
pub use find::has_extension;
pub use open::{Input, open, open_all, open_reader};
pub use series::recorded;

/// Whether a path is `-`: the standard input, or the standard output, and no file.
#[must_use]
pub fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The folder that a file stands in, or is to: `.` where its path has none.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// How a capture is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// JSON lines (the schema of [`crate::record`]).
    Jsonl,
    /// The format of libpcap's savefiles.
    Pcap,
    /// Wireshark's format.
    Pcapng,
}

/// How a capture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// What a file is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// Its layout.
    pub container: Container,
    /// Its compression.
    pub compression: Compression,
}

impl fmt::Display for Format {
    /// Its usual extension, as `pcapng.zst`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.container {
            Container::Jsonl => "jsonl",
            Container::Pcap => "pcap",
            Container::Pcapng => "pcapng",
        })?;
        f.write_str(match self.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        })
    }
}
