//! Processes, and how one is known to own an endpoint.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What names a process for as long as a capture lives: pids are used again,
/// a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id (the kernel's tgid) in the initial pid namespace.
    pub pid: u32,
    /// When the process started.
    pub start_ns: i64,
}

/// Who a process is. A later record of the same process (after an exec)
/// replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Which process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// Its parent's pid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ppid: Option<u32>,
    /// The user it runs as (effective uid).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// The kernel's short name of it, at most 15 bytes.
    pub comm: String,
    /// The path of its program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exe: Option<String>,
    /// Its arguments; long ones are cut.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub argv: Vec<String>,
    /// The path of its control group.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cgroup: Option<String>,
    /// The container it runs in, as told by the control group's path: its id,
    /// or the name of a machine of systemd-nspawn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
}

impl Process {
    /// A process of which no more is known.
    #[must_use]
    pub const fn nameless(id: ProcessId) -> Self {
        Self {
            id,
            ppid: None,
            uid: None,
            comm: String::new(),
            exe: None,
            argv: Vec::new(),
            cgroup: None,
            container: None,
        }
    }
}

/// How the owner of an endpoint is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Provenance {
    /// It asked for the connection.
    Connect,
    /// It accepted the connection.
    Accept,
    /// It did something to the socket, as closing it; no more is known.
    Cookie,
    /// It held the socket when the recording began.
    Scan,
    /// It uses the socket, and got it from the process that opened it.
    Inherited,
    /// It listens on the port; another process may have accepted.
    Guess,
}

impl Provenance {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}
