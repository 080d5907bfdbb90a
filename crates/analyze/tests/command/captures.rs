//! Several captures on a command line.

use super::*;

/// A folder with captures of two packets, at these times and of these link types.
fn folder(captures: &[(&str, u32, u32)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, ts_ns, link_type) in captures {
        let data = "RQAAKAAAAABABgAACgAAAQoAAAID6ABQAAAABwAAAABQAgEAAAAAAA==";
        let mut text = format!(
            "{{\"type\":\"capture\",\"program\":\"test\"}}\n\
             {{\"type\":\"interface\",\"id\":0,\"name\":\"{name}\",\"link_type\":{link_type}}}\n"
        );
        for ts_ns in [*ts_ns, ts_ns + 1] {
            writeln!(
                text,
                r#"{{"type":"packet","ts_ns":{ts_ns},"interface":0,"wire_bytes":40,"data":"{data}"}}"#
            )
            .unwrap();
        }
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run_in(folder: &TempDir, args: &[&str]) -> Output {
    tcprec(args).current_dir(folder.path()).output().unwrap()
}

const RAW: u32 = 101;
const IPV4: u32 = 228;

#[test]
fn several_captures_are_read_as_one() {
    let folder = folder(&[("b.jsonl", 1, RAW), ("a.jsonl", 10, IPV4), ("c", 20, RAW)]);
    let report = run_in(&folder, &["analyze", "-n", "a.jsonl", "b.jsonl", "c"]);
    let report = String::from_utf8(report.stdout).unwrap();
    for told in ["packets   6,", "files     3\n", "Connections: 1 "] {
        assert!(report.contains(told), "{told}: {report}");
    }
    let print = |names: &[&str]| {
        let output = run_in(&folder, &[&["print", "--utc"], names].concat());
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let each: String = ["b.jsonl", "a.jsonl", "c"]
        .map(|name| print(&[name]))
        .concat();
    assert_eq!(print(&["a.jsonl", "c", "b.jsonl"]), each);
    // What is named twice is read once.
    assert_eq!(print(&["c", "./c", "c"]), print(&["c"]));
}

#[test]
fn what_cannot_be_read_among_several_is_told_by_its_name() {
    let folder = folder(&[("a.jsonl", 1, RAW)]);
    fs::write(folder.path().join("notes"), "text").unwrap();
    for (other, told) in [
        ("b.pcap", "no such file"),
        ("notes", "this is text"),
        ("-", "a stream must be the only input"),
    ] {
        let output = run_in(&folder, &["analyze", "a.jsonl", other]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let message = message(&output);
        let expected = format!("tcprec: {other}: {told}");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_filter_follows_the_last_capture() {
    if !filters::has_libpcap() {
        return;
    }
    let folder = folder(&[("a.jsonl", 1, RAW), ("b.jsonl", 2, RAW)]);
    // As in many places; and it begins a filter.
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("filter"), "port 81\n").unwrap();
    for (args, packets) in [
        (&["a.jsonl", "b.jsonl", "src", "host", "10.0.0.1"][..], 4),
        (&["a.jsonl", "src host 10.0.0.1"], 2),
        (&["a.jsonl", "b.jsonl", "port 81"], 0),
        (&["-F", "filter", "a.jsonl", "b.jsonl"], 0),
    ] {
        let output = run_in(&folder, &[&["print"], args].concat());
        assert_eq!(lines(&output), packets, "{args:?}");
    }
    let output = run_in(&folder, &["print", "a.jsonl", "src/"]);
    assert_eq!(
        message(&output),
        "tcprec: src/: no captures in this folder\n"
    );
    let output = run_in(&folder, &["print", "a.jsonl", "b"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("nor is there such a file; with several captures"),
        "{told}"
    );
}

/// Who lets the shell name all captures of a folder may have forgotten the output.
#[test]
fn several_captures_are_converted_into_a_new_file() {
    let folder = folder(&[
        ("a.jsonl", 1, RAW),
        ("b.jsonl", 2, RAW),
        ("c.jsonl", 3, RAW),
    ]);
    let names = ["a.jsonl", "b.jsonl", "c.jsonl"];
    let before = names.map(|name| fs::read(folder.path().join(name)).unwrap());
    let output = run_in(&folder, &[&["convert"], &names[..]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(message(&output).starts_with("tcprec: c.jsonl: exists"));
    for output in ["all.pcapng", "-"] {
        let converted = run_in(&folder, &[&["convert"], &names[..], &[output]].concat());
        assert_eq!(converted.status.code(), Some(0), "{converted:?}");
        if output == "-" {
            assert_eq!(lines(&converted), 12);
        }
    }
    assert_eq!(lines(&run_in(&folder, &["print", "all.pcapng"])), 6);
    let after = names.map(|name| fs::read(folder.path().join(name)).unwrap());
    assert_eq!(after, before);
}
