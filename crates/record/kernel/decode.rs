//! From the raw records of `bpf/tcprec.h` to records: pure, and total on any bytes.

use std::borrow::Cow;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::ether_type;
use tcprec_shared::record::{
    Direction, Event, EventKind, KernelParse, Packet, ProcessId, TcpFacts, TcpState,
};
use thiserror::Error;

use super::host::Clock;
use super::interfaces::Recorded;
use super::raw::{split, text};
use super::skeleton::events::types as events;
use super::skeleton::packets::types as packets;

/// What a raw record of the events says.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// An event, with the process in whose context it happened.
    Event(Event, Option<Task>),
    Exec(Exec),
}

/// A process as the kernel side reports it with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) id: ProcessId,
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: String,
    pub(crate) cgroup_id: u64,
}

/// A process that started a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exec {
    pub(crate) ts_ns: i64,
    pub(crate) task: Task,
    pub(crate) filename: String,
    pub(crate) argv: Vec<String>,
}

/// Why a raw record makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum DecodeError {
    #[error("a record of {0} bytes is too short")]
    Short(usize),
    #[error("a packet of interface {0}, which is not recorded")]
    Interface(u32),
    #[error("kind {0} is unknown")]
    Kind(u32),
}

/// What a raw record of the packets of a namespace says. Its bytes stay where they
/// are.
pub(crate) fn decode_packet<'a>(
    raw: &'a [u8],
    netns: u32,
    clock: Clock,
    recorded: &Recorded,
) -> Result<Packet<'a>, DecodeError> {
    let (record, bytes) =
        split::<packets::packet_record>(raw).ok_or(DecodeError::Short(raw.len()))?;
    let captured = record.captured_bytes as usize;
    let bytes = bytes.get(..captured).ok_or(DecodeError::Short(raw.len()))?;
    let (interface, needs_ether) = recorded
        .find(netns, record.ifindex)
        .ok_or(DecodeError::Interface(record.ifindex))?;
    let headers = record.headers;
    let (data, added) = if needs_ether {
        let data = with_ether(headers.ip_version, bytes);
        let added = data.len() - bytes.len();
        (Cow::Owned(data), u32::try_from(added).unwrap_or(0))
    } else {
        (Cow::Borrowed(bytes), 0)
    };
    Ok(Packet {
        ts_ns: clock.unix_ns(record.boot_ns),
        interface,
        direction: direction(record.direction.0),
        wire_bytes: record.wire_bytes.wrapping_add(added),
        cookie: known(record.cookie),
        kernel: Some(KernelParse {
            src: endpoint(headers.ip_version, headers.src, headers.sport),
            dst: endpoint(headers.ip_version, headers.dst, headers.dport),
            flags: headers.flags,
            header_bytes: headers.header_bytes.wrapping_add(added),
            payload_bytes: headers.payload_bytes,
        }),
        data,
    })
}

/// A packet that begins with its IP header, behind an Ethernet header as
/// loopback has it.
fn with_ether(family: u8, bytes: &[u8]) -> Vec<u8> {
    let ether_type = if family == 4 {
        ether_type::IPV4
    } else {
        ether_type::IPV6
    };
    let mut data = vec![0; 12];
    data.extend_from_slice(&ether_type.to_be_bytes());
    data.extend_from_slice(bytes);
    data
}

/// What a raw record of the events says.
pub(crate) fn decode_event(raw: &[u8], clock: Clock) -> Result<Decoded, DecodeError> {
    let kind = raw
        .get(offset_of!(events::socket_event, kind)..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| events::event_kind(u32::from_ne_bytes(*bytes)))
        .ok_or(DecodeError::Short(raw.len()))?;
    if kind == events::event_kind::EVENT_EXEC {
        return exec(raw, clock).map(Decoded::Exec);
    }
    let (record, _) = split::<events::socket_event>(raw).ok_or(DecodeError::Short(raw.len()))?;
    let task = task(&record.task, clock);
    let event = Event {
        kind: event_kind(kind)?,
        ts_ns: clock.unix_ns(record.boot_ns),
        cookie: known(record.cookie),
        netns: record.netns,
        local: endpoint(record.ip_version, record.local, record.local_port),
        remote: endpoint(record.ip_version, record.remote, record.remote_port),
        process: task.as_ref().map(|task| task.id),
        tid: Some(record.task.tid).filter(|tid| *tid != record.task.pid),
        old_state: state(record.old_state),
        new_state: state(record.new_state),
        direction: direction(record.direction.0),
        tcp: (record.has_facts != 0).then(|| TcpFacts {
            // The kernel keeps it times eight (tcp_sock.srtt_us).
            srtt_ns: u64::from(record.srtt_us) * 1000 / 8,
            sent_bytes: record.sent_bytes,
            acked_bytes: record.acked_bytes,
            received_bytes: record.received_bytes,
            retransmitted_packets: record.retransmitted_packets,
        }),
    };
    Ok(Decoded::Event(event, task))
}

