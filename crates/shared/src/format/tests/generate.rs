//! Streams of records, made up.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::flow::Endpoint;
use crate::headers::{self, LinkType};
use crate::record::*;
use crate::stream::{Annotation, Owner};

/// Records as a recording may give them, and what is annotated to its packets.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) records: Vec<Record<'static>>,
    owner: Option<(Process, Provenance)>,
    peer: Option<(Process, Provenance)>,
    community_id: Option<String>,
}

impl Stream {
    pub(super) fn annotation(&self) -> Option<Annotation<'_>> {
        fn owner(owner: &Option<(Process, Provenance)>) -> Option<Owner<'_>> {
            let (process, provenance) = owner.as_ref()?;
            Some(Owner {
                process,
                provenance: *provenance,
            })
        }
        Some(Annotation {
            owner: owner(&self.owner),
            peer: owner(&self.peer),
            community_id: self.community_id.as_ref()?,
            number: 1,
        })
    }
}

/// A small stream with a record of each kind.
pub(super) fn example() -> Stream {
    let id = ProcessId {
        pid: 811,
        start_ns: 1_700_000_000_000_000_000,
    };
    let process = Process {
        ppid: Some(1),
        uid: Some(33),
        comm: "nginx".into(),
        exe: Some("/usr/sbin/nginx".into()),
        argv: vec!["nginx:".into(), "worker\nprocess".into()],
        ..Process::nameless(id)
    };
    let ts_ns = 1_700_000_001_123_456_789;
    let local = Endpoint::new(IpAddr::from([10, 0, 0, 2]), 80);
    let remote = Endpoint::new(IpAddr::from([10, 0, 0, 1]), 40000);
    let packet = Packet {
        direction: Some(Direction::Out),
        wire_bytes: 54,
        cookie: Some(17),
        ..Packet::new(ts_ns, 0, ethernet(local, remote, 0x12, 0))
    };
    let expected = KernelParse::expected(&headers::parse(LinkType::ETHERNET, &packet.data, 54));
    let records = vec![
        Record::Capture(Box::new(Capture {
            schema: Some(SCHEMA),
            program: "tcprec 0.1.0".into(),
            kernel: Some("Linux 6.18.0".into()),
            hooks: vec!["tcx/ingress".into()],
            snap_bytes: Some(256),
            ..Capture::default()
        })),
        Record::Interface(Interface {
            netns: Some(4_026_531_840),
            ..Interface::new(0, Some("eth0".into()), LinkType::ETHERNET)
        }),
        Record::Process(process.clone()),
        Record::Event(Event {
            cookie: Some(17),
            process: Some(id),
            tid: Some(4711),
            old_state: Some(TcpState::NewSynRecv),
            new_state: Some(TcpState::Established),
            tcp: Some(TcpFacts::default()),
            ..Event::new(EventKind::Accept, ts_ns - 10, 4_026_531_840, local, remote)
        }),
        Record::Packet(Packet {
            kernel: expected,
            ..packet.clone()
        }),
        Record::Loss(Loss {
            cause: LossCause::RingFull,
            lost: Lost::Packets,
            cpu: Some(3),
            count: 12,
            bytes: 18_000,
            first_ns: ts_ns,
            last_ns: ts_ns + 5,
        }),
        // The kernel's parse is missing, which is not what is expected.
        Record::Packet(Packet {
            ts_ns: ts_ns + 6,
            direction: Some(Direction::In),
            cookie: None,
            ..packet
        }),
        Record::End(End {
            ts_ns: ts_ns + 7,
            reason: "interrupted".into(),
            seen_packets: 14,
            recorded_packets: 2,
            lost_packets: 12,
            ..End::default()
        }),
    ];
    Stream {
        records,
        owner: Some((process.clone(), Provenance::Accept)),
        peer: Some((process, Provenance::Guess)),
        community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into()),
    }
}

