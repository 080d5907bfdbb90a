//! The records of a capture: what the recorder writes and the analyzer reads.
//!
//! This is the schema. The field names here are the field names in every file
//! ([`crate::format`] only frames them); times are nanoseconds since the Unix
//! epoch, addresses are text, and a field that is not known is left out.
//!
//! A record states a fact. What follows from facts (which process owns an
//! endpoint, which packets make a connection) is the analyzer's to derive.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::Endpoint;
use crate::headers::{Fragment, Headers, LinkType, Other, Segment};

/// The version of the schema that this build writes.
///
/// A reader takes any file with the same `major`, whatever its `minor`:
/// unknown record types and fields are passed over.
pub const SCHEMA: Schema = Schema { major: 1, minor: 2 };

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

/// One entry of a capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record<'a> {
    /// What made this file, and how; first in every file.
    Capture(Capture),
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
    /// The command that the recording ran around (`tcprec record -- COMMAND`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub command: Vec<String>,
    /// Place of this file in a rotated series, from 0.
    #[serde(default)]
    pub sequence: u32,
}

impl Capture {
    /// Whether both files are of one recording: the offset of the clock, to
    /// the nanosecond, is measured once for each.
    #[must_use]
    pub fn is_of_same_recording(&self, other: &Self) -> bool {
        self.clock_offset_ns.is_some()
            && (&self.boot_id, self.clock_offset_ns) == (&other.boot_id, other.clock_offset_ns)
    }

    /// Whether this file goes on with the recording of an earlier one.
    #[must_use]
    pub fn continues(&self, earlier: &Self) -> bool {
        self.is_of_same_recording(earlier) && self.sequence > earlier.sequence
    }
}

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
}

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

/// The way of a packet, seen from the recorded host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the host.
    In,
    /// Out of the host. On loopback each packet passes both ways and is kept as `out`.
    Out,
}

/// A packet as a hook saw it, cut to the snap length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet<'a> {
    /// When the hook saw it.
    pub ts_ns: i64,
    /// The [`Interface::id`] it passed.
    pub interface: u32,
    /// Its way, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<Direction>,
    /// Its length before it was cut, from the link header on.
    pub wire_bytes: u32,
    /// Cookie of the local socket that sent it, where the kernel knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cookie: Option<u64>,
    /// What the kernel side made of its headers; none in captures of other tools.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<KernelParse>,
    /// The bytes that were kept, from the link header on.
    #[serde(with = "base64_bytes")]
    pub data: Cow<'a, [u8]>,
}

/// What the kernel side made of a packet's headers, to filter and to cut by.
/// The userspace parser must come to the same from the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelParse {
    /// The sender; port 0 in a fragment that is not the first.
    pub src: Endpoint,
    /// The receiver; port 0 in a fragment that is not the first.
    pub dst: Endpoint,
    /// The TCP flags (RFC 9293 section 3.1, without the reserved bits); 0 in a
    /// fragment that is not the first.
    pub flags: u8,
    /// Where the TCP payload begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length of the TCP payload on the wire; in a fragment, of this fragment's part.
    pub payload_bytes: u32,
}

impl KernelParse {
    /// What the kernel side must have made of a packet that has these headers;
    /// none where that is no TCP to it. The kernel goes into no tunnel.
    #[must_use]
    pub const fn expected(headers: &Headers<'_>) -> Option<Self> {
        let (&Headers::Segment(Segment {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
            tunnels: 0,
            ..
        })
        | &Headers::Fragment(Fragment {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
            tunnels: 0,
            ..
        })) = headers
        else {
            return None;
        };
        Some(Self {
            src,
            dst,
            flags: flags.0,
            header_bytes,
            payload_bytes,
        })
    }

    /// Whether the userspace parser came to the same.
    ///
    /// Where headers were cut off there is nothing to compare, and so nothing
    /// to disagree on.
    #[must_use]
    pub fn agrees(&self, headers: &Headers<'_>) -> bool {
        matches!(headers, Headers::Other(Other::Cut)) || Self::expected(headers) == Some(*self)
    }
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A process asked for a connection.
    Connect,
    /// A process took a connection from a listening socket.
    Accept,
    /// A process began to listen.
    Listen,
    /// The connection came to another state that has no kind of its own.
    State,
    /// The kernel sent a segment again.
    Retransmit,
    /// A reset was sent (direction `out`) or received (`in`).
    Reset,
    /// The connection came to its end.
    Close,
    /// Another process than before uses the socket: it received from it, or
    /// its program was started with it as input or output.
    Handover,
    /// Nothing happened: the socket existed before the recording, or before
    /// this file of a rotated series.
    Scan,
}

