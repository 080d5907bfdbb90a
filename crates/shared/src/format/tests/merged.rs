//! Captures that overlap in time, read as one.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::*;
use super::generate;
use crate::batch::Batch;
use crate::record::{Capture, End, Event, Interface, Packet, Record};
use crate::stream::Source;

/// A file with these records.
fn write(path: &Path, records: impl IntoIterator<Item = Record<'static>>) {
    let mut sink = create(path).unwrap();
    for record in records {
        sink.write(&record, None).unwrap();
    }
    sink.finish().unwrap();
}

fn capture(started_ns: Option<i64>, sequence: u32) -> Record<'static> {
    Record::Capture(Box::new(Capture {
        program: "test".to_owned(),
        clock_offset_ns: started_ns.map(|_| 1),
        started_ns,
        sequence,
        ..Capture::default()
    }))
}

fn interface(id: u32) -> Record<'static> {
    let example = generate::example().records;
    let mut interfaces = example.into_iter().filter_map(|record| match record {
        Record::Interface(interface) => Some(interface),
        _ => None,
    });
    Record::Interface(Interface {
        id,
        ..interfaces.next().unwrap()
    })
}

fn packet(interface: u32, ts_ns: i64) -> Record<'static> {
    let example = generate::example().records;
    let mut packets = example.into_iter().filter_map(|record| match record {
        Record::Packet(packet) => Some(packet),
        _ => None,
    });
    Record::Packet(Packet {
        ts_ns,
        interface,
        ..packets.next().unwrap()
    })
}

fn event(ts_ns: i64) -> Record<'static> {
    let example = generate::example().records;
    let mut events = example.into_iter().filter_map(|record| match record {
        Record::Event(event) => Some(event),
        _ => None,
    });
    Record::Event(Event {
        ts_ns,
        ..events.next().unwrap()
    })
}

fn end(ts_ns: i64) -> Record<'static> {
    Record::End(End {
        ts_ns,
        ..End::default()
    })
}

/// A file of another tool's, with packets at these times.
fn foreign(path: &Path, times: impl IntoIterator<Item = i64>) {
    let packets = times.into_iter().map(|ts_ns| packet(0, ts_ns));
    let head = [capture(None, 0), interface(0)];
    write(path, head.into_iter().chain(packets));
}

/// What is told of a record: its kind, the capture or interface that it names, its time.
fn told(record: &Record<'_>) -> String {
    match record {
        Record::Capture(capture) => {
            let started_ns = capture.started_ns.unwrap_or(0);
            format!("c{started_ns}.{}", capture.sequence)
        }
        Record::Interface(interface) => format!("i{}", interface.id),
        Record::Packet(packet) => format!("{}@{}", packet.interface, packet.ts_ns),
        Record::Event(event) => format!("e@{}", event.ts_ns),
        Record::End(end) => format!("end@{}", end.ts_ns),
        Record::Process(_) | Record::Loss(_) => "other".to_owned(),
    }
}

/// All of a folder, errors by their beginnings: the same one by one and in batches.
fn read(folder: &TempDir) -> Vec<String> {
    let error = |error: &crate::stream::ReadError| {
        let text = error.to_string();
        text.split(" at byte").next().unwrap_or_default().to_owned()
    };
    let mut input = open(folder.path()).unwrap();
    let mut all = Vec::new();
    loop {
        match input.next() {
            Ok(Some(record)) => all.push(told(&record)),
            Ok(None) => break,
            Err(it) => all.push(error(&it)),
        }
    }
    let mut input = open(folder.path()).unwrap();
    let mut batch = Batch::default();
    let mut batched = Vec::new();
    loop {
        batch.clear();
        let filled = input.fill(&mut batch);
        while let Some(record) = batch.take_next() {
            batched.push(told(&record));
        }
        match filled {
            Ok(true) => {}
            Ok(false) => break,
            Err(it) => batched.push(error(&it)),
        }
    }
    assert_eq!(batched, all);
    all
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Of equal times the first file's; what is out of order inside a file stays so.
#[test]
fn records_come_in_the_order_of_time() {
    for extension in ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"] {
        let folder = folder();
        let file = |name: &str| folder.path().join(format!("{name}.{extension}"));
        foreign(&file("a"), [10, 20, 15, 40]);
        foreign(&file("b"), [11, 20, 21, 50]);
        foreign(&file("c"), [45, 46, 60]);
        foreign(&file("d"), [70]);
        let expected = "c0.0 i0 0@10 c0.0 i1 1@11 0@20 0@15 1@20 1@21 0@40 \
                        c0.0 i2 2@45 2@46 1@50 2@60 c0.0 i3 3@70";
        assert_eq!(read(&folder).join(" "), expected, "{extension}");
    }
}

