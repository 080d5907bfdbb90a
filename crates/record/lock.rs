//! One recorder for each file: whoever writes one holds its lock (flock(2)). The kernel
//! ends a lock with its holder, however that ends, so none is left over; and it is the
//! file's own, so nothing else stands in the folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use tcprec_shared::format::is_standard_stream;

/// Why a file cannot be written that another recorder writes, with the remedy.
pub(crate) const IS_HELD: &str =
    "another recorder is writing to it; stop that one first, or give another name";

/// The lock of a file that is written, and a hold on the file: its name may be gone from its
/// folder by now, or another file's.
#[derive(Debug)]
pub(crate) struct Lock {
    /// None of what several may write to, as a FIFO or a device.
    file: Option<File>,
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
            return Ok(Self { file: None });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, IS_HELD))
            }
            // There are file systems that know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { file: Some(file) }),
        }
    }

    /// Cuts the file to so many bytes, where that can be done.
    pub(crate) fn cut(&self, bytes: u64) {
        if let Some(file) = &self.file {
            // A file that can't be cut is read up to there all the same.
            let _ = file.set_len(bytes);
        }
    }

    /// Of a file that was removed from its folder, which it is not gone from the disk with
    /// as long as it is written: a path to it.
    pub(crate) fn removed(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        let is_removed = file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        // proc_pid_fd(5).
        is_removed.then(|| format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()).into())
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
    fn the_file_itself_is_cut_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cap.jsonl");
        fs::write(&path, "a record").unwrap();
        let lock = Lock::take(&path).unwrap();
        assert_eq!(lock.removed(), None);
        let moved = folder.path().join("moved.jsonl");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(lock.removed(), None);
        fs::write(&path, "another's").unwrap();
        lock.cut(1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        fs::remove_file(&moved).unwrap();
        let removed = lock.removed().unwrap();
        assert_eq!(fs::read_to_string(removed).unwrap(), "a");
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
