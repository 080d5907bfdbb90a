//! Captures as files: created by extension, found by stem, folder and series.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::super::*;
use super::generate;
use crate::record::{Capture, Interface, Packet, Record, SCHEMA};
use crate::stream::{ReadError, Source};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A file with one packet, at `ts_ns`, and the number `sequence`.
fn part(path: &Path, sequence: u32, ts_ns: i64) {
    part_of(1, path, sequence, ts_ns);
}

/// The same, of the recording that began then.
fn part_of(started_ns: i64, path: &Path, sequence: u32, ts_ns: i64) {
    let mut sink = create(path).unwrap();
    for record in generate::example().records {
        let record = match record {
            Record::Capture(capture) => Record::Capture(Box::new(Capture {
                sequence,
                clock_offset_ns: Some(1),
                started_ns: Some(started_ns),
                ..*capture
            })),
            Record::Packet(packet) => Record::Packet(Packet { ts_ns, ..packet }),
            Record::Interface(_) => record,
            _ => continue,
        };
        sink.write(&record, None).unwrap();
    }
    sink.finish().unwrap();
}

/// Times of the packets, interfaces of the packets, ids of the interfaces,
/// and what was wrong.
fn summary(path: &Path) -> (Vec<i64>, Vec<u32>, Vec<u32>, Vec<String>) {
    let mut input = open(path).unwrap();
    let (mut times, mut of_packets, mut interfaces, mut errors) = (vec![], vec![], vec![], vec![]);
    loop {
        match input.next() {
            Ok(Some(Record::Packet(packet))) => {
                times.push(packet.ts_ns);
                of_packets.push(packet.interface);
            }
            Ok(Some(Record::Interface(Interface { id, .. }))) => interfaces.push(id),
            Ok(Some(_)) => {}
            Ok(None) => return (times, of_packets, interfaces, errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
}

#[test]
fn the_extension_tells_the_format() {
    let folder = folder();
    for format in Format::WRITABLE {
        let path = folder.path().join(format!("cap.{format}"));
        part(&path, 0, 1);
        assert_eq!(open(&path).unwrap().format(), format);
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
    }
    let error = create(&folder.path().join("cap.pcap")).err().unwrap();
    assert!(error.to_string().contains("use .pcapng"), "{error}");
    let error = create(&folder.path().join("cap.txt")).err().unwrap();
    assert!(matches!(error, CreateError::Extension));
    assert!(
        error
            .to_string()
            .contains(".jsonl, .jsonl.zst, .pcapng, .pcapng.zst"),
        "{error}"
    );
    assert!("pcap".parse::<Format>().is_err());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_a_capture() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = folder();
    let path = folder.path().join("cap.jsonl");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    part(&path, 0, 1);
    assert_eq!(mode(), 0o600);
    // Nor one that was there before.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    part(&path, 0, 1);
    assert_eq!(mode(), 0o600);
}

#[test]
fn little_is_held_back_of_a_file_that_is_to_be_short() {
    let folder = folder();
    for name in ["cap.jsonl", "cap.jsonl.zst"] {
        let written_bytes = Arc::<AtomicU64>::default();
        let path = folder.path().join(name);
        let mut sink = create_counted(&path, Arc::clone(&written_bytes), Some(1000)).unwrap();
        for record in generate::example().records.iter().cycle().take(100) {
            sink.write(record, None).unwrap();
        }
        assert!(written_bytes.load(Ordering::Relaxed) > 0, "{name}");
    }
}

#[test]
fn a_stem_finds_the_best_file() {
    let folder = folder();
    let stem = folder.path().join("cap");
    part(&folder.path().join("cap.pcapng"), 0, 1);
    part(&folder.path().join("cap.jsonl.zst"), 0, 2);
    part(&folder.path().join("captain.jsonl.zst"), 0, 3);
    let input = open(&stem).unwrap();
    assert_eq!(input.files(), [folder.path().join("cap.jsonl.zst")]);
    let error = open(&folder.path().join("other")).err().unwrap();
    assert!(matches!(error, ReadError::Io(_)));
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[test]
fn progress_is_told_in_bytes_of_the_file() {
    let folder = folder();
    let path = folder.path().join("cap.jsonl.zst");
    part(&path, 0, 1);
    let mut input = open(&path).unwrap();
    while input.next().unwrap().is_some() {}
    assert_eq!(input.total_bytes(), Some(fs::metadata(path).unwrap().len()));
    assert_eq!(Some(input.read_bytes()), input.total_bytes());
}

/// By the numbers that the recorder gave, even where the clock was set back.
#[test]
fn a_series_is_read_in_order() {
    let folder = folder();
    for (sequence, ts_ns) in [(10, 5), (2, 50), (1, 500)] {
        let name = format!("cap-{sequence}.jsonl.zst");
        part(&folder.path().join(name), sequence, ts_ns);
    }
    let (times, of_packets, interfaces, errors) = summary(&folder.path().join("cap"));
    assert_eq!(times, [500, 500, 50, 50, 5, 5]);
    assert_eq!(interfaces, [0; 3]);
    assert_eq!(of_packets, [0; 6]);
    assert_eq!(errors, [""; 0]);
}

/// A recording that was begun again goes on behind the files of the one before, which
/// was killed before anything happened, or in the midst of a ring.
#[test]
fn a_series_is_of_all_recordings_of_its_name() {
    let folder = folder();
    let file = |name: &str, started_ns, sequence, ts_ns| {
        let path = folder.path().join(name);
        part_of(started_ns, &path, sequence, ts_ns);
        path
    };
    let begun = folder.path().join("cap.1.jsonl");
    let mut sink = create(&begun).unwrap();
    let capture = Capture {
        clock_offset_ns: Some(1),
        started_ns: Some(600),
        ..Capture::default()
    };
    sink.write(&Record::Capture(capture.into()), None).unwrap();
    sink.finish().unwrap();
    let expected = [
        file("cap.3.jsonl", 500, 8, 501),
        file("cap.0.jsonl", 500, 9, 502),
        begun,
        file("cap.2.jsonl", 700, 0, 701),
    ];
    let input = open(&folder.path().join("cap")).unwrap();
    assert_eq!(input.files(), expected);
    let (times, ..) = summary(&folder.path().join("cap"));
    assert_eq!(times, [501, 501, 502, 502, 701, 701]);
}

#[test]
fn files_of_recordings_are_told_from_others() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    part(&file("b.jsonl"), 1, 1);
    part(&file("a.jsonl"), 2, 2);
    fs::write(file("empty.jsonl"), "").unwrap();
    fs::write(file("text.jsonl"), "text").unwrap();
    // What was no recording of ours before it was converted.
    let mut sink = create(&file("converted.jsonl")).unwrap();
    let capture = Record::Capture(Capture::default().into());
    sink.write(&capture, None).unwrap();
    sink.finish().unwrap();
    let names = ["a", "b", "empty", "text", "converted"];
    let files = names.map(|name| file(&format!("{name}.jsonl")));
    let expected = ["b.jsonl", "a.jsonl"].map(file);
    assert_eq!(recorded(files.to_vec()), expected);
}

/// By the name that the recorder was given, though there is no file of that name.
#[test]
fn a_series_is_found_by_the_name_of_its_files() {
    let folder = folder();
    for sequence in 0..2 {
        let name = format!("cap.{sequence}.jsonl.zst");
        part(&folder.path().join(name), sequence, sequence.into());
    }
    let input = open(&folder.path().join("cap.jsonl.zst")).unwrap();
    assert_eq!(input.files().len(), 2);
}

/// The files of one recording name the same interfaces; those of two do not, also where
/// they stand among each other.
#[test]
fn interfaces_are_those_of_a_recording() {
    let folder = folder();
    for (started_ns, sequence, ts_ns) in [(1, 0, 10), (2, 0, 20), (1, 1, 30), (2, 1, 40)] {
        let path = folder.path().join(format!("{started_ns}-{sequence}.jsonl"));
        part_of(started_ns, &path, sequence, ts_ns);
    }
    let (times, of_packets, interfaces, errors) = summary(folder.path());
    assert_eq!(times, [10, 10, 20, 20, 30, 30, 40, 40]);
    assert_eq!(interfaces, [0, 1, 0, 1]);
    assert_eq!(of_packets, [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(errors, [""; 0]);
}

#[test]
fn a_folder_is_read_by_time_and_other_files_are_left_alone() {
    let folder = folder();
    part_of(2, &folder.path().join("a.pcapng"), 0, 500);
    part_of(1, &folder.path().join("b.jsonl"), 0, 50);
    part(&folder.path().join(".c.jsonl"), 0, 5);
    fs::write(folder.path().join("README"), "text").unwrap();
    let (times, .., errors) = summary(folder.path());
    assert_eq!(times, [50, 50, 500, 500]);
    assert_eq!(errors, [""; 0]);

    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path()), Err(ReadError::Unsupported(_))));
}

#[test]
fn several_paths_are_one_capture() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    fs::create_dir(file("day")).unwrap();
    part_of(1, &file("late.pcapng"), 0, 500);
    part_of(2, &file("early.jsonl"), 0, 50);
    part_of(3, &file("day/first.jsonl"), 0, 5);
    part_of(4, &file("series.1.jsonl"), 0, 70);
    part_of(4, &file("series.2.jsonl"), 1, 71);
    // As recorders leave them that are killed.
    fs::write(file("empty.pcap"), "").unwrap();
    fs::write(
        file("cut.pcap"),
        [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0],
    )
    .unwrap();
    fs::write(file("day/README"), "text").unwrap();
    let names = [
        "late.pcapng",
        "day",
        "early.jsonl",
        "series",
        "empty.pcap",
        "cut.pcap",
    ];
    // Some of them once more.
    let paths: Vec<_> = names
        .iter()
        .chain(&["day/first.jsonl", "day/../early.jsonl"])
        .collect();
    let paths: Vec<_> = paths.into_iter().map(|name| file(name)).collect();
    let input = open_all(&paths).unwrap();
    let expected = [
        "day/first.jsonl",
        "early.jsonl",
        "series.1.jsonl",
        "series.2.jsonl",
        "late.pcapng",
        "cut.pcap",
    ];
    assert_eq!(input.files(), expected.map(file));

    let early = file("early.jsonl");
    for (other, told) in [
        ("missing", "missing: no such file"),
        ("day/README", "README: this is text"),
    ] {
        let error = open_all(&[early.clone(), file(other)]).err().unwrap();
        assert!(error.to_string().contains(told), "{error}");
    }
    let error = open_all(&[early, "-".into()]).err().unwrap();
    assert!(error.to_string().starts_with("-: a stream"), "{error}");
    let error = open_all(&[file("empty.pcap"), file("day/../empty.pcap")]);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("empty.pcap: this is an empty file"),
        "{error}"
    );
}