/// One thing the kernel did to a TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    pub ts_ns: i64,
    /// The socket's cookie: the same in all records of one socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cookie: Option<u64>,
    /// The socket's network namespace: the inode number of its nsfs file.
    pub netns: u32,
    /// The socket's own end.
    pub local: Endpoint,
    /// The other end; port 0 when listening.
    pub remote: Endpoint,
    /// The process that did it. None where the kernel acted on its own (a
    /// timer, an arriving packet): the task it interrupted has no part in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<ProcessId>,
    /// The thread of the process, where it was not its first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tid: Option<u32>,
    /// The state it left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old_state: Option<TcpState>,
    /// The state it came to, or is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_state: Option<TcpState>,
    /// Way of a reset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<Direction>,
    /// What the kernel knew of the connection then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp: Option<TcpFacts>,
}

/// What the kernel knew of a connection (as tcp_info of linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TcpFacts {
    /// Smoothed round-trip time; 0 before the first measurement.
    pub srtt_ns: u64,
    /// Payload bytes sent, with those sent again.
    pub sent_bytes: u64,
    /// Bytes of ours that the other end acknowledged; the kernel counts SYN
    /// and FIN as one byte each.
    pub acked_bytes: u64,
    /// Bytes received in order; the kernel counts FIN as one byte.
    pub received_bytes: u64,
    /// Segments sent again.
    pub retransmitted_packets: u32,
}

/// States of a TCP connection (RFC 9293 section 3.3.2), as Linux names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

/// Why something was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The kernel's ring buffer had no room.
    RingFull,
    /// The kernel could not copy the packet's bytes.
    Snap,
    /// The kernel did not run the program, because one ran on that CPU already.
    Recursion,
    /// The recorder could not make sense of what the kernel sent.
    Decode,
    /// The file could not be written.
    Writer,
}

/// What kind of record was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// Packets.
    Packets,
    /// Events.
    Events,
    /// Processes that started a program: their path and arguments.
    Processes,
}

impl Lost {
    /// The word for one of them.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Packets => "packet",
            Self::Events => "event",
            Self::Processes => "program start",
        }
    }
}

/// What was not recorded, how much of it, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Why.
    pub cause: LossCause,
    /// What.
    pub lost: Lost,
    /// The CPU that lost it; none where it was lost after the kernel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<u32>,
    /// How many.
    pub count: u64,
    /// How many bytes of packets, as they would have been on the wire.
    pub bytes: u64,
    /// When the first was lost.
    pub first_ns: i64,
    /// When the last was lost.
    pub last_ns: i64,
}

/// The totals of a recording that ended in good order, or of all its files up
/// to here. For packets and for events, `seen = recorded + lost`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct End {
    /// When the recording ended.
    pub ts_ns: i64,
    /// Why it ended, as `interrupted`.
    pub reason: String,
    /// Only the file ended: the recording goes on in the next one of the series.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub continued: bool,
    /// Packets that passed the hooks and the filter.
    pub seen_packets: u64,
    /// Packets recorded, in all files of a series.
    pub recorded_packets: u64,
    /// Packets lost, for any cause.
    pub lost_packets: u64,
    /// Events that the hooks saw and the scan found. The sockets told again at
    /// the head of a rotated file are not among them.
    pub seen_events: u64,
    /// Events recorded.
    pub recorded_events: u64,
    /// Events lost, for any cause.
    pub lost_events: u64,
    /// Length on the wire of the packets recorded.
    pub wire_bytes: u64,
}

/// How the owner of an endpoint is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Cookie => "cookie",
            Self::Scan => "scan",
            Self::Inherited => "inherited",
            Self::Guess => "guess",
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Words of the schema show as they stand in files.
macro_rules! display_as_written {
    ($($word:ty),*) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )*};
}

display_as_written!(Direction, EventKind, TcpState, LossCause, Lost);

/// Packet bytes as base64 text (RFC 4648 section 4, padded).
mod base64_bytes {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::display::Base64Display;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Base64Display::new(bytes, &STANDARD))
    }

    pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Cow<'a, [u8]>, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Cow::Owned)
            .map_err(D::Error::custom)
    }
}
