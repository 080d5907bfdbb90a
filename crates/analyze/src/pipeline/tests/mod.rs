mod copies;
mod owners;
mod servers;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{
    Capture, Direction, End, Interface, KernelParse, Loss, LossCause, Lost, Packet, SCHEMA,
};

use super::*;
use crate::finding::FindingKind;
use crate::gaps::Incomplete;
use crate::report::{Ending, Keep};
use crate::tcp;

fn interface(id: u32, netns: Option<u32>) -> Record<'static> {
    Record::Interface(Interface {
        netns,
        ..Interface::new(id, None, LinkType::RAW)
    })
}

/// A SYN from 10.0.0.1:1000 to 10.0.0.2:80, or the SYN-ACK back.
fn packet(interface: u32, ts_ns: i64, is_answer: bool) -> Packet<'static> {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (p, q) = (1000u16.to_be_bytes(), 80u16.to_be_bytes());
    let mut data = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    data.extend(if is_answer { [b, a] } else { [a, b] }.concat());
    data.extend(if is_answer { [q, p] } else { [p, q] }.concat());
    data.extend([0, 0, 0, 7, 0, 0, 0, 8 * u8::from(is_answer)]);
    data.extend([0x50, if is_answer { 0x12 } else { 0x02 }, 1, 0, 0, 0, 0, 0]);
    Packet {
        wire_bytes: 40,
        ..Packet::new(ts_ns, interface, data)
    }
}

fn report(records: Vec<Record<'_>>) -> Report {
    let mut pipeline = Pipeline::default();
    for record in &records {
        pipeline.push(record, &mut ());
    }
    pipeline.finish(&mut ())
}

#[test]
fn packets_are_counted_by_what_becomes_of_them() {
    let cut = |bytes: usize| {
        let packet = packet(0, 1, false);
        Record::Packet(Packet {
            data: packet.data[..bytes].to_vec().into(),
            ..packet
        })
    };
    let mut other = packet(0, 1, false);
    other.data.to_mut()[9] = 17;
    let whole = fragments(&packet(0, 1, false));
    let mut alone = fragments(&packet(0, 1, false));
    for fragment in &mut alone {
        fragment.data.to_mut()[5] ^= 1; // of another datagram
    }
    let [first, last] = whole.map(Record::Packet);
    let [alone, _] = alone.map(Record::Packet);
    let report = report(vec![
        interface(0, None),
        first,
        alone,
        last,
        cut(40),
        cut(30),
        Record::Packet(other),
        Record::Packet(packet(9, 1, false)),
    ]);
    let packets = report.capture.packets;
    assert_eq!(packets.all, 7);
    assert_eq!(packets.unassembled, 1);
    assert_eq!((packets.cut, packets.not_tcp), (1, 1));
    assert_eq!((packets.malformed, packets.unknown_link), (0, 1));
    assert_eq!(packets.captured_bytes, 246);
}

#[test]
fn a_differing_parse_of_the_kernel_is_counted() {
    let parse = |port, payload_bytes| {
        let of = |addr: [u8; 4], port| Endpoint::new(addr.into(), port);
        Record::Packet(Packet {
            kernel: Some(KernelParse {
                src: of([10, 0, 0, 1], port),
                dst: of([10, 0, 0, 2], 80),
                flags: 2,
                header_bytes: 40,
                payload_bytes,
            }),
            ..packet(0, 1, false)
        })
    };
    let report = report(vec![
        interface(0, None),
        parse(1000, 0),
        parse(1001, 0),
        parse(1000, 1),
    ]);
    assert_eq!(report.capture.packets.disagreements, 2);
}

#[test]
fn how_a_capture_ended_is_told() {
    let own = || {
        Record::Capture(Box::new(Capture {
            schema: Some(SCHEMA),
            ..Capture::default()
        }))
    };
    let end = End::default();
    let ending = |records| report(records).capture.ending;
    assert_eq!(ending(vec![]), Ending::Unknown);
    assert_eq!(ending(vec![own()]), Ending::Abrupt);
    assert_eq!(
        ending(vec![own(), Record::End(end.clone())]),
        Ending::Complete(end)
    );
    let going_on = End {
        continued: true,
        ..End::default()
    };
    assert_eq!(
        ending(vec![own(), Record::End(going_on.clone())]),
        Ending::Continued(going_on)
    );
    let failed = End {
        reason: End::FAILED.to_owned(),
        ..End::default()
    };
    assert_eq!(
        ending(vec![own(), Record::End(failed.clone())]),
        Ending::Failed(failed)
    );
    let mut pipeline = Pipeline::default();
    pipeline.push(&own(), &mut ());
    let error = |at_bytes| ReadError::Damaged {
        at_bytes,
        detail: "?".into(),
    };
    pipeline.read_error(&error(1), &mut ());
    pipeline.read_error(&error(2), &mut ());
    pipeline.read_error(
        &ReadError::Truncated {
            at_bytes: 3,
            detail: "?".into(),
        },
        &mut (),
    );
    let capture = pipeline.finish(&mut ()).capture;
    assert_eq!(capture.damaged_records, 2);
    assert_eq!(capture.damage, Some(error(1).to_string()));
    assert!(matches!(capture.ending, Ending::Cut(_)));
}

