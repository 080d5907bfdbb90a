//! The captures that a command reads, as one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tcprec_shared::format::{self, Input};
use tcprec_shared::stream::ReadError;

use super::{Failure, warn};

/// Where they are: a path, or several.
#[derive(Debug, Clone)]
pub(super) struct Captures(Vec<PathBuf>);

impl Captures {
    /// The first, and others.
    pub(super) fn new(first: PathBuf, others: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut paths = vec![first];
        paths.extend(others);
        Self(paths)
    }

    /// Opens them.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn open(&self) -> Result<Input, Failure> {
        let opened = format::open_all(&self.0);
        let input = opened.map_err(|error| match self.0.len() {
            1 => self.unreadable(&error),
            // It says itself which.
            _ => Failure::Usage(format!("{error}{}", remedy(&error))),
        })?;
        let doubled = input.doubled_files();
        if !doubled.is_empty() {
            let names = doubled.iter().map(|path| path.display().to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            warn(&format_args!(
                "{self}: the same recording again, skipped: {names}"
            ));
        }
        Ok(input)
    }

    /// What to do about an error in the middle of them.
    ///
    /// # Errors
    /// They cannot be read at all. All others are warned of here: what was
    /// read before a cut is good.
    pub(super) fn read_on(&self, error: &ReadError) -> Result<(), Failure> {
        match error {
            ReadError::Unsupported(_) => return Err(self.unreadable(error)),
            ReadError::Io(_) => warn(&format_args!("{self}: cannot read any further: {error}")),
            ReadError::Truncated { .. } => {
                warn(&format_args!(
                    "{self}: {error}; everything before it was read"
                ));
            }
            ReadError::Damaged { .. } => warn(&format_args!("{self}: {error}; skipped")),
        }
        Ok(())
    }

    fn unreadable(&self, error: &ReadError) -> Failure {
        Failure::Usage(format!("{self}: {error}{}", remedy(error)))
    }
}

/// What can be done about an error, if anything.
fn remedy(error: &ReadError) -> &'static str {
    match error {
        ReadError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "; only its recorder (root) may read a recording: make it yours with sudo chown"
        }
        _ => "",
    }
}

impl fmt::Display for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [first, others @ ..] if !others.is_empty() => {
                write!(f, "{} and {} more", first.display(), others.len())
            }
            all => all.iter().try_for_each(|path| path.display().fmt(f)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_a_recording_is_told_how_to() {
        let remedy = |kind: io::ErrorKind| remedy(&ReadError::Io(kind.into()));
        assert!(remedy(io::ErrorKind::PermissionDenied).contains("chown"));
        assert_eq!(remedy(io::ErrorKind::NotFound), "");
    }
}
