//! What is true of a whole file: its schema, what made it, and the interfaces
//! that its packets refer to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Direction;
use crate::headers::LinkType;

/// The version of the schema that this build writes.
///
/// A reader takes any file with the same `major`, whatever its `minor`:
/// unknown record types and fields are passed over.
pub const SCHEMA: Schema = Schema { major: 1, minor: 4 };

/// A schema version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Raised when old readers would misread the file.
    pub major: u32,
    /// Raised when record types or fields are added.
    pub minor: u32,
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What made a file, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Capture {
    /// Version of the schema the file follows; none in files of other tools.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schema: Option<Schema>,
    /// The program that wrote the file, with its version, as `tcprec 0.1.0`.
    pub program: String,
    /// Name of the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The kernel's name and release, as `Linux 6.18.0`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<String>,
    /// The kernel's random id of this boot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_id: Option<String>,
    /// The kernel hooks that were attached.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hooks: Vec<String>,
    /// The hooks that could not be attached, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing_hooks: Vec<MissingHook>,
    /// The packet filter, in tcpdump's syntax.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filter: Option<String>,
    /// The way of the packets that were recorded; none where both were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<Direction>,
    /// The processes whose sockets were recorded, as the recorder's options name
    /// them; none where all were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processes: Option<String>,
    /// At most so many bytes of a packet were kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snap_bytes: Option<u32>,
    /// Of each message only so many bytes were kept, and of the rest the headers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_bytes: Option<u32>,
    /// What was added to the kernel's boot clock to give Unix time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_offset_ns: Option<i64>,
    /// When the recording began: Unix time, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_ns: Option<i64>,
    /// The command that the recording ran around (`tcprec record -- COMMAND`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub command: Vec<String>,
    /// Place of this file in a rotated series, from 0.
    #[serde(default)]
    pub sequence: u32,
}

impl Capture {
    /// The recording that the file is of; none where it does not say. The offset of the
    /// clock is measured once for each, but may come out the same again; when it began does
    /// not.
    #[must_use]
    pub fn recording(&self) -> Option<RecordingId> {
        let boot_id = self.boot_id.as_deref();
        Some(RecordingId {
            clock_offset_ns: self.clock_offset_ns?,
            started_ns: self.started_ns,
            boot_id: boot_id.map(|id| id.chars().take(BOOT_ID_CHARS).collect()),
        })
    }

    /// Whether both files are of one recording.
    #[must_use]
    pub fn is_of_same_recording(&self, other: &Self) -> bool {
        let recording = self.recording();
        recording.is_some() && recording == other.recording()
    }
}

/// What tells a recording from others. It takes little memory, whatever stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordingId {
    clock_offset_ns: i64,
    started_ns: Option<i64>,
    boot_id: Option<Box<str>>,
}

/// Of so many recordings at most it is remembered how far they were read: of a folder of
/// files more than anybody keeps.
pub const MAX_RECORDINGS: usize = 1 << 12;

/// At most so many interfaces are known, wherever a table of them is kept; what passed
/// others is not looked at.
pub const MAX_INTERFACES: usize = 1 << 16;

/// The kernel's boot ids are UUIDs of this length.
const BOOT_ID_CHARS: usize = 36;

/// A kernel hook that could not be attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingHook {
    /// The hook, as `tracepoint/syscalls/sys_exit_accept4`.
    pub hook: String,
    /// The kernel's reason.
    pub reason: String,
}

/// An interface that packets refer to by `id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Number of the interface within its capture, from 0.
    pub id: u32,
    /// Its name, as `eth0`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The layer its packets begin with.
    pub link_type: LinkType,
    /// The network namespace it is in: the inode number of its nsfs file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<u32>,
    /// From here on, at the latest, another program stood in front of the recorder's. The
    /// packets that it took are in no file, and not among what was lost.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub behind: bool,
}

impl Interface {
    /// An interface in an unknown network namespace.
    #[must_use]
    pub const fn new(id: u32, name: Option<String>, link_type: LinkType) -> Self {
        Self {
            id,
            name,
            link_type,
            netns: None,
            behind: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_differ_in_boot_clock_or_beginning() {
        let capture = |boot_id: &str, clock_offset_ns, started_ns| Capture {
            boot_id: Some(boot_id.to_owned()),
            clock_offset_ns,
            started_ns,
            ..Capture::default()
        };
        let one = capture("a", Some(1), Some(1));
        assert!(one.is_of_same_recording(&one));
        for other in [
            capture("b", Some(1), Some(1)),
            capture("a", Some(2), Some(1)),
            capture("a", Some(1), Some(2)),
        ] {
            assert!(!one.is_of_same_recording(&other), "{other:?}");
        }
        // As a capture of another tool.
        let of_none = capture("a", None, Some(1));
        assert!(!of_none.is_of_same_recording(&of_none));
    }
}
