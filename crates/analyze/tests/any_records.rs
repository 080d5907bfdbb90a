//! No stream of records, however senseless, stops the analysis, the printer or
//! a renderer, and the same stream gives the same report.

#![allow(clippy::unwrap_used)] // a failure here is a test's

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tcprec_analyze::annotate::Annotator;
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::print::{Bytes, Looks, Printer, Style, Times};
use tcprec_analyze::report::{Keep, Sort, json, jsonl, text};
use tcprec_analyze::tcp::Limits;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{
    Capture, Direction, End, Event, EventKind, Interface, KernelParse, Loss, LossCause, Lost,
    Packet, Process, ProcessId, Record, SCHEMA, TcpFacts, TcpState,
};
use tcprec_shared::stream::ReadError;

/// Few enough that they meet again.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..4u32, Just(u32::MAX)]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0..100_000_000_000i64,
        1 => any::<i64>(),
        1 => select(vec![i64::MIN, i64::MAX]),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let addr = select(vec![
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]);
    (addr, select(vec![0, 80, 41234, u16::MAX])).prop_map(|(addr, port)| Endpoint::new(addr, port))
}

fn process_id() -> impl Strategy<Value = ProcessId> {
    (number(), time()).prop_map(|(pid, start_ns)| ProcessId { pid, start_ns })
}

fn direction() -> impl Strategy<Value = Option<Direction>> {
    option::of(select(vec![Direction::In, Direction::Out]))
}

/// An Ethernet frame of a segment between the endpoints that events have, so
/// that connections come about; or of anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        Just(b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        // A ClientHello for `h`, two records of alerts, and half a one.
        Just(
            b"\x16\x03\x01\0\x38\x01\0\0\x34\x03\x03................................\0\0\x02\x13\x01\x01\0\
              \0\x0a\0\0\0\x06\0\x04\0\0\x01h\x15\x03\x03\0\x02\x02\x28\x15\x03\x03\0\x1a"
                .to_vec()
        ),
        // Settings of HTTP/2, a request, and half a response.
        Just(
            b"\0\0\0\x04\0\0\0\0\0\0\0\x05\x01\x05\0\0\0\x01\x82\x84\x41\x01a\0\0\x09\x01\x04\0\0\0\x01\x88\xbe"
                .to_vec()
        ),
        vec(any::<u8>(), 0..40),
    ];
    let segment = (any::<bool>(), 0..6u32, 0..6u32, any::<u8>(), payload).prop_map(
        |(forth, seq, ack, flags, payload)| {
            let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
            let (p, q) = (41234u16.to_be_bytes(), 80u16.to_be_bytes());
            let length = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
            let mut frame = vec![0; 12];
            frame.extend([8, 0, 0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend(if forth { [a, b] } else { [b, a] }.concat());
            frame.extend(if forth { [p, q] } else { [q, p] }.concat());
            frame.extend(seq.to_be_bytes());
            frame.extend(ack.to_be_bytes());
            frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
            frame.extend(payload);
            frame
        },
    );
    prop_oneof![4 => segment, 1 => vec(any::<u8>(), 0..80)]
}

fn packet() -> impl Strategy<Value = Record<'static>> {
    let kernel = (endpoint(), endpoint(), any::<u8>(), number(), number()).prop_map(
        |(src, dst, flags, header_bytes, payload_bytes)| KernelParse {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
        },
    );
    (
        time(),
        number(),
        direction(),
        option::of(any::<u32>()),
        option::of(number().prop_map(u64::from)),
        option::of(kernel),
        frame(),
    )
        .prop_map(
            |(ts_ns, interface, direction, wire_bytes, cookie, kernel, data)| {
                Record::Packet(Packet {
                    ts_ns,
                    interface,
                    direction,
                    wire_bytes: wire_bytes.unwrap_or(u32::try_from(data.len()).unwrap()),
                    cookie,
                    kernel,
                    data: Cow::Owned(data),
                })
            },
        )
}