/// An Ethernet frame with a TCP segment over IPv4.
fn ethernet(src: Endpoint, dst: Endpoint, flags: u8, payload_bytes: u16) -> Vec<u8> {
    let octets = |endpoint: Endpoint| match endpoint.addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((40 + payload_bytes).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(octets(src));
    frame.extend(octets(dst));
    frame.extend(src.port.to_be_bytes());
    frame.extend(dst.port.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + usize::from(payload_bytes), b'x');
    frame
}

pub(super) fn stream() -> impl Strategy<Value = Stream> {
    let interfaces = vec(interface(), 1..4);
    (
        capture().boxed(),
        interfaces,
        owner().boxed(),
        owner().boxed(),
        option::of(text()),
    )
        .prop_flat_map(|(capture, mut interfaces, owner, peer, community_id)| {
            for (id, interface) in interfaces.iter_mut().enumerate() {
                interface.id = 7 * id as u32;
            }
            let ids: Vec<_> = interfaces.iter().map(|interface| interface.id).collect();
            let head = [Record::Capture(Box::new(capture))];
            let head: Vec<_> = head
                .into_iter()
                .chain(interfaces.into_iter().map(Record::Interface))
                .collect();
            vec(record(ids), 0..12).prop_map(move |rest| Stream {
                records: head.iter().cloned().chain(rest).collect(),
                owner: owner.clone(),
                peer: peer.clone(),
                community_id: community_id.clone(),
            })
        })
}

/// Boxed, as what proptest nests would not fit on a thread's stack.
fn record(interfaces: Vec<u32>) -> impl Strategy<Value = Record<'static>> {
    prop_oneof![
        8 => packet(interfaces).prop_map(Record::Packet).boxed(),
        4 => event().prop_map(Record::Event).boxed(),
        2 => process().prop_map(Record::Process).boxed(),
        1 => loss().prop_map(Record::Loss).boxed(),
        1 => capture().prop_map(|capture| Record::Capture(capture.into())).boxed(),
        1 => end().prop_map(Record::End).boxed(),
    ]
}

/// Any text, with what formats trip over.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,12}",
        "[a-z =\n\0\"\\\\]{0,20}",
        Just("x".repeat(2000))
    ]
}

fn capture() -> impl Strategy<Value = Capture> {
    let missing = (text(), text()).prop_map(|(hook, reason)| MissingHook { hook, reason });
    (
        (
            text(),
            option::of(text()),
            option::of(text()),
            option::of(text()),
        ),
        (
            vec(text(), 0..2),
            vec(missing, 0..2),
            option::of(text()),
            option::of(text()),
            direction(),
        ),
        (
            option::of(any::<u32>()),
            option::of(any::<u32>()),
            option::of(any::<i64>()),
            option::of(any::<i64>()),
            vec(text(), 0..3),
            any::<u32>(),
        ),
    )
        .prop_map(
            |(
                (program, host, kernel, boot_id),
                (hooks, missing_hooks, filter, processes, direction),
                (snap_bytes, message_bytes, clock_offset_ns, started_ns, command, sequence),
            )| Capture {
                schema: Some(SCHEMA),
                program,
                host,
                kernel,
                boot_id,
                hooks,
                missing_hooks,
                filter,
                processes,
                direction,
                snap_bytes,
                message_bytes,
                clock_offset_ns,
                started_ns,
                command,
                sequence,
            },
        )
}

fn interface() -> impl Strategy<Value = Interface> {
    let link_type = prop_oneof![Just(LinkType::ETHERNET), any::<u16>().prop_map(LinkType)];
    (
        option::of(text()),
        link_type,
        option::of(any::<u32>()),
        any::<bool>(),
    )
        .prop_map(|(name, link_type, netns, behind)| Interface {
            netns,
            behind,
            ..Interface::new(0, name, link_type)
        })
}

fn process_id() -> impl Strategy<Value = ProcessId> {
    (any::<u32>(), any::<i64>()).prop_map(|(pid, start_ns)| ProcessId { pid, start_ns })
}

fn process() -> impl Strategy<Value = Process> {
    let long = Just(vec!["y".repeat(70_000)]);
    (
        (
            process_id(),
            option::of(any::<u32>()),
            option::of(any::<u32>()),
            text(),
        ),
        (
            option::of(text()),
            prop_oneof![4 => vec(text(), 0..4), 1 => long],
        ),
        (option::of(text()), option::of(text())),
    )
        .prop_map(
            |((id, ppid, uid, comm), (exe, argv), (cgroup, container))| Process {
                id,
                ppid,
                uid,
                comm,
                exe,
                argv,
                cgroup,
                container,
            },
        )
}

fn owner() -> impl Strategy<Value = Option<(Process, Provenance)>> {
    let provenance = select(vec![
        Provenance::Connect,
        Provenance::Accept,
        Provenance::Cookie,
        Provenance::Scan,
        Provenance::Inherited,
        Provenance::Guess,
    ]);
    option::of((process(), provenance))
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let v4 = any::<Ipv4Addr>().prop_map(IpAddr::V4);
    let v6 = any::<Ipv6Addr>().prop_map(IpAddr::V6);
    (prop_oneof![v4, v6], any::<u16>()).prop_map(|(addr, port)| Endpoint::new(addr, port))
}

