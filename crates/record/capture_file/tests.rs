use std::time::Duration;

use jiff::tz::TimeZone;
use tcprec_shared::record::{Capture, End, Packet};

use super::*;
use crate::kernel::Clock;

/// A series whose files begin at whole periods, however late their first record.
#[test]
fn periods_do_not_drift() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cap.jsonl");
    let rotation = Rotation {
        max_bytes: None,
        period: Some(Duration::from_nanos(10)),
        files: None,
    };
    let names = Names::new(&path, "jsonl", &rotation, TimeZone::UTC).unwrap();
    let mut series = CaptureFile::create(&path, Some((rotation, names)), 0).unwrap();
    let processes = Processes::new(Clock { offset_ns: 0 });
    let head = |sequence| {
        vec![Record::Capture(Box::new(Capture {
            sequence,
            ..Capture::default()
        }))]
    };
    for (early, late) in [(9, 12), (19, 38), (39, 40)] {
        assert!(!series.is_due(early), "{early}");
        assert!(series.is_due(late), "{late}");
        let end = Record::End(End::default());
        series.rotate(late, &end, head, &processes).unwrap();
    }
    // Where the next cannot be created, this one holds what it took.
    let packet = Record::Packet(Packet::new(41, 0, vec![0; 60]));
    series.write(&packet, &Note::default(), &processes).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    fs::rename(folder.path(), &moved).unwrap();
    let end = Record::End(End::default());
    let failed = series.rotate(50, &end, head, &processes).unwrap_err();
    assert_eq!(failed.held.unwrap().packets, 1);
    let text = fs::read_to_string(moved.join("cap.3.jsonl")).unwrap();
    assert!(text.contains("\"wire_bytes\":60"), "{text}");
}