/// What is no packet, no event and no end stays behind what it follows in its file. An
/// interface and an end are told behind the capture of their recording.
#[test]
fn records_without_a_time_stay_in_their_place() {
    let folder = folder();
    let file = |name: &str| folder.path().join(format!("{name}.jsonl.zst"));
    write(
        &file("a"),
        [
            capture(Some(1), 0),
            interface(0),
            event(10),
            packet(0, 11),
            interface(1),
            packet(1, 40),
            end(60),
        ],
    );
    write(
        &file("b"),
        [
            capture(Some(2), 0),
            interface(0),
            packet(0, 11),
            event(12),
            end(50),
        ],
    );
    // It goes on with the first, though its time is earlier.
    write(
        &file("c"),
        [capture(Some(1), 1), interface(1), packet(1, 5), end(70)],
    );
    let expected = "c1.0 i0 e@10 0@11 i1 c2.0 i2 2@11 e@12 1@40 end@50 \
                    c1.0 end@60 c1.1 i1 1@5 end@70";
    assert_eq!(read(&folder).join(" "), expected);
}

/// One that is told of late, when another file has taken the next id.
#[test]
fn interfaces_that_come_late_have_ids_of_their_own() {
    let folder = folder();
    let file = |name: &str| folder.path().join(format!("{name}.jsonl"));
    write(
        &file("a"),
        [
            capture(None, 0),
            interface(0),
            packet(0, 10),
            packet(0, 30),
            interface(1),
            packet(1, 50),
            packet(0, 70),
            interface(1),
            packet(1, 71),
        ],
    );
    foreign(&file("b"), [20, 60]);
    let expected = "c0.0 i0 0@10 c0.0 i1 1@20 0@30 i2 2@50 1@60 0@70 i2 2@71";
    assert_eq!(read(&folder).join(" "), expected);
}

/// They are named, and the others go on.
#[test]
fn files_that_are_cut_or_damaged_do_not_end_the_others() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    foreign(&file("a.jsonl"), [10, 30, 50, 70]);
    foreign(&file("b.jsonl"), [20, 40, 60]);
    let cut = fs::read(file("b.jsonl")).unwrap();
    fs::write(file("b.jsonl"), &cut[..cut.len() - 10]).unwrap();
    let whole = fs::read_to_string(file("a.jsonl")).unwrap();
    let damaged = whole.replacen("\"ts_ns\":50", "\"ts_ns\":x", 1);
    fs::write(file("a.jsonl"), damaged).unwrap();
    fs::write(file("head.pcap"), [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]).unwrap();
    fs::write(file("tail.pcap"), [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]).unwrap();
    let expected = [
        "c0.0",
        "i0",
        "0@10",
        "c0.0",
        "i1",
        "1@20",
        "0@30",
        "damaged record",
        "1@40",
        "damaged record",
        "0@70",
        "damaged record",
        "cut",
    ];
    assert_eq!(read(&folder), expected);
    let mut input = open(folder.path()).unwrap();
    let mut names = Vec::new();
    loop {
        match input.next() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => names.push(error.to_string()),
        }
    }
    for (told, name) in names.iter().zip(["a.jsonl", "b.jsonl", "head", "tail"]) {
        assert!(told.contains(name), "{told}");
    }
}

/// However many files there are, only those that overlap are open at the same time.
#[test]
fn more_files_than_can_be_open_are_read() {
    let folder = folder();
    let file = |number: i64| -> PathBuf { folder.path().join(format!("{number}.jsonl")) };
    let count = 2 * merge::MAX_OPEN as i64;
    for number in 0..count {
        // Each with the next.
        foreign(&file(number), [10 * number, 10 * number + 11]);
    }
    let packets = read(&folder)
        .into_iter()
        .filter_map(|it| it.split_once('@')?.1.parse::<i64>().ok())
        .collect::<Vec<_>>();
    assert_eq!(packets.len() as i64, 2 * count);
    assert!(packets.is_sorted());
    for number in 0..count {
        foreign(&file(number), [number, 10_000]);
    }
    let last = read(&folder).pop().unwrap();
    assert!(last.contains("captures overlap in time"), "{last}");
}
