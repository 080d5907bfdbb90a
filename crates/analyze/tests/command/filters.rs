//! What a filter leaves.

use std::collections::BTreeSet;
use std::env;

use super::*;

/// Whether this host can compile filters; says so where it cannot. In CI that is a failure.
pub(super) fn has_libpcap() -> bool {
    let (_folder, path) = capture(1);
    let output = run(&["print", text(&path), "tcp"]);
    let has = !String::from_utf8_lossy(&output.stderr).contains("need libpcap");
    if !has {
        assert!(env::var_os("CI").is_none(), "no libpcap here");
        println!("passed over: no libpcap here");
    }
    has
}

#[test]
fn a_filter_may_stand_anywhere_behind_the_file() {
    if !has_libpcap() {
        return;
    }
    let (folder, path) = capture(3);
    let file = folder.path().join("filter");
    fs::write(&file, "tcp # all of TCP\nand port 80\n").unwrap();
    for (args, expected) in [
        (&["tcp port 80"][..], 3),
        (&["tcp", "port", "80"], 3),
        (&["tcp", "port", "80", "-c", "2"], 2),
        (&["-c", "2", "tcp", "port", "80"], 2),
        (&["--utc", "not", "tcp"], 0),
        (&["tcp", "and", "port 81"], 0),
        (&["-F", text(&file)], 3),
        (&["--ignore-port", "80"], 0),
        (&["--ignore-port", "81", "--ignore-port", "82"], 3),
        (&["--http-only"], 3),
        (&["--http-only", "src port 80"], 0),
        (&[""], 3),
    ] {
        let after = run(&[&["print", text(&path)], args].concat());
        assert_eq!(lines(&after), expected, "{args:?}");
        let before = run(&[&["print", "-n", text(&path)], args].concat());
        assert_eq!(lines(&before), expected, "{args:?}");
    }
    let both = run(&["print", text(&path), "-F", text(&file), "tcp"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn what_a_filter_leaves_is_what_print_counts() {
    if !has_libpcap() {
        return;
    }
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/events/input.jsonl");
    let output = run(&["print", text(&capture), "port 8000"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let (end, lines): (Vec<_>, Vec<_>) = printed.lines().partition(|line| line.contains(" end "));
    let packets = lines.iter().filter(|line| line.contains(" IP ")).count();
    let events = lines.iter().filter(|line| !line.contains(" lost ")).count() - packets;
    let counts = format!("{packets} packets and {events} events recorded");
    assert!(end[0].contains(&counts), "{counts}: {printed}");
}

#[test]
fn an_option_that_filters_is_told_by_its_name() {
    if !has_libpcap() {
        return;
    }
    let (folder, path) = capture(1);
    let selected = folder.path().join("selected.jsonl");
    run(&[
        "convert",
        text(&path),
        text(&selected),
        "--http-only",
        "tcp",
    ]);
    let report = run(&["analyze", text(&selected)]);
    let report = String::from_utf8_lossy(&report.stdout);
    assert!(report.contains("  (tcp) and (--http-only)\n"), "{report}");
}

#[test]
fn a_mistake_in_a_filter_destroys_nothing() {
    if !has_libpcap() {
        return;
    }
    let (folder, path) = capture(1);
    let other = folder.path().join("other.jsonl");
    fs::write(&other, "precious").unwrap();
    let output = run(&["convert", text(&path), text(&other), "tcp portt 80"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "tcprec: filter: syntax error\n    tcp portt 80\n        ^\n"
    );
    assert_eq!(fs::read(&other).unwrap(), b"precious");
}

#[test]
fn what_is_converted_says_its_filter() {
    if !has_libpcap() {
        return;
    }
    let (folder, path) = capture(2);
    let [once, twice] = ["once.jsonl", "twice.jsonl"].map(|name| folder.path().join(name));
    assert_eq!(
        lines(&run(&["convert", text(&path), text(&once), "port 80"])),
        0
    );
    run(&["convert", text(&once), text(&twice), "ip6"]);
    let first = |path| fs::read_to_string(path).unwrap();
    assert!(first(&once).contains(r#""filter":"port 80""#));
    assert_eq!(first(&once).lines().count(), 4);
    assert!(first(&twice).contains(r#""filter":"(port 80) and (ip6)""#));
    assert_eq!(first(&twice).lines().count(), 2);
}

/// A capture that is given away is filtered for what else stands in it. A client's port is
/// known of its packets alone: its socket has none yet when it is asked to connect.
#[test]
fn what_is_converted_tells_of_no_other_connection() {
    if !has_libpcap() {
        return;
    }
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/events/input.jsonl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.jsonl");
    run(&[
        "convert",
        text(&capture),
        text(&path),
        "tcp port 55000 or 60000",
    ]);
    let records = fs::read_to_string(&path).unwrap();
    let records = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let records: Vec<serde_json::Value> = records.collect();
    let (mut known, mut packets, mut events) = (BTreeSet::new(), 0, 0);
    for record in &records {
        match record["type"].as_str().unwrap() {
            "process" => {
                known.insert(record["pid"].as_u64().unwrap());
            }
            "packet" => packets += 1,
            "capture" | "interface" | "loss" => {}
            "end" => {
                assert_eq!(record["recorded_packets"], packets);
                assert_eq!(record["recorded_events"], events);
                assert_eq!(record["seen_events"], events);
            }
            kind => {
                events += 1;
                let pid = record["process"]["pid"].as_u64();
                assert!(
                    pid.is_none_or(|pid| known.contains(&pid)),
                    "{kind}: {pid:?}"
                );
            }
        }
    }
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [811, 960]);
    assert_eq!((packets, events), (7, 6));
    let report = run(&["analyze", "--format=jsonl", text(&path)]);
    let report = String::from_utf8(report.stdout).unwrap();
    let told = r#""attributed_connections":2,"attributed_packets":7"#;
    assert!(report.contains(told), "{report}");
    let all = run(&["convert", text(&capture), "-"]);
    assert!(String::from_utf8(all.stdout).unwrap().contains("sshd"));
}
