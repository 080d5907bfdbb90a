//! Captures that overlap in time are told as the one that they are parts of.

use tcprec_shared::headers::{self, Headers, LinkType};

use super::*;

/// A pcap file, little-endian and in microseconds: its header, and its packets with theirs.
struct Pcap {
    header: Vec<u8>,
    packets: Vec<Vec<u8>>,
}

const HEADER_BYTES: usize = 24;
const PACKET_HEADER_BYTES: usize = 16;

impl Pcap {
    /// None where it is something else, or where times do not rise: packets of one time have
    /// no order in several files.
    fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).unwrap();
        assert!(bytes.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()));
        let (header, mut rest) = bytes.split_at(HEADER_BYTES);
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let captured_bytes = u32::from_le_bytes(rest[8..12].try_into().unwrap());
            let (packet, after) = rest.split_at(PACKET_HEADER_BYTES + captured_bytes as usize);
            packets.push(packet.to_vec());
            rest = after;
        }
        let time = |packet: &Vec<u8>| {
            let field = |at| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap());
            (field(0), field(4))
        };
        packets
            .is_sorted_by(|one, next| time(one) < time(next))
            .then(|| Self {
                header: header.to_vec(),
                packets,
            })
    }

    /// Whether a packet goes from the lower end of its connection to the higher one.
    fn goes_up(&self, packet: &[u8]) -> bool {
        let link = u16::from_le_bytes(self.header[20..22].try_into().unwrap());
        let wire_bytes = u32::from_le_bytes(packet[12..16].try_into().unwrap());
        let data = &packet[PACKET_HEADER_BYTES..];
        match headers::parse(LinkType(link), data, wire_bytes) {
            Headers::Segment(segment) => segment.src < segment.dst,
            _ => false,
        }
    }

    /// Writes each packet into the file that it belongs to.
    fn split(&self, folder: &Path, file: impl Fn(usize, &[u8]) -> usize) {
        let mut files = vec![];
        for (place, packet) in self.packets.iter().enumerate() {
            let file = file(place, packet);
            files.resize_with(files.len().max(file + 1), || self.header.clone());
            files[file].extend_from_slice(packet);
        }
        for (number, bytes) in files.iter().enumerate() {
            fs::write(folder.join(format!("part{number}.pcap")), bytes).unwrap();
        }
    }
}

/// All rows, but for what tells of files and interfaces.
fn rows(path: &Path) -> Vec<serde_json::Value> {
    let output = run(&["analyze", "--format=jsonl", text(path)]);
    assert!(output.stderr.is_empty(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
        if row["kind"] == "capture" {
            let fields = row.as_object_mut().unwrap();
            fields.retain(|name, _| !name.contains("files") && name != "interfaces");
        }
        row
    };
    lines.lines().map(row).collect()
}

fn print(path: &Path) -> String {
    let output = run(&["print", "--utc", text(path)]);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_capture_that_was_taken_apart_is_told_as_the_whole() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut names = 0;
    for case in fs::read_dir(fixtures).into_iter().flatten().flatten() {
        let whole = case.path().join("input.pcap");
        let Some(pcap) = whole.is_file().then(|| Pcap::read(&whole)).flatten() else {
            continue;
        };
        names += 1;
        let by_direction = tempfile::tempdir().unwrap();
        pcap.split(by_direction.path(), |_, packet| {
            usize::from(pcap.goes_up(packet))
        });
        let by_turns = tempfile::tempdir().unwrap();
        pcap.split(by_turns.path(), |place, _| place % 3);
        let (expected, lines) = (rows(&whole), print(&whole));
        for parts in [&by_direction, &by_turns] {
            assert!(rows(parts.path()) == expected, "{}", whole.display());
            assert_eq!(print(parts.path()), lines, "{}", whole.display());
        }
    }
    assert!(names == 0 || names > 20, "{names}");
}

/// A recording of a host, with packets at these times.
fn recording(path: &Path, started_ns: i64, times: &[i64], addr: &str) {
    let id = format!(r#""boot_id":"{addr}","clock_offset_ns":1,"started_ns":{started_ns}"#);
    let mut lines = format!(
        "{{\"type\":\"capture\",\"schema\":{{\"major\":1,\"minor\":4}},\"program\":\"test\",{id}}}\n\
         {{\"type\":\"interface\",\"id\":0,\"link_type\":101}}\n"
    );
    let data = "RQAAKAAAAABABgAACgAAAQoAAAID6ABQAAAABwAAAABQAgEAAAAAAA==";
    for ts_ns in times {
        writeln!(
            lines,
            r#"{{"type":"packet","ts_ns":{ts_ns},"interface":0,"wire_bytes":40,"data":"{data}"}}"#
        )
        .unwrap();
    }
    let count = times.len();
    writeln!(
        lines,
        r#"{{"type":"end","ts_ns":{},"reason":"interrupted","seen_packets":{count},"recorded_packets":{count},"lost_packets":0,"seen_events":0,"recorded_events":0,"lost_events":0,"wire_bytes":{}}}"#,
        times[count - 1],
        40 * count
    )
    .unwrap();
    fs::write(path, lines).unwrap();
}

/// Each end has the totals of its recording, and no file is without one.
#[test]
fn recordings_that_overlap_have_their_own_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    recording(&file("a.jsonl"), 1, &[10, 30, 50], "a");
    recording(&file("b.jsonl"), 2, &[20, 40, 60, 70, 80], "b");
    let [a, b, merged] = ["a.jsonl", "b.jsonl", "merged.jsonl"].map(file);
    let converted = run(&["convert", text(&a), text(&b), text(&merged)]);
    assert!(converted.status.success(), "{converted:?}");
    let told = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let told = text.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            match row["type"].as_str().unwrap() {
                "capture" => row["boot_id"].as_str().unwrap().to_owned(),
                "end" => format!("end {}", row["recorded_packets"]),
                "packet" => row["ts_ns"].to_string(),
                other => other.to_owned(),
            }
        });
        told.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        told(&merged),
        "a interface 10 b interface 20 30 40 50 a end 3 60 70 80 b end 5"
    );
    let report = run(&["analyze", text(&merged)]);
    let report = String::from_utf8(report.stdout).unwrap();
    let files = report.lines().find(|line| line.starts_with("  files"));
    assert!(!files.unwrap().contains("without an end"), "{report}");
    assert!(report.contains("packets   8,"), "{report}");

    if filters::has_libpcap() {
        let left = file("left.jsonl");
        let converted = run(&["convert", text(&merged), text(&left), "dst port 80"]);
        assert!(converted.status.success(), "{converted:?}");
        assert_eq!(told(&left), told(&merged));
    }
}