/// The events of a scan: whole records, one behind the other.
pub(crate) fn decode_scan(
    raw: &[u8],
    clock: Clock,
) -> impl Iterator<Item = Result<Decoded, DecodeError>> {
    raw.chunks(size_of::<events::socket_event>())
        .map(move |record| decode_event(record, clock))
}

fn exec(raw: &[u8], clock: Clock) -> Result<Exec, DecodeError> {
    let short = || DecodeError::Short(raw.len());
    let argv = raw.get(offset_of!(events::exec_event, argv)..);
    let argv = argv.ok_or_else(short)?;
    // The tail is cut to its length: fill the value up.
    let mut whole = [0; size_of::<events::exec_event>()];
    for (to, from) in whole.iter_mut().zip(raw) {
        *to = *from;
    }
    let (record, _) = split::<events::exec_event>(&whole).ok_or_else(short)?;
    let argv = argv.get(..record.argv_bytes as usize).ok_or_else(short)?;
    // The last argument may have been cut before its zero byte.
    let argv = argv.strip_suffix(&[0]).unwrap_or(argv);
    Ok(Exec {
        ts_ns: clock.unix_ns(record.boot_ns),
        task: task(&record.task, clock).ok_or_else(short)?,
        filename: text(&record.filename),
        argv: if argv.is_empty() {
            Vec::new()
        } else {
            argv.split(|byte| *byte == 0).map(text).collect()
        },
    })
}

fn task(task: &events::task, clock: Clock) -> Option<Task> {
    (task.pid != 0).then(|| Task {
        id: ProcessId {
            pid: task.pid,
            start_ns: clock.unix_ns(task.start_boot_ns),
        },
        ppid: task.ppid,
        uid: task.uid,
        comm: text(&task.comm),
        cgroup_id: task.cgroup_id,
    })
}

fn endpoint(family: u8, addr: [u8; 16], port: u16) -> Endpoint {
    let [a, b, c, d, ..] = addr;
    let addr = if family == 4 {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(addr))
    };
    Endpoint::new(addr, port)
}

fn known(cookie: u64) -> Option<u64> {
    (cookie != 0).then_some(cookie)
}

fn direction(direction: u32) -> Option<Direction> {
    match events::direction(direction) {
        events::direction::DIRECTION_IN => Some(Direction::In),
        events::direction::DIRECTION_OUT => Some(Direction::Out),
        _ => None,
    }
}

fn event_kind(kind: events::event_kind) -> Result<EventKind, DecodeError> {
    Ok(match kind {
        events::event_kind::EVENT_CONNECT => EventKind::Connect,
        events::event_kind::EVENT_ACCEPT => EventKind::Accept,
        events::event_kind::EVENT_LISTEN => EventKind::Listen,
        events::event_kind::EVENT_STATE => EventKind::State,
        events::event_kind::EVENT_RETRANSMIT => EventKind::Retransmit,
        events::event_kind::EVENT_RESET => EventKind::Reset,
        events::event_kind::EVENT_CLOSE => EventKind::Close,
        events::event_kind::EVENT_SCAN => EventKind::Scan,
        events::event_kind::EVENT_HANDOVER => EventKind::Handover,
        other => return Err(DecodeError::Kind(other.0)),
    })
}

