//! Network namespaces whose interfaces are recorded: how one is named, and how
//! something is done inside.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// What the user called it; nothing where it is the recorder's own.
    name: String,
    inode: u32,
    /// A thread that is inside: entering takes a right that is given up soon.
    inside: Option<Sender<Work>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// The recorder's own.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub(crate) fn own() -> io::Result<Self> {
        const OWN: &str = "/proc/thread-self/ns/net";
        let file = File::open(OWN)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot read {OWN}: {error}")))?;
        Ok(Self {
            name: String::new(),
            inode: inode(&file)?,
            inside: None,
        })
    }

    /// The one of that name (of `ip netns`), of a process, or behind a path. It
    /// exists as long as this lives.
    ///
    /// # Errors
    /// There is none, or it cannot be entered.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let file = File::open(path(name))?;
        let inode = inode(&file)?;
        let (to_inside, work) = channel::<Work>();
        let (entered, has_entered) = channel();
        thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || {
                let result = setns(file, CloneFlags::CLONE_NEWNET);
                let is_inside = result.is_ok();
                // The other end waits for it.
                let _ = entered.send(result);
                if is_inside {
                    work.into_iter().for_each(|work| work());
                }
            })?;
        has_entered.recv().map_err(io::Error::other)??;
        Ok(Self {
            name: name.to_owned(),
            inode,
            inside: Some(to_inside),
        })
    }

    /// What the user called it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number by which records name it.
    pub(crate) fn inode(&self) -> u32 {
        self.inode
    }

    /// Does something inside.
    ///
    /// # Errors
    /// What was done did not come to its end.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(inside) = &self.inside else {
            return Ok(work());
        };
        let (done, result) = channel();
        let work = move || {
            // The other end waits for it.
            let _ = done.send(work());
        };
        let gone = |_| io::Error::other("the thread inside a network namespace died");
        inside.send(Box::new(work)).map_err(gone)?;
        result.recv().map_err(io::Error::other)
    }
}

fn inode(file: &File) -> io::Result<u32> {
    u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)
}

/// A number is a process, a word a name.
fn path(name: &str) -> PathBuf {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        Path::new("/proc").join(name).join("ns/net")
    } else {
        // An absolute path stays as it is.
        Path::new(NAMES).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_processes_and_paths() {
        let path = |name| path(name).display().to_string();
        assert_eq!(path("blue"), "/run/netns/blue");
        assert_eq!(path("811"), "/proc/811/ns/net");
        assert_eq!(path("/proc/811/ns/net"), "/proc/811/ns/net");
    }

    #[test]
    fn there_is_no_such_namespace() {
        let error = Namespace::open("tcprec-never").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