fn lost(lost: Lost, first_ns: i64, last_ns: i64) -> Record<'static> {
    Record::Loss(Loss {
        cause: LossCause::RingFull,
        lost,
        cpu: None,
        count: 1,
        bytes: 10,
        first_ns,
        last_ns,
    })
}

/// What may be missing of a connection that is refused from 10 s to 11 s.
fn missing_of_refused(loss: Record<'_>) -> Incomplete {
    const SECOND_NS: i64 = 1_000_000_000;
    let mut refusal = packet(0, 11 * SECOND_NS, true);
    refusal.data.to_mut()[33] = 0x14;
    let report = report(vec![
        interface(0, None),
        Record::Packet(packet(0, 10 * SECOND_NS, false)),
        Record::Packet(refusal),
        loss,
    ]);
    assert_eq!(report.connections[0].tcp.state, tcp::ConnState::Rej);
    report.connections[0].incomplete
}

#[test]
fn a_loss_makes_incomplete_what_it_meets() {
    const MS: i64 = 1_000_000;
    let missing = |what, first_ms, last_ms| {
        let incomplete = missing_of_refused(lost(what, first_ms * MS, last_ms * MS));
        incomplete.words().collect::<Vec<_>>()
    };
    assert_eq!(missing(Lost::Packets, 9_000, 10_000), ["packets"]);
    assert_eq!(missing(Lost::Packets, 11_000, 12_000), ["packets"]);
    assert_eq!(missing(Lost::Packets, 10_400, 10_600), ["packets"]);
    assert!(missing(Lost::Packets, 9_000, 9_999).is_empty());
    assert!(missing(Lost::Packets, 11_001, 12_000).is_empty());
    // Of the connection's events, some come before its packets or after them.
    assert_eq!(missing(Lost::Events, 9_500, 9_900), ["events"]);
    assert!(missing(Lost::Events, 8_000, 8_999).is_empty());
    assert!(missing(Lost::Processes, 10_000, 11_000).is_empty());
    // Losses without a time.
    assert_eq!(missing(Lost::Packets, 0, 0), ["packets"]);
}

#[test]
fn what_has_no_end_may_have_lost_it() {
    let own = Record::Capture(Box::new(Capture {
        schema: Some(SCHEMA),
        ..Capture::default()
    }));
    let attempt = || Record::Packet(packet(0, 10, false));
    let missing = |records| {
        let incomplete = report(records).connections[0].incomplete;
        incomplete.words().collect::<Vec<_>>()
    };
    let late = || lost(Lost::Packets, 1000, 2000);
    let early = || lost(Lost::Packets, 1, 9);
    assert_eq!(
        missing(vec![interface(0, None), attempt(), late()]),
        ["packets"]
    );
    assert!(missing(vec![interface(0, None), attempt(), early()]).is_empty());
    assert_eq!(missing(vec![own, interface(0, None), attempt()]), ["end"]);
}

#[test]
fn a_damaged_record_may_have_been_a_packet() {
    let mut pipeline = Pipeline::default();
    pipeline.push(&interface(0, None), &mut ());
    pipeline.push(&Record::Packet(packet(0, 10, false)), &mut ());
    pipeline.read_error(
        &ReadError::Damaged {
            at_bytes: 1,
            detail: "?".into(),
        },
        &mut (),
    );
    pipeline.push(&Record::Packet(packet(0, 20, true)), &mut ());
    let incomplete = pipeline.finish(&mut ()).connections[0].incomplete;
    assert!(incomplete.packets && incomplete.events);
}

