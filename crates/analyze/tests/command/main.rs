//! How the offline commands behave on a command line: exit codes, messages,
//! streams, and files that must stay as they are.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a failure here is a test's, and so is what it says

mod captures;
mod filters;
mod merged;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

fn tcprec(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcprec-analyze"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    tcprec(args).output().unwrap()
}

/// The one line on the standard error.
fn message(output: &Output) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// A capture with so many SYNs, and the folder it is in.
fn capture(packets: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cap.jsonl");
    let mut text = String::from(concat!(
        r#"{"type":"capture","program":"test"}"#,
        "\n",
        r#"{"type":"interface","id":0,"link_type":101}"#,
        "\n",
    ));
    let data = "RQAAKAAAAABABgAACgAAAQoAAAID6ABQAAAABwAAAABQAgEAAAAAAA==";
    for packet in 0..packets {
        writeln!(
            text,
            r#"{{"type":"packet","ts_ns":{packet},"interface":0,"wire_bytes":40,"data":"{data}"}}"#
        )
        .unwrap();
    }
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_cannot_be_read_is_told_in_one_line() {
    let (folder, _) = capture(1);
    let no_capture = folder.path().join("notes.txt");
    fs::write(&no_capture, "no capture\n").unwrap();
    let empty = folder.path().join("empty.pcap");
    fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing");
    for path in [&no_capture, &empty, &missing] {
        for command in ["analyze", "print"] {
            let output = run(&[command, text(path)]);
            assert_eq!(output.status.code(), Some(2));
            assert!(output.stdout.is_empty());
            let message = message(&output);
            assert!(message.starts_with(&format!("tcprec: {}: ", path.display())));
        }
    }
    assert_eq!(run(&["analyze"]).status.code(), Some(2));
    // Whatever a file is called, its name steers no terminal.
    let message = message(&run(&["analyze", "red\x1b[31m"]));
    assert!(message.starts_with(r"tcprec: red\x1b[31m: "), "{message:?}");
}

#[test]
fn what_tcpdump_is_told_is_understood() {
    let (_folder, path) = capture(3);
    let plain = run(&["print", text(&path), "port 80", "-c", "2"]);
    let output = run(&["print", "-nnr", text(&path), "port 80", "-c", "2"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, plain.stdout);
    assert_eq!(run(&["analyze", "-nr", text(&path)]).status.code(), Some(0));
}

#[test]
fn a_cut_capture_is_read_up_to_the_cut() {
    let (_folder, path) = capture(3);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let output = run(&["analyze", text(&path)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(message(&output).contains("everything before it was read"));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("packets   2,"), "{report}");
    assert!(report.contains("ended     cut at byte"), "{report}");
}

#[test]
fn damaged_records_are_passed_over() {
    let (_folder, path) = capture(1);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        whole.replace("{\"type\":\"packet", "nonsense\n{\"type\":\"packet"),
    )
    .unwrap();
    let output = run(&["analyze", text(&path)]);
    assert_eq!(output.status.code(), Some(0));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("packets   1,"), "{report}");
    assert!(
        report.contains("damaged   1 record passed over"),
        "{report}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (_folder, path) = capture(20_000);
    for command in ["print", "analyze"] {
        let format = (command == "analyze").then_some("--format=jsonl");
        let mut child = tcprec(&[command, text(&path)])
            .args(format)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(output.stderr.is_empty(), "{command}");
    }
}

#[test]
fn the_standard_streams_are_named_by_a_dash() {
    let (_folder, path) = capture(3);
    let mut child = tcprec(&["convert", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let whole = fs::read(&path).unwrap();
    child.stdin.take().unwrap().write_all(&whole).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
}

/// What a running recording brings is told at once.
#[test]
fn rows_do_not_wait_for_the_end_of_a_pipe() {
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/events/input.jsonl");
    let events = fs::read_to_string(events).unwrap();
    // A connection is over for good when others come long after it.
    let packets = events.lines().filter(|line| line.contains("\"packet\""));
    let late = packets.map(|line| line.replace(":17851482", ":17851492") + "\n");
    let late: String = late.collect();
    let folder = tempfile::tempdir().unwrap();
    let [jsonl, pcapng] = ["cap.jsonl", "cap.pcapng"].map(|name| folder.path().join(name));
    fs::write(&jsonl, events + &late).unwrap();
    run(&["convert", text(&jsonl), text(&pcapng)]);
    for (path, filter) in [(&jsonl, ""), (&pcapng, ""), (&jsonl, "tcp")] {
        if !filter.is_empty() && !filters::has_libpcap() {
            continue;
        }
        let mut child = tcprec(&["analyze", "--format=jsonl", "-", filter])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&fs::read(path).unwrap()).unwrap();
        let mut row = String::new();
        let stdout = child.stdout.take().unwrap();
        let (to, told) = mpsc::channel();
        let reader = thread::spawn(move || {
            BufReader::new(stdout).read_line(&mut row).unwrap();
            to.send(row).unwrap();
        });
        // Much longer than it takes on a busy machine.
        let row = told.recv_timeout(Duration::from_secs(240));
        drop(stdin);
        reader.join().unwrap();
        assert!(row.unwrap().starts_with("{\"kind\":"));
        child.wait().unwrap();
    }
}

#[test]
fn print_stops_after_so_many_packets() {
    let (_folder, path) = capture(3);
    let output = run(&["print", "-n", "-c", "2", text(&path)]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn convert_never_destroys_its_input() {
    let (folder, path) = capture(1);
    let before = fs::read(&path).unwrap();
    let stem = folder.path().join("cap");
    for input in [&path, &stem] {
        let output = run(&["convert", text(input), text(&path)]);
        assert_eq!(output.status.code(), Some(2));
        assert!(message(&output).contains("is the input"));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let unknown = folder.path().join("cap.txt");
    let output = run(&["convert", text(&path), text(&unknown)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(message(&output).contains(".pcapng"));
    assert!(!unknown.exists());
}

/// What is wrong on the command line is named, with what would be right.
#[test]
fn what_is_asked_for_wrongly_is_told_what_is_right() {
    let (folder, path) = capture(1);
    let path = text(&path);
    let nowhere = folder.path().join("nowhere/cap.jsonl");
    let nowhere = text(&nowhere);
    for (args, told) in [
        (&["analyze", path, "--slow", "x"][..], "at least 1"),
        (&["analyze", path, "--slow", "-3"], "at least 1"),
        (&["analyze", path, "--sort", "x"], "retransmits"),
        (&["analyze", path, "--ignore-port", "70000"], "up to 65535"),
        (&["print", path, "-c", "0"], "at least 1"),
        (&["print", path, "-F", nowhere], "the filter in "),
        (&["convert", path, nowhere], "cannot write "),
        (
            &["analyze", path, "--where", "status >= abc"],
            "status is a number",
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(told), "{args:?}: {said}");
    }
    if filters::has_libpcap() {
        let said = run(&["analyze", path, "tcp", path]).stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("captures come before it"), "{said}");
    }
}

/// What a format cannot say is left out, told, and lost in the books of the file; the
/// rest is there. Pcapng has no packets without an interface: that is the capture's fault.
#[test]
fn a_packet_that_has_no_place_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from.jsonl");
    let to = folder.path().join("to.pcapng");
    let packet = |ts_ns: u64, interface: u32| {
        format!(
            "{{\"type\":\"packet\",\"ts_ns\":{ts_ns},\"interface\":{interface},\
             \"wire_bytes\":2,\"data\":\"AAA=\"}}\n"
        )
    };
    let end = |seen: usize, recorded: usize, lost: usize| {
        format!(
            "{{\"type\":\"end\",\"ts_ns\":9,\"reason\":\"interrupted\",\
             \"seen_packets\":{seen},\"recorded_packets\":{recorded},\
             \"lost_packets\":{lost},\"seen_events\":0,\"recorded_events\":0,\
             \"lost_events\":0,\"wire_bytes\":{}}}\n",
            2 * recorded
        )
    };
    for strangers in 1..3 {
        for ends in [true, false] {
            let end = |recorded, lost| match ends {
                true => end(strangers + 1, recorded, lost),
                false => String::new(),
            };
            let head = "{\"type\":\"capture\",\"program\":\"test\",\"sequence\":0}\n\
                        {\"type\":\"interface\",\"id\":0,\"link_type\":1}\n";
            let records = [
                head.to_owned(),
                (0..strangers).map(|at| packet(at as u64 + 3, 7)).collect(),
                packet(8, 0),
                end(strangers + 1, 0),
            ];
            fs::write(&from, records.concat()).unwrap();
            let output = run(&["convert", text(&from), text(&to)]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let said = message(&output);
            let capture = format!("tcprec: {}: ", from.display());
            assert!(said.starts_with(&capture), "{said}");
            assert!(said.contains("left out"), "{said}");
            assert!(said.contains("a packet of interface 7"), "{said}");
            let loss = format!(
                "{{\"type\":\"loss\",\"cause\":\"writer\",\"lost\":\"packets\",\
                 \"count\":{strangers},\"bytes\":{},\"first_ns\":3,\"last_ns\":{}}}\n",
                2 * strangers,
                2 + strangers
            );
            let left = [head.to_owned(), packet(8, 0), loss, end(1, strangers)];
            let back = run(&["convert", text(&to), "-"]).stdout;
            assert_eq!(String::from_utf8_lossy(&back), left.concat());
        }
    }
}

/// Without what packets are understood by, a file would look whole and be wrong.
#[test]
fn a_record_without_which_others_mean_nothing_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from.jsonl");
    let to = folder.path().join("to.pcapng");
    let long = "x".repeat(70_000);
    let capture = |command: &str| {
        format!("{{\"type\":\"capture\",\"program\":\"test\",\"command\":[\"{command}\"]}}\n")
    };
    let interface = |name: &str| {
        format!("{{\"type\":\"interface\",\"id\":0,\"name\":\"{name}\",\"link_type\":1}}\n")
    };
    for (records, what) in [
        (capture(&long) + &interface("lo"), "a capture record of 70"),
        (
            capture("a") + &interface(&long),
            "an interface record of 70",
        ),
    ] {
        fs::write(&from, records).unwrap();
        let output = run(&["convert", text(&from), text(&to)]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = message(&output);
        assert!(said.contains(what), "{said}");
        assert!(said.contains("JSON lines"), "{said}");
        assert!(fs::read(&to).unwrap().is_empty());
    }
}

fn lines(output: &Output) -> usize {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output.stdout.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn several_recordings_in_a_folder_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let add = |name: &str, started_ns: u32, sequence: u32| {
        let capture = format!(
            r#"{{"type":"capture","schema":{{"major":1,"minor":3}},"program":"test","boot_id":"b","clock_offset_ns":1,"started_ns":{started_ns},"sequence":{sequence}}}"#
        );
        fs::write(folder.path().join(name), capture + "\n").unwrap();
    };
    let files = || {
        let output = run(&["analyze", text(folder.path())]);
        let report = String::from_utf8(output.stdout).unwrap();
        let line = report.lines().find(|line| line.starts_with("  files"));
        line.unwrap().trim_start().to_owned()
    };
    add("r.jsonl", 7, 0);
    add("r.1.jsonl", 7, 1);
    assert!(files().starts_with("files     2;"), "{}", files());
    let output = run(&["analyze", text(folder.path())]);
    let told = "ended     no end was written: it is still being recorded, or the recorder was killed or could write no more\n";
    assert!(String::from_utf8_lossy(&output.stdout).contains(told));
    add("g.jsonl", 8, 0);
    assert!(
        files().starts_with("files     3, of several recordings, told as one;"),
        "{}",
        files()
    );
    add("g.jsonl.gz", 8, 0);
    let output = run(&["analyze", text(folder.path())]);
    let again = folder.path().join("g.jsonl.gz");
    let expected = format!(
        "tcprec: {}: the same recording again, skipped: {}\n",
        folder.path().display(),
        again.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

/// What is shown first; programs get the same as ever.
#[test]
fn connections_are_shown_in_the_order_that_is_asked_for() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let capture = fixtures.join("findings/input.pcap");
    let run_with = |args: &[&str]| {
        let args = [&["analyze", "--utc", text(&capture)], args].concat();
        String::from_utf8(run(&args).stdout).unwrap()
    };
    let states = |by: &str| {
        let report = run_with(&["--sort", by]);
        let connections = report.lines().skip_while(|line| !line.starts_with("Conn"));
        let rows = connections.filter(|line| line.starts_with("  00:"));
        let states = rows.take(2).map(|line| line[15..30].trim().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(states("start"), ["no answer", "refused"]);
    assert_eq!(states("duration"), ["no answer", "closed"]);
    assert_eq!(states("packets"), ["closed", "closed"]);
    assert_eq!(states("bytes"), ["closed", "client closed"]);
    assert_eq!(states("retransmits"), ["no answer", "refused"]);
    assert!(run_with(&["--sort=bytes"]).contains("  the most bytes first\n"));
    assert!(!run_with(&[]).contains(" first\n"));
    for format in ["--format=json", "--format=jsonl"] {
        assert_eq!(run_with(&[format, "--sort=bytes"]), run_with(&[format]));
    }
}

#[test]
fn a_condition_leaves_in_what_it_holds_of() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let capture = fixtures.join("findings/input.pcap");
    let capture = capture.to_str().unwrap();
    let kinds = |condition: &str| {
        let arguments = ["analyze", "--format=jsonl", "--where", condition, capture];
        let output = String::from_utf8(run(&arguments).stdout).unwrap();
        let kind = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["kind"].as_str().unwrap().to_owned()
        };
        let all = output.lines().map(kind);
        all.filter(|kind| ["conn", "http", "finding"].contains(&&**kind))
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds("state == REJ"), ["conn"]);
    assert_eq!(
        kinds("finding == refused or state == REJ"),
        ["conn", "finding"]
    );
    assert_eq!(kinds("path == '/slow-client'"), ["http"]);
    assert_eq!(kinds("status >= 500"), [""; 0]);
    let arguments = [
        "analyze",
        "--where",
        "state == REJ and ts == 05:45",
        capture,
    ];
    for (zone, found) in [("NPT-5:45", 1), ("UTC", 0)] {
        let output = tcprec(&arguments).env("TZ", zone).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("Connections: {found}")), "{text}");
    }
    let wrong = run(&["analyze", "--where", "stat >= 500", capture]);
    assert_eq!(wrong.status.code(), Some(2));
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert!(message.contains("    stat >= 500\n    ^"), "{message}");
}