/// By the kernel's include/net/tcp_states.h.
pub(super) fn state(state: u8) -> Option<TcpState> {
    Some(match state {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        12 => TcpState::NewSynRecv,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::{ptr, slice};

    use super::super::interfaces::{Device, Layer};
    use super::*;

    const CLOCK: Clock = Clock { offset_ns: 1000 };

    /// A record as the programs hand it over.
    fn raw<T: Copy>(record: &T) -> Vec<u8> {
        // SAFETY: a value of the contract has no padding (kernel/raw.rs).
        unsafe { slice::from_raw_parts(ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
    }

    fn task_of(pid: u32, tid: u32) -> events::task {
        let mut task = events::task {
            start_boot_ns: 5,
            pid,
            tid,
            ..Default::default()
        };
        task.comm[..6].copy_from_slice(b"nginx\0");
        task
    }

    #[test]
    fn an_event_has_what_the_kernel_knew_and_who_acted() {
        let record = events::socket_event {
            boot_ns: 7,
            kind: events::event_kind::EVENT_STATE,
            task: task_of(811, 812),
            ip_version: 4,
            local: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            local_port: 80,
            old_state: 3,
            new_state: 1,
            has_facts: 1,
            srtt_us: 40,
            ..Default::default()
        };
        let Ok(Decoded::Event(event, Some(task))) = decode_event(&raw(&record), CLOCK) else {
            panic!("an event of a process");
        };
        assert_eq!((event.kind, event.ts_ns), (EventKind::State, 1007));
        assert_eq!(event.local.to_string(), "10.0.0.1:80");
        assert_eq!(event.old_state, Some(TcpState::SynRecv));
        assert_eq!(event.new_state, Some(TcpState::Established));
        assert_eq!((event.cookie, event.direction), (None, None));
        // tcp_sock has it times eight.
        assert_eq!(event.tcp.unwrap().srtt_ns, 5000);
        assert_eq!((event.process, event.tid), (Some(task.id), Some(812)));
        assert_eq!((task.comm.as_str(), task.id.start_ns), ("nginx", 1005));
        let by_kernel = events::socket_event {
            task: Default::default(),
            has_facts: 0,
            ..record
        };
        let Ok(Decoded::Event(event, None)) = decode_event(&raw(&by_kernel), CLOCK) else {
            panic!("an event of no process");
        };
        assert_eq!((event.process, event.tid, event.tcp), (None, None, None));
    }

    #[test]
    fn arguments_are_parted_by_zeros_and_may_be_cut() {
        let told = |argv: &[u8], argv_bytes: u32| {
            let record = events::exec_event {
                kind: events::event_kind::EVENT_EXEC,
                argv_bytes,
                task: task_of(811, 811),
                filename: [b'x'; 256],
                argv: [0; 1024],
                ..Default::default()
            };
            let mut raw = raw(&record);
            raw.truncate(offset_of!(events::exec_event, argv));
            raw.extend_from_slice(argv);
            match decode_event(&raw, CLOCK) {
                Ok(Decoded::Exec(exec)) => Some(exec.argv),
                Ok(Decoded::Event(..)) => panic!("an exec"),
                Err(_) => None,
            }
        };
        assert_eq!(told(b"", 0).unwrap(), [""; 0]);
        assert_eq!(told(b"ls\0-l\0", 6).unwrap(), ["ls", "-l"]);
        assert_eq!(told(b"ls\0\0-", 5).unwrap(), ["ls", "", "-"]);
        assert_eq!(told(b"ls\0", 4), None);
    }

    #[test]
    fn any_bytes_have_a_meaning_or_none() {
        let longest = size_of::<events::exec_event>();
        for length in 0..longest {
            for kind in 0..=11 {
                let mut raw = vec![0xff; length];
                if let Some(at) = raw.get_mut(8..12) {
                    at.copy_from_slice(&u32::to_ne_bytes(kind));
                }
                let decoded = decode_event(&raw, CLOCK);
                let is_short = length < size_of::<events::socket_event>();
                assert!(decoded.is_err() || !is_short, "{kind} of {length} bytes");
            }
        }
        let device = |index, layer| Device {
            index,
            netns: 1,
            name: String::new(),
            layer: Ok(layer),
        };
        let recorded = Recorded::new(vec![device(1, Layer::Ether), device(2, Layer::Ip)]);
        let record = packets::packet_record {
            ifindex: 2,
            wire_bytes: u32::MAX,
            captured_bytes: 1,
            headers: packets::headers {
                header_bytes: u32::MAX,
                ..Default::default()
            },
            ..Default::default()
        };
        let mut raw = raw(&record);
        let decode = |raw: &[u8]| decode_packet(raw, 1, CLOCK, &recorded).map(|it| it.data.len());
        assert_eq!(decode(&raw), Err(DecodeError::Short(raw.len())));
        raw.push(0x60);
        assert_eq!(decode(&raw), Ok(15));
    }
}