#[test]
fn what_a_rotated_series_lacks_is_told() {
    let file_of = |recording, sequence, continued: Option<bool>| {
        let capture = Record::Capture(Box::new(Capture {
            schema: Some(SCHEMA),
            clock_offset_ns: Some(recording),
            sequence,
            ..Capture::default()
        }));
        let end = continued.map(|continued| {
            Record::End(End {
                continued,
                ..End::default()
            })
        });
        std::iter::once(capture).chain(end).collect::<Vec<_>>()
    };
    let file = |sequence, continued| file_of(1, sequence, continued);
    let told = |files: &[Vec<Record<'static>>]| {
        let capture = report(files.concat()).capture;
        let ending = match capture.ending {
            Ending::Complete(_) => "complete",
            Ending::Continued(_) => "continued",
            Ending::Abrupt => "abrupt",
            Ending::Failed(_) | Ending::Cut(_) | Ending::Unknown => "else",
        };
        (ending, capture.missing_files, capture.unfinished_files)
    };
    let (goes_on, last, killed) = (Some(true), Some(false), None);
    let whole = [file(0, goes_on), file(1, goes_on), file(2, last)];
    assert_eq!(told(&whole), ("complete", 0, 0));
    assert_eq!(told(&whole[..2]), ("continued", 0, 0));
    assert_eq!(told(&whole[1..2]), ("continued", 1, 0));
    assert_eq!(told(&whole[2..]), ("complete", 2, 0));
    let holed = [file(0, goes_on), file(3, goes_on), file(4, killed)];
    assert_eq!(told(&holed), ("abrupt", 2, 0));
    // Of two recordings, the first of which was killed.
    let both = [file(0, killed), file(0, last)];
    assert_eq!(told(&both), ("complete", 0, 1));
    // Of two whose records stand among each other.
    let merged = [
        file(0, killed),
        file_of(2, 0, killed),
        file(0, goes_on),
        file(1, killed),
        file_of(2, 0, Some(false)),
        file(1, last),
    ];
    assert_eq!(told(&merged), ("complete", 0, 0));
    assert_eq!(told(&merged[..5]), ("complete", 0, 1));
    // Of two that ran at the same time: one lacks its second file and all that came after
    // its third, the other one was killed.
    let mixed = [
        file(0, goes_on),
        file_of(2, 0, goes_on),
        file_of(2, 1, killed),
        file(2, goes_on),
        file_of(3, 0, last),
    ];
    assert_eq!(told(&mixed), ("complete", 2, 1));
    // Of two that cannot be told apart the latest goes on.
    let same = [file(0, killed), file(0, goes_on), file(1, last)];
    assert_eq!(told(&same), ("complete", 0, 1));
}

#[test]
fn losses_are_summed_by_cause() {
    let loss = |cause, count, first_ns, last_ns| {
        Record::Loss(Loss {
            cause,
            lost: Lost::Packets,
            cpu: None,
            count,
            bytes: 10,
            first_ns,
            last_ns,
        })
    };
    let report = report(vec![
        loss(LossCause::Writer, 1, 5, 6),
        loss(LossCause::RingFull, 2, 7, 9),
        loss(LossCause::RingFull, 3, 1, 8),
    ]);
    let losses: Vec<_> = report
        .losses
        .iter()
        .map(|loss| {
            (
                loss.cause,
                loss.count,
                loss.bytes,
                loss.first_ns,
                loss.last_ns,
            )
        })
        .collect();
    assert_eq!(
        losses,
        [
            (LossCause::RingFull, 5, 20, 1, 9),
            (LossCause::Writer, 1, 10, 5, 6),
        ]
    );
}

/// One of the segments of a connection from this port: a SYN, or the reset that
/// answers it.
fn segment(port: u16, interface: u32, ts_ns: i64, is_answer: bool) -> Packet<'static> {
    let mut packet = packet(interface, ts_ns, is_answer);
    let data = packet.data.to_mut();
    let place = if is_answer { 22 } else { 20 };
    data[place..place + 2].copy_from_slice(&port.to_be_bytes());
    if is_answer {
        data[33] = 0x14;
    }
    packet
}

/// The two pieces of an IP datagram.
fn fragments(packet: &Packet<'static>) -> [Packet<'static>; 2] {
    let piece = |from: usize, to: usize, flags: u8| {
        let mut data = packet.data[..20].to_vec();
        data[3] = u8::try_from(20 + to - from).unwrap();
        data[6] = flags;
        data[7] = u8::try_from(from / 8).unwrap();
        data.extend(&packet.data[20 + from..20 + to]);
        Packet {
            wire_bytes: u32::try_from(data.len()).unwrap(),
            data: data.into(),
            ..packet.clone()
        }
    };
    [piece(0, 16, 0x20), piece(16, 20, 0)]
}