fn event() -> impl Strategy<Value = Record<'static>> {
    const KINDS: [EventKind; 9] = [
        EventKind::Connect,
        EventKind::Accept,
        EventKind::Listen,
        EventKind::State,
        EventKind::Retransmit,
        EventKind::Reset,
        EventKind::Close,
        EventKind::Scan,
        EventKind::Handover,
    ];
    const STATES: [TcpState; 5] = [
        TcpState::Established,
        TcpState::SynRecv,
        TcpState::Close,
        TcpState::Listen,
        TcpState::NewSynRecv,
    ];
    let facts = vec(any::<u64>(), 4).prop_map(|facts| TcpFacts {
        srtt_ns: facts[0],
        sent_bytes: facts[1],
        acked_bytes: facts[2],
        received_bytes: facts[3],
        retransmitted_packets: u32::MAX,
    });
    (
        (select(KINDS.to_vec()), time(), number(), direction()),
        option::of(number().prop_map(u64::from)),
        (endpoint(), endpoint()),
        option::of(process_id()),
        option::of(select(STATES.to_vec())),
        option::of(select(STATES.to_vec())),
        option::of(facts),
    )
        .prop_map(|(what, cookie, ends, process, old_state, new_state, tcp)| {
            let (kind, ts_ns, netns, direction) = what;
            Record::Event(Event {
                cookie,
                process,
                old_state,
                new_state,
                direction,
                tcp,
                ..Event::new(kind, ts_ns, netns, ends.0, ends.1)
            })
        })
}

fn record() -> impl Strategy<Value = Record<'static>> {
    let capture = any::<bool>().prop_map(|own| {
        Record::Capture(Box::new(Capture {
            schema: own.then_some(SCHEMA),
            ..Capture::default()
        }))
    });
    let interface =
        (number(), option::of("\\PC*"), option::of(number())).prop_map(|(id, name, netns)| {
            Record::Interface(Interface {
                netns,
                ..Interface::new(id, name, LinkType::ETHERNET)
            })
        });
    let process =
        (process_id(), any::<String>(), vec(any::<String>(), 0..3)).prop_map(|(id, comm, argv)| {
            Record::Process(Process {
                comm,
                argv,
                ..Process::nameless(id)
            })
        });
    let loss = (any::<u64>(), any::<u64>(), time(), time()).prop_map(
        |(count, bytes, first_ns, last_ns)| {
            Record::Loss(Loss {
                cause: LossCause::RingFull,
                lost: Lost::Packets,
                cpu: Some(0),
                count,
                bytes,
                first_ns,
                last_ns,
            })
        },
    );
    let end = (time(), any::<u64>()).prop_map(|(ts_ns, lost_packets)| {
        Record::End(End {
            ts_ns,
            lost_packets,
            ..End::default()
        })
    });
    prop_oneof![
        1 => capture,
        2 => interface,
        2 => process,
        1 => loss,
        1 => end,
        12 => packet(),
        12 => event(),
    ]
}

/// All that can be made of a stream of records.
fn everything(records: &[Record<'static>], width: usize) -> Vec<u8> {
    let mut output = Vec::new();
    let mut annotator = Annotator::new();
    let mut printer = Printer::new(Style::default(), TimeZone::UTC);
    let mut shown = Vec::new();
    let all = Style {
        has_number: true,
        has_link_header: true,
        is_verbose: true,
        ignores_checksums: false,
        is_absolute: true,
        times: Times::SinceLineBefore,
        bytes: Some(Bytes {
            looks: Looks::Text,
            with_link_header: false,
        }),
        ..Style::default()
    };
    let mut all = Printer::new(all, TimeZone::UTC);
    annotator.observe(records);
    for record in records {
        let note = annotator.note(record);
        printer.write(record, &note, &mut output).unwrap();
        all.write(record, &note, &mut shown).unwrap();
    }
    let limits = Limits {
        connections: 2,
        lingering: 1,
        waiting_bytes: 1000,
        ..Limits::default()
    };
    let keep = Keep {
        slowest: 3,
        ..Keep::default()
    };
    let mut pipeline = Pipeline::new(limits, keep);
    let mut lines = jsonl::Writer::new(Vec::new());
    for record in records {
        pipeline.push(record, &mut lines);
    }
    pipeline.read_error(
        &ReadError::Truncated {
            at_bytes: 1,
            detail: String::new(),
        },
        &mut lines,
    );
    let report = pipeline.finish(&mut lines);
    let looks = text::Looks {
        width: Some(width),
        color: false,
        zone: TimeZone::UTC,
        rows: Some(3),
        sort: Sort::default(),
        slow: true,
        all_option: "--all",
    };
    text::write(&report, &looks, &mut output).unwrap();
    let steers = |byte: &u8| byte.is_ascii_control() && *byte != b'\n';
    // Of payload that is shown tabs stand as they are.
    let steers_more = |byte: &u8| steers(byte) && *byte != b'\t';
    assert!(
        !output.iter().any(steers) && !shown.iter().any(steers_more),
        "something in a capture reaches the terminal"
    );
    output.extend(shown);
    output.extend(lines.finish(&report).unwrap());
    json::write(&report, &mut output).unwrap();
    output
}

proptest! {
    #[test]
    fn any_records_give_one_report(records in vec(record(), 0..60), width in 0..200usize) {
        prop_assert_eq!(everything(&records, width), everything(&records, width));
    }
}
