use std::time::Duration;

use super::table::{self, Looks};
use super::{Interval, Row, Seen, Sort, jsonl};
use crate::kernel::{Counted, Counts, Doubts, Owner};

fn owner(pid: u32) -> Option<Owner> {
    (pid != 0).then_some(Owner {
        pid,
        uid: 33,
        start_boot_ns: 0,
    })
}

fn counted(pid: u32, sent_bytes: u64, is_gone: bool) -> Counted {
    Counted {
        owner: owner(pid),
        comm: "nginx".to_owned(),
        counts: Counts {
            sent_bytes,
            ..Counts::default()
        },
        is_gone,
    }
}

fn row(pid: u32, counts: Counts) -> Row {
    Row {
        owner: owner(pid),
        comm: "nginx".to_owned(),
        counts,
        doubts: Doubts::default(),
    }
}

const NONE: Doubts = Doubts {
    no_room: 0,
    missed: 0,
};

fn told(rows: &[Row]) -> Vec<(u32, u64)> {
    let told = rows.iter();
    told.map(|row| {
        (
            row.owner.map_or(0, |owner| owner.pid),
            row.counts.sent_bytes,
        )
    })
    .collect()
}

#[test]
fn intervals_are_differences() {
    let mut seen = Seen::default();
    let some = Doubts {
        no_room: 2,
        missed: 3,
    };
    let rows = seen.differences(vec![counted(0, 0, false), counted(7, 100, false)], NONE);
    assert_eq!(told(&rows), [(7, 100)]);
    let rows = seen.differences(vec![counted(0, 5, false), counted(7, 130, false)], some);
    assert_eq!(told(&rows), [(0, 5), (7, 30)]);
    assert_eq!(rows[0].doubts, some);
    assert_eq!(rows[1].doubts, NONE);
    // What does nothing is still there.
    let rows = seen.differences(vec![counted(0, 5, false), counted(7, 130, false)], some);
    assert_eq!(told(&rows), [(0, 0), (7, 0)]);
    assert_eq!(rows[0].doubts, NONE);
}

#[test]
fn who_is_gone_begins_anew() {
    let mut seen = Seen::default();
    seen.differences(vec![counted(7, 100, false)], NONE);
    let rows = seen.differences(vec![counted(7, 101, true)], NONE);
    assert_eq!(told(&rows), [(7, 1)]);
    assert_eq!(told(&seen.differences(Vec::new(), NONE)), []);
    // A socket outlived it.
    let rows = seen.differences(vec![counted(7, 3, true)], NONE);
    assert_eq!(told(&rows), [(7, 3)]);
}

#[test]
fn the_most_comes_first() {
    let counts = |connects, sent_bytes| Counts {
        connects,
        sent_bytes,
        ..Counts::default()
    };
    let mut rows = [
        row(9, counts(1, 5)),
        row(3, counts(2, 1)),
        row(5, counts(2, 3)),
    ];
    let mut order = |sort: Sort| {
        sort.sort(&mut rows);
        rows.each_ref().map(|row| row.owner.unwrap().pid)
    };
    assert_eq!(order(Sort::Bytes), [9, 5, 3]);
    assert_eq!(order(Sort::Connects), [3, 5, 9]);
    assert_eq!(order(Sort::Pid), [3, 5, 9]);
}

fn interval(rows: Vec<Row>) -> Interval {
    Interval {
        ts_ns: 1_700_000_000_000_000_000,
        length: Duration::from_millis(2000),
        rows,
    }
}

const LOOKS: Looks = Looks {
    window: None,
    color: false,
    sort: Sort::Bytes,
    rows: None,
};

fn much() -> Counts {
    Counts {
        connects: 3,
        accepts: 200_000_000,
        sent_packets: 2_400,
        sent_bytes: 2_460_000,
        received_packets: 7,
        received_bytes: u64::MAX,
        retransmits: 0,
    }
}

#[test]
fn rates_are_per_second() {
    let lines = table::lines(&interval(vec![row(811, much())]), &LOOKS);
    assert_eq!(
        lines[1..],
        [
            "    PID   UID  COMMAND          CONN  ACPT PKT-OUT  PKT-IN     OUT      IN RETR",
            "    811    33  nginx             1.5  100M    1200     3.5 1.23 MB 9.22 EB    0",
        ]
    );
}

#[test]
fn lines_fit_the_window() {
    let mut rows: Vec<_> = (1..100).map(|pid| row(pid, much())).collect();
    rows[0].comm = "日本日本\x1b[2J".to_owned();
    let interval = interval(rows);
    for (width, height) in [(80, 24), (30, 5), (1, 3), (0, 0)] {
        let looks = Looks {
            window: Some((width, height)),
            ..LOOKS
        };
        let lines = table::lines(&interval, &looks);
        assert_eq!(lines.len(), height);
        for line in &lines {
            assert!(
                unicode_width::UnicodeWidthStr::width(line.as_str()) <= width,
                "{line}"
            );
        }
        if height == 24 {
            assert_eq!(lines[23], "... and 78 more");
        }
    }
    let looks = Looks {
        rows: Some(2),
        ..LOOKS
    };
    assert_eq!(table::lines(&interval, &looks).len(), 4);
}

#[test]
fn jsonl_tells_counts() {
    let mut nobody = row(0, Counts::default());
    nobody.doubts.no_room = 4;
    let mut written = Vec::new();
    jsonl::write(
        &mut written,
        &interval(vec![row(811, much()), nobody]),
        None,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        "{\"ts_ns\":1700000000000000000,\"interval_ns\":2000000000,\"pid\":811,\"uid\":33,\
         \"comm\":\"nginx\",\"connects\":3,\"accepts\":200000000,\"sent_packets\":2400,\
         \"sent_bytes\":2460000,\"received_packets\":7,\"received_bytes\":18446744073709551615,\
         \"retransmits\":0}\n\
         {\"ts_ns\":1700000000000000000,\"interval_ns\":2000000000,\"connects\":0,\"accepts\":0,\
         \"sent_packets\":0,\"sent_bytes\":0,\"received_packets\":0,\"received_bytes\":0,\
         \"retransmits\":0,\"no_room\":4}\n"
    );
}
