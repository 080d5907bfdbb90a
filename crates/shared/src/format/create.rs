//! Creating captures: a sink by the extension of its file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::stream::Sink;

use super::{Compression, Container, Format, is_standard_stream, jsonl, pcapng};

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
    /// [`CreateError::Extension`], [`CreateError::Pcap`].
    pub fn to_write(path: &Path) -> Result<Self, CreateError> {
        if is_standard_stream(path) {
            return Ok(JSONL);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::WRITABLE
            .into_iter()
            .find(|format| name.ends_with(&format!(".{format}")))
            .ok_or_else(|| match name.rsplit_once('.') {
                Some((_, "pcap" | "cap" | "dump")) => CreateError::Pcap,
                _ => CreateError::Extension,
            })
    }
}

/// A format that captures are not written in.
#[derive(Debug, Error)]
#[error("cannot write the format {0:?}; expected one of {formats}", formats = writable(", "))]
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
    #[error("the extension selects the format; expected one of .{extensions}", extensions = writable(", ."))]
    Extension,
    /// The file's name is that of a format that cannot hold all that is recorded.
    #[error(
        "pcap cannot hold events, processes and losses; use .pcapng, which Wireshark and tcpdump \
         read as well"
    )]
    Pcap,
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
    create_counted(path, Arc::default(), None)
}

/// As [`create`]; the bytes that are written to the output are counted. A call that
/// succeeded and raised the count has written all that the sink took before.
/// `file_bytes` is the count at which the file is to end, if there is one:
/// not much more than that is held back.
///
/// # Errors
/// As [`create`].
pub fn create_counted(
    path: &Path,
    written_bytes: Arc<AtomicU64>,
    file_bytes: Option<u64>,
) -> Result<Box<dyn Sink + Send>, CreateError> {
    let format = Format::to_write(path)?;
    let output: Box<dyn Write + Send> = if is_standard_stream(path) {
        Box::new(io::stdout())
    } else {
        Box::new(create_file(path)?)
    };
    let counted = Counted {
        output,
        written_bytes,
    };
    Ok(create_writer(format, counted, file_bytes)?)
}

fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    hide(&file)?;
    Ok(file)
}

/// Takes a file that was there before from all but its owner.
#[cfg(unix)]
fn hide(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata()?;
    let mut permissions = metadata.permissions();
    if metadata.is_file() && permissions.mode() & 0o077 != 0 {
        permissions.set_mode(permissions.mode() & !0o077);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

/// A writer that counts.
struct Counted<W> {
    output: W,
    written_bytes: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.output.write(bytes)?;
        self.written_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes a capture to `output`, with not much more held back than `file_bytes`.
///
/// # Errors
/// The output's; unsupported where the format is none of [`Format::WRITABLE`].
pub fn create_writer(
    format: Format,
    output: impl Write + Send + 'static,
    file_bytes: Option<u64>,
) -> io::Result<Box<dyn Sink + Send>> {
    Ok(match (format.container, format.compression) {
        (Container::Jsonl, Compression::None) => Box::new(jsonl::Writer::plain(output, file_bytes)),
        (Container::Jsonl, Compression::Zstd) => Box::new(jsonl::Writer::zstd(output, file_bytes)?),
        (Container::Pcapng, Compression::None) => Box::new(pcapng::Writer::plain(output)),
        (Container::Pcapng, Compression::Zstd) => Box::new(pcapng::Writer::zstd(output)?),
        (Container::Pcap, _) | (_, Compression::Gzip) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                UnknownFormat(format.to_string()),
            ));
        }
    })
}