fn direction() -> impl Strategy<Value = Option<Direction>> {
    option::of(select(vec![Direction::In, Direction::Out]))
}

fn kernel() -> impl Strategy<Value = KernelParse> {
    (
        endpoint(),
        endpoint(),
        any::<u8>(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(src, dst, flags, header_bytes, payload_bytes)| KernelParse {
                src,
                dst,
                flags,
                header_bytes,
                payload_bytes,
            },
        )
}

pub(in super::super) fn packet(interfaces: Vec<u32>) -> impl Strategy<Value = Packet<'static>> {
    let segment = (endpoint(), endpoint(), any::<u8>(), 0..200_u16)
        .prop_map(|(src, dst, flags, payload_bytes)| ethernet(src, dst, flags, payload_bytes));
    let data = prop_oneof![segment, vec(any::<u8>(), 0..200)];
    // As expected, missing, or another.
    let kernel = option::of(option::of(kernel().boxed()));
    (
        (any::<i64>(), select(interfaces), direction(), any::<u32>()),
        (option::of(any::<u64>()), kernel, data),
    )
        .prop_map(
            |((ts_ns, interface, direction, cut_bytes), (cookie, kernel, data))| {
                // More than was kept, and in broken captures less.
                let wire_bytes = (data.len() as u32 + cut_bytes % 120).saturating_sub(20);
                let headers = headers::parse(LinkType::ETHERNET, &data, wire_bytes);
                let expected = KernelParse::expected(&headers);
                Packet {
                    ts_ns,
                    interface,
                    direction,
                    wire_bytes,
                    cookie,
                    kernel: kernel.unwrap_or(expected),
                    data: Cow::Owned(data),
                }
            },
        )
}

pub(in super::super) fn event() -> impl Strategy<Value = Event> {
    let kind = select(vec![
        EventKind::Connect,
        EventKind::Accept,
        EventKind::Listen,
        EventKind::State,
        EventKind::Retransmit,
        EventKind::Reset,
        EventKind::Close,
        EventKind::Scan,
        EventKind::Handover,
    ]);
    let state = || {
        option::of(select(vec![
            TcpState::Established,
            TcpState::SynSent,
            TcpState::FinWait1,
            TcpState::NewSynRecv,
            TcpState::Close,
        ]))
    };
    let tcp = (
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
    )
        .prop_map(
            |(srtt_ns, sent_bytes, acked_bytes, received_bytes, retransmitted_packets)| TcpFacts {
                srtt_ns,
                sent_bytes,
                acked_bytes,
                received_bytes,
                retransmitted_packets,
            },
        );
    (
        (kind, any::<i64>(), option::of(any::<u64>()), any::<u32>()),
        (
            endpoint(),
            endpoint(),
            option::of(process_id()),
            option::of(any::<u32>()),
        ),
        (state(), state(), direction(), option::of(tcp)),
    )
        .prop_map(
            |(
                (kind, ts_ns, cookie, netns),
                (local, remote, process, tid),
                (old_state, new_state, direction, tcp),
            )| Event {
                kind,
                ts_ns,
                cookie,
                netns,
                local,
                remote,
                process,
                tid,
                old_state,
                new_state,
                direction,
                tcp,
            },
        )
}

fn loss() -> impl Strategy<Value = Loss> {
    let cause = select(vec![
        LossCause::RingFull,
        LossCause::Snap,
        LossCause::Recursion,
        LossCause::Decode,
        LossCause::Writer,
    ]);
    let lost = select(vec![Lost::Packets, Lost::Events]);
    (
        (cause, lost, option::of(any::<u32>()), any::<u64>()),
        (any::<u64>(), any::<i64>(), any::<i64>()),
    )
        .prop_map(
            |((cause, lost, cpu, count), (bytes, first_ns, last_ns))| Loss {
                cause,
                lost,
                cpu,
                count,
                bytes,
                first_ns,
                last_ns,
            },
        )
}

fn end() -> impl Strategy<Value = End> {
    (any::<i64>(), text(), any::<u64>(), any::<u64>()).prop_map(
        |(ts_ns, reason, seen_packets, wire_bytes)| End {
            ts_ns,
            reason,
            seen_packets,
            wire_bytes,
            ..End::default()
        },
    )
}
