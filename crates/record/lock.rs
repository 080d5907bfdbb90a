//! One recorder for each file: whoever writes one holds its lock (flock(2)). The kernel
//! ends a lock with its holder, however that ends, so none is left over; and it is the
//! file's own, so nothing else stands in the folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tcprec_shared::format::is_standard_stream;

/// Why a file cannot be written that another recorder writes, with the remedy.
pub(crate) const IS_HELD: &str =
    "another recorder is writing to it; stop that one first, or give another name";

/// The lock of a file that is written.
#[derive(Debug)]
pub(crate) struct Lock {
    /// None of what several may write to, as a FIFO or a device, and where the file system
    /// knows no locks.
    _file: Option<File>,
}

impl Lock {
    /// Takes the lock of a file, which is created where it is not there yet, as the
    /// capture will be: only its owner may read it.
    ///
    /// # Errors
    /// Another recorder's, or the operating system's.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let is_other = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        if is_other || is_standard_stream(path) {
            return Ok(Self { _file: None });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let _file = match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, IS_HELD));
            }
            Err(TryLockError::Error(_)) => None,
        };
        Ok(Self { _file })
    }
}

/// Whether a recorder holds the lock of a file.
pub(crate) fn is_held(path: &Path) -> bool {
    // To open a FIFO would wait for who writes to it.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let tried = File::open(path).map(|file| file.try_lock_shared());
    matches!(tried, Ok(Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_file_has_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cap.jsonl");
        assert!(!is_held(&path));
        let lock = Lock::take(&path).unwrap();
        assert!(is_held(&path));
        let refused = Lock::take(&path).unwrap_err();
        assert_eq!(refused.to_string(), IS_HELD);
        drop(lock);
        assert!(!is_held(&path));
        Lock::take(&path).unwrap();
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cap.jsonl");
        fs::write(&path, "a record").unwrap();
        let _lock = Lock::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a record");
    }

    #[test]
    fn several_may_write_to_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("cap.jsonl");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/null"), Path::new("-")] {
            let _lock = Lock::take(path).unwrap();
            assert!(!is_held(path));
            Lock::take(path).unwrap();
        }
    }
}
