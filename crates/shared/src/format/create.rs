//! Creating captures: a sink by the extension of its file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

use crate::stream::Sink;

use super::pcapng::{self, PcapngOptions};
use super::{Compression, Container, Format, jsonl};

const JSONL: Format = Format {
    container: Container::Jsonl,
    compression: Compression::None,
};

impl Format {
    /// What captures can be written as.
    pub const WRITABLE: [Self; 4] = [
        JSONL,
        Self {
            container: Container::Jsonl,
            compression: Compression::Zstd,
        },
        Self {
            container: Container::Pcapng,
            compression: Compression::None,
        },
        Self {
            container: Container::Pcapng,
            compression: Compression::Zstd,
        },
    ];

    /// The format that a capture of this name is written in: by its extension,
    /// and JSON lines for `-`, the standard output.
    ///
    /// # Errors
    /// [`CreateError::Extension`].
    pub fn to_write(path: &Path) -> Result<Self, CreateError> {
        if path.as_os_str() == "-" {
            return Ok(JSONL);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::WRITABLE
            .into_iter()
            .find(|format| name.ends_with(&format!(".{format}")))
            .ok_or(CreateError::Extension)
    }
}

/// A format that captures are not written in.
#[derive(Debug, Error)]
#[error("{0:?} is no format to write; there are {formats}", formats = writable(", "))]
pub struct UnknownFormat(String);

fn writable(separator: &str) -> String {
    Format::WRITABLE
        .map(|format| format.to_string())
        .join(separator)
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::WRITABLE
            .into_iter()
            .find(|format| format.to_string() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Why a capture could not be created.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The file's name ends with none of the extensions.
    #[error("what to write is told by the extension; expected one of .{extensions}", extensions = writable(", ."))]
    Extension,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Creates a capture in the format that the extension of `path` names;
/// `-` is JSON lines to the standard output. Captures hold what users sent
/// and received: on Unix only the owner may read the file.
///
/// # Errors
/// An unknown extension, or what the operating system says.
pub fn create(path: &Path) -> Result<Box<dyn Sink + Send>, CreateError> {
    create_with(path, PcapngOptions::default())
}

/// As [`create`], with a say in what pcapng files hold.
///
/// # Errors
/// As [`create`].
pub fn create_with(
    path: &Path,
    options: PcapngOptions,
) -> Result<Box<dyn Sink + Send>, CreateError> {
    let format = Format::to_write(path)?;
    if path.as_os_str() == "-" {
        return Ok(create_writer(format, io::stdout(), options)?);
    }
    let mut file = OpenOptions::new();
    file.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    Ok(create_writer(format, file.open(path)?, options)?)
}

/// Writes a capture to `output`.
///
/// # Errors
/// The output's; unsupported where the format is none of [`Format::WRITABLE`].
pub fn create_writer(
    format: Format,
    output: impl Write + Send + 'static,
    options: PcapngOptions,
) -> io::Result<Box<dyn Sink + Send>> {
    Ok(match (format.container, format.compression) {
        (Container::Jsonl, Compression::None) => Box::new(jsonl::Writer::plain(output)),
        (Container::Jsonl, Compression::Zstd) => Box::new(jsonl::Writer::zstd(output)?),
        (Container::Pcapng, Compression::None) => Box::new(pcapng::Writer::plain(output, options)),
        (Container::Pcapng, Compression::Zstd) => Box::new(pcapng::Writer::zstd(output, options)?),
        (Container::Pcap, _) | (_, Compression::Gzip) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                UnknownFormat(format.to_string()),
            ));
        }
    })
}