/// Records in batches of so many.
fn batches(records: &[Record<'static>], size: usize) -> Vec<Batch> {
    let batches = records.chunks(size).map(|records| {
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.push(record.clone()));
        batch
    });
    batches.collect()
}

/// A pipeline on one thread, and one with several.
fn pipelines(limits: Limits) -> [Pipeline; 2] {
    let new = || Pipeline::new(limits, Keep::default());
    [new(), new().with_threads(0)]
}

/// Copies on other interfaces, fragments between whole packets, and times that run
/// backwards.
#[test]
fn what_is_hard_to_divide_is_told_the_same() {
    const SECOND: i64 = 1_000_000_000;
    let mut records = vec![interface(0, Some(5)), interface(1, Some(5))];
    let mut wave = |ports: std::ops::Range<u16>, second: i64| {
        for port in ports {
            for (interface, is_answer) in [(1, false), (0, false), (0, true), (1, true)] {
                let packet = segment(port, interface, second * SECOND, is_answer);
                if is_answer || port % 3 > 0 {
                    records.push(Record::Packet(packet));
                } else {
                    records.extend(fragments(&packet).map(Record::Packet));
                }
            }
            // Whole packets came by the other interface; these are no copies.
            let again = segment(port, 0, second * SECOND, port % 2 > 0);
            records.extend(fragments(&again).map(Record::Packet));
        }
    };
    wave(1000..1100, 1);
    wave(1100..1101, 300);
    wave(1101..1200, 2);
    let told = |mut pipeline: Pipeline, size: usize, together: usize| {
        let mut lines = crate::report::jsonl::Writer::new(Vec::new());
        let mut batches = batches(&records, size).into_iter().peekable();
        while batches.peek().is_some() {
            let mut together = batches.by_ref().take(together);
            pipeline.take(|_| together.next(), &mut lines);
        }
        let report = pipeline.finish(&mut lines);
        lines.finish(&report).unwrap()
    };
    let expected = told(Pipeline::default(), 1, 1);
    let lines = String::from_utf8(expected.clone()).unwrap();
    let copies = lines.rsplit("\"copied_packets\":").next().unwrap();
    assert!(!copies.starts_with('0') && lines.lines().count() > 200);
    for (size, together) in [(1, 8), (7, 16), (50, 16), (1000, 3), (usize::MAX, 1)] {
        for pipeline in pipelines(Limits::default()) {
            let has_threads = pipeline.threads.is_some();
            let how = format!("{together} batches of {size}, with threads: {has_threads}");
            assert!(told(pipeline, size, together) == expected, "{how}");
        }
    }
}

/// A connection that has to make room is judged by the latest time of all batches:
/// by that of its own packets alone nobody would call it unanswered.
#[test]
fn the_latest_time_is_that_of_all_batches() {
    const ATTEMPTS: u16 = 50;
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let late = segment(1, 0, 300_000_000_000, false);
    let attempts = (0..ATTEMPTS).map(|number| segment(1000 + number, 0, 1, false));
    let packets = std::iter::once(late).chain(attempts).map(Record::Packet);
    let packets: Vec<_> = packets.collect();
    for mut pipeline in pipelines(limits) {
        pipeline.push(&interface(0, None), &mut ());
        let mut batches = batches(&packets, 1).into_iter();
        pipeline.take(|_| batches.next(), &mut ());
        let findings = pipeline.finish(&mut ()).findings;
        let counts: Vec<_> = findings.iter().map(|it| (it.kind, it.count)).collect();
        let expected = (FindingKind::Unanswered, ATTEMPTS.into());
        assert_eq!(counts, [expected]);
    }
}

/// A loss of the packets may be told two seconds late: until then nothing is claimed.
#[test]
fn what_is_found_is_news_once_no_loss_can_be_its_reason() {
    const SECOND: i64 = 1_000_000_000;
    let mut pipeline = Pipeline::default();
    pipeline.push(&interface(0, None), &mut ());
    for is_answer in [false, true] {
        let packet = Record::Packet(segment(1000, 0, SECOND, is_answer));
        pipeline.push(&packet, &mut ());
    }
    assert!(pipeline.news(3 * SECOND - 1, &mut ()).is_empty());
    let news = pipeline.news(3 * SECOND, &mut ());
    assert_eq!(news, ["10.0.0.1 was refused by 10.0.0.2:80"]);
    assert!(pipeline.news(4 * SECOND, &mut ()).is_empty());
}
