//! The records of a capture: what the recorder writes and the analyzer reads.
//!
//! This is the schema. The field names here are the field names in every file
//! ([`crate::format`] only frames them); times are nanoseconds since the Unix
//! epoch, addresses are text, and a field that is not known is left out.
//!
//! A record states a fact. What follows from facts (which process owns an
//! endpoint, which packets make a connection) is the analyzer's to derive.

mod capture;
mod event;
mod loss;
mod packet;
mod process;

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

pub use capture::{
    Capture, Interface, MAX_INTERFACES, MAX_RECORDINGS, MissingHook, RecordingId, SCHEMA, Schema,
};
pub use event::{Event, EventKind, TcpFacts, TcpState};
pub use loss::{End, Loss, LossCause, Lost};
pub use packet::{Direction, KernelParse, Packet};
pub use process::{Process, ProcessId, Provenance};

/// One entry of a capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record<'a> {
    /// What made this file, and how; first in every file. There are few, and all
    /// records take as much memory as the largest.
    Capture(Box<Capture>),
    /// An interface that packets refer to.
    Interface(Interface),
    /// A process that events refer to.
    Process(Process),
    /// A TCP packet as a hook saw it.
    Packet(Packet<'a>),
    /// What was not recorded, and why.
    Loss(Loss),
    /// The totals of a recording that ended in good order.
    End(End),
    /// What the kernel did to a TCP socket; its `type` is the event's kind.
    #[serde(untagged)]
    Event(Event),
}

impl Record<'_> {
    /// The same record, with bytes of its own: it outlives the source it is from.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        match self {
            Self::Capture(capture) => Record::Capture(capture),
            Self::Interface(interface) => Record::Interface(interface),
            Self::Process(process) => Record::Process(process),
            Self::Packet(packet) => Record::Packet(Packet {
                data: Cow::Owned(packet.data.into_owned()),
                ..packet
            }),
            Self::Loss(loss) => Record::Loss(loss),
            Self::End(end) => Record::End(end),
            Self::Event(event) => Record::Event(event),
        }
    }

    /// How much memory it takes beside its place, more or less.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let all = |texts: &[String]| {
            let texts = texts.iter().map(|text| size_of::<String>() + text.len());
            texts.sum::<usize>()
        };
        match self {
            Self::Packet(packet) => packet.data.len(),
            Self::Event(_) | Self::Loss(_) => 0,
            Self::End(end) => end.reason.len(),
            Self::Interface(interface) => of(&interface.name),
            Self::Process(process) => {
                let named = process.comm.len() + of(&process.exe) + all(&process.argv);
                named + of(&process.cgroup) + of(&process.container)
            }
            Self::Capture(capture) => {
                let missing = capture.missing_hooks.iter();
                let missing = missing.map(|it| size_of_val(it) + it.hook.len() + it.reason.len());
                let host = of(&capture.host) + of(&capture.kernel) + of(&capture.boot_id);
                let what = of(&capture.filter) + of(&capture.processes) + capture.program.len();
                let hooks = all(&capture.hooks) + missing.sum::<usize>();
                size_of::<Capture>() + host + what + hooks + all(&capture.command)
            }
        }
    }

    /// When it happened; none where a record is true at any time.
    #[must_use]
    pub const fn ts_ns(&self) -> Option<i64> {
        match self {
            Self::Packet(Packet { ts_ns, .. })
            | Self::Event(Event { ts_ns, .. })
            | Self::Loss(Loss { last_ns: ts_ns, .. })
            | Self::End(End { ts_ns, .. }) => Some(*ts_ns),
            Self::Capture(_) | Self::Interface(_) | Self::Process(_) => None,
        }
    }
}

/// Words of the schema show as they stand in files.
macro_rules! display_as_written {
    ($($word:ty),*) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    )*};
}

display_as_written!(Direction, EventKind, TcpState, LossCause, Lost, Provenance);