/// As `record -o r.jsonl.zst -o r.pcapng` leaves it, and `convert`.
#[test]
fn a_recording_is_read_once() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    part_of(1, &file("a.pcapng"), 0, 10);
    part_of(1, &file("b.jsonl.zst"), 0, 10);
    part_of(2, &file("c.pcapng"), 0, 20);
    let read = || {
        let input = open(folder.path()).unwrap();
        let names = |files: &[PathBuf]| {
            let names = files.iter().map(|path| path.file_name().unwrap());
            let mut names: Vec<_> = names
                .map(|name| name.to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names.join(" ")
        };
        (names(input.files()), names(input.doubled_files()))
    };
    let expect = |files: &str, doubled: &str| {
        assert_eq!(read(), (files.to_owned(), doubled.to_owned()));
    };
    expect("b.jsonl.zst c.pcapng", "a.pcapng");
    // Rotated each by itself.
    part_of(1, &file("a.1.pcapng"), 1, 11);
    expect("a.1.pcapng a.pcapng c.pcapng", "b.jsonl.zst");
    part_of(1, &file("b.1.jsonl.zst"), 1, 11);
    expect("b.1.jsonl.zst b.jsonl.zst c.pcapng", "a.1.pcapng a.pcapng");
    // Copied.
    fs::copy(file("b.1.jsonl.zst"), file("b.2.jsonl.zst")).unwrap();
    expect(
        "b.1.jsonl.zst b.jsonl.zst c.pcapng",
        "a.1.pcapng a.pcapng b.2.jsonl.zst",
    );
    // A part of it that a filter left.
    let c = fs::read(file("c.pcapng")).unwrap();
    let mut input = open_reader(Cursor::new(c)).unwrap();
    let mut sink = create(&file("c.jsonl.zst")).unwrap();
    while let Some(record) = input.next().unwrap() {
        let record = match record {
            Record::Capture(capture) => Record::Capture(Box::new(Capture {
                filter: Some("(tcp) and (port 80)".to_owned()),
                ..*capture
            })),
            record => record,
        };
        sink.write(&record, None).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(read().1, "a.1.pcapng a.pcapng b.2.jsonl.zst c.jsonl.zst");
}

/// What follows a part that is cut is still read.
#[test]
fn a_cut_part_does_not_end_a_series() {
    let folder = folder();
    for sequence in 0..3 {
        let path = folder.path().join(format!("cap{sequence}.jsonl"));
        part(&path, sequence, sequence.into());
        let file = fs::read(&path).unwrap();
        fs::write(&path, &file[..file.len() - 10]).unwrap();
    }
    let mut input = open(&folder.path().join("cap")).unwrap();
    let (mut times, mut passing, mut last) = (vec![], 0, None);
    loop {
        match input.next() {
            Ok(Some(record)) => times.extend(record.ts_ns()),
            Ok(None) => break,
            Err(error) if error.is_passing() => passing += 1,
            Err(error) => last = Some(error),
        }
    }
    assert_eq!(times, [0, 1, 2]);
    assert_eq!(passing, 2);
    assert!(matches!(last, Some(ReadError::Truncated { detail, .. }) if detail.contains("cap2")));
}

/// As a recorder leaves it that was killed between creating and writing it.
#[test]
fn an_empty_part_does_not_hide_the_others() {
    let folder = folder();
    part(&folder.path().join("cap.jsonl"), 0, 1);
    fs::write(folder.path().join("cap.1.jsonl"), "").unwrap();
    let (times, .., errors) = summary(&folder.path().join("cap"));
    assert_eq!(times, [1, 1]);
    assert_eq!(errors, [""; 0]);
}

#[test]
fn a_later_major_schema_is_refused() {
    let folder = folder();
    for extension in ["jsonl", "pcapng"] {
        let path = folder.path().join(format!("cap.{extension}"));
        let mut sink = create(&path).unwrap();
        let mut schema = SCHEMA;
        schema.major += 1;
        let capture = Capture {
            schema: Some(schema),
            program: "tcprec 9.0.0".into(),
            ..Capture::default()
        };
        sink.write(&Record::Capture(capture.into()), None).unwrap();
        sink.finish().unwrap();
        let error = match open(&path) {
            Ok(mut input) => input.next().err().unwrap(),
            Err(error) => error,
        };
        assert!(matches!(&error, ReadError::Unsupported(_)), "{error}");
        assert!(error.to_string().contains("tcprec 9.0.0"), "{error}");
    }
}
