//! Files of others: foreign, hostile, and odd ones.

use std::io::{Cursor, Read, Write as _};

use super::*;
use crate::record::{Capture, Direction, Packet};

/// The error that a file gives before any record.
fn refusal(file: &[u8]) -> String {
    let contents = read(Cursor::new(file.to_vec()));
    assert!(contents.records.is_empty());
    contents.end.unwrap().to_string()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_no_capture_is_named() {
    for (file, name) in [
        (&b""[..], "an empty file"),
        (b"\x7fELF\x02\x01\x01", "an ELF executable"),
        (b"root:x:0:0:root:/root:/bin/bash\n", "text"),
        (
            b"\0\x01\x02\x03",
            "unknown data (it begins with 00 01 02 03)",
        ),
        (&gzip(&gzip(b"text")), "gzip inside gzip"),
        (&gzip(b"PK\x03\x04"), "a zip archive"),
        (
            b"{\"type\":\"conn\"}\n",
            "its first record is of type \"conn\"",
        ),
        (b"{\"kind\":\"conn\"}\n", "its first line is not a record"),
        (
            b"\xa1\xb2\xc3\xd4\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            "pcap version 3.0",
        ),
    ] {
        let error = refusal(file);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn compressed_captures_are_read() {
    let stream = generate::example();
    let jsonl = write(Format::WRITABLE[0], &stream);
    assert_eq!(read(Cursor::new(gzip(&jsonl))).records, stream.records);
    let zstd = zstd::encode_all(&jsonl[..], 1).unwrap();
    assert_eq!(read(Cursor::new(zstd)).records, stream.records);
}

#[test]
fn lines_that_make_no_sense_are_passed_over() {
    let stream = generate::example();
    let jsonl = write(Format::WRITABLE[0], &stream);
    let mut lines: Vec<_> = jsonl.split_inclusive(|byte| *byte == b'\n').collect();
    lines.insert(3, b"{\"type\":\"packet\",\"ts_ns\":}\n");
    lines.insert(4, b"\n  \r\n");
    lines.insert(5, b"{\"type\":\"of a later schema\",\"ts_ns\":1}\n");
    lines.insert(
        6,
        b"{\"ts_ns\":1,\"type\":\"end\",\"later\":[{}],\"reason\":\"\",\"seen_packets\":0,\
        \"recorded_packets\":0,\"lost_packets\":0,\"seen_events\":0,\"recorded_events\":0,\
        \"lost_events\":0,\"wire_bytes\":0}\n",
    );
    let contents = read(Cursor::new(lines.concat()));
    assert_eq!(contents.damaged.len(), 1);
    assert_eq!(contents.records.len(), stream.records.len() + 1);
    assert!(contents.end.is_none());
}

/// A line of four times what is held in memory, among good ones.
#[test]
fn a_line_without_end_is_passed_over() {
    let good = write(Format::WRITABLE[0], &generate::example());
    let long = io::repeat(b'x').take(4 * window::MAX_RECORD_BYTES as u64);
    let file = Cursor::new(good.clone())
        .chain(long)
        .chain(Cursor::new(b"\n".to_vec()))
        .chain(Cursor::new(good));
    let contents = read(file);
    let [error] = &contents.damaged[..] else {
        panic!("{:?}", contents.damaged);
    };
    assert!(error.contains("a line of more than"), "{error}");
    assert_eq!(
        contents.records.len(),
        2 * generate::example().records.len()
    );
}

/// A length field that claims gigabytes costs no memory.
#[test]
fn lengths_that_lie_are_damage() {
    let mut pcap = pcap(MICROSECONDS, true, &generate::example());
    let len = pcap.len();
    pcap.extend([0xff; 16]);
    let contents = read(Cursor::new(pcap));
    assert_eq!(contents.records.len(), 4);
    let error = contents.end.unwrap().to_string();
    assert!(error.contains(&format!("cut at byte {len}: ")), "{error}");
    assert!(error.contains("4294967295"), "{error}");

    let mut pcapng = write(Format::WRITABLE[2], &generate::example());
    pcapng.extend(6_u32.to_le_bytes());
    pcapng.extend(0xffff_fff0_u32.to_le_bytes());
    pcapng.extend([0; 100]);
    let contents = read(Cursor::new(pcapng));
    assert_eq!(contents.records.len(), generate::example().records.len());
    assert!(matches!(contents.end, Some(ReadError::Truncated { .. })));
}

/// Time and bytes of all packets.
fn packets(records: &[Record<'static>]) -> Vec<(i64, Vec<u8>)> {
    let packet = |record: &Record<'static>| match record {
        Record::Packet(packet) => Some((packet.ts_ns, packet.data.to_vec())),
        _ => None,
    };
    records.iter().filter_map(packet).collect()
}

#[test]
fn every_kind_of_pcap_is_read() {
    let stream = generate::example();
    for big_endian in [true, false] {
        for (magic, fraction_ns) in [(MICROSECONDS, 1000), (NANOSECONDS, 1), (KUZNETSOV, 1000)] {
            let contents = read(Trickle(Cursor::new(pcap(magic, big_endian, &stream))));
            assert!(contents.end.is_none(), "{:?}", contents.end);
            let expected = packets(&stream.records)
                .into_iter()
                .map(|(ts_ns, data)| (i64::from(ts_ns as u32 % 1000) * fraction_ns, data));
            assert!(packets(&contents.records).into_iter().eq(expected));
        }
    }
}

/// A big-endian pcapng file, block by block.
#[derive(Default)]
struct Pcapng(Vec<u8>);

impl Pcapng {
    fn block(&mut self, kind: u32, fields: &[u32], data: &[u8], options: &[(u16, &[u8])]) {
        let mut body: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect();
        body.extend_from_slice(data);
        body.resize(body.len().next_multiple_of(4), 0);
        for (code, value) in options {
            body.extend(code.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let len = (body.len() as u32 + 12).to_be_bytes();
        self.0.extend(kind.to_be_bytes());
        self.0.extend(len);
        self.0.extend(body);
        self.0.extend(len);
    }

    fn section(&mut self, options: &[(u16, &[u8])]) {
        let fields = [0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX];
        self.block(0x0a0d_0d0a, &fields, &[], options);
    }

    /// Of link type Ethernet and with a snap length of 4.
    fn interface(&mut self, options: &[(u16, &[u8])]) {
        self.block(1, &[0x0001_0000, 4], &[], options);
    }
}

#[test]
fn every_kind_of_packet_block_is_read() {
    let mut file = Pcapng::default();
    file.section(&[(4, b"dumpcap 4"), (3, b"Linux 6"), (1, b"\xff no text")]);
    file.interface(&[(2, b"eth0"), (9, &[9])]);
    // The obsolete block; a simple one, cut by the snap length; an enhanced one.
    file.block(2, &[0x0000_0007, 0, 5, 3, 60], b"abc", &[]);
    file.block(3, &[60], b"abcd", &[]);
    file.block(
        6,
        &[0, 0, 9, 3, 60],
        b"abc",
        &[(1, b"\xff"), (2, &[0, 0, 0, 2]), (0, b"")],
    );
    // Other blocks, a packet of no interface, and a packet that is longer than its block.
    file.block(0x0bad, &[1, 2, 3], &[], &[]);
    file.block(4, &[], &[], &[]);
    file.block(6, &[1, 0, 9, 3, 60], b"abc", &[]);
    file.block(6, &[0, 0, 9, 30, 60], b"abc", &[]);
    file.block(6, &[0], b"", &[]);
    // Another section, whose interface is another one.
    file.section(&[]);
    file.interface(&[]);
    file.block(6, &[0, 0, 9, 3, 60], b"abc", &[]);

    let contents = read(Trickle(Cursor::new(file.0)));
    assert!(contents.end.is_none(), "{:?}", contents.end);
    assert_eq!(contents.damaged.len(), 3);
    let Record::Capture(capture) = &contents.records[0] else {
        panic!("{:?}", contents.records);
    };
    assert_eq!(
        **capture,
        Capture {
            program: "dumpcap 4".into(),
            kernel: Some("Linux 6".into()),
            snap_bytes: Some(4),
            ..Capture::default()
        }
    );
    let packets: Vec<_> = contents
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Packet(Packet {
                ts_ns,
                interface,
                direction,
                wire_bytes: 60,
                data,
                ..
            }) => Some((*ts_ns, *interface, *direction, &**data)),
            _ => None,
        })
        .collect();
    assert_eq!(
        packets,
        [
            (5, 0, None, &b"abc"[..]),
            // Without a time of its own it has that of the one before.
            (5, 0, None, b"abcd"),
            (9, 0, Some(Direction::Out), b"abc"),
            (9000, 1, None, b"abc"),
        ]
    );
}

#[test]
fn a_section_of_another_version_is_passed_over() {
    let mut file = Pcapng::default();
    file.section(&[]);
    file.interface(&[]);
    file.block(6, &[0, 0, 9, 3, 60], b"one", &[]);
    let version_at = file.0.len() + 12;
    file.section(&[]);
    file.0[version_at..version_at + 2].fill(2);
    file.interface(&[]);
    file.block(6, &[0, 0, 9, 3, 60], b"two", &[]);
    file.section(&[]);
    file.interface(&[]);
    file.block(6, &[0, 0, 9, 5, 60], b"three", &[]);

    let contents = read(Cursor::new(file.0));
    assert!(contents.end.is_none(), "{:?}", contents.end);
    assert_eq!(contents.damaged.len(), 1);
    let packets = packets(&contents.records).into_iter();
    let data: Vec<_> = packets.map(|(_, data)| data).collect();
    assert_eq!(data, [b"one".to_vec(), b"three".to_vec()]);
}

/// Interfaces count time in whatever steps they like.
#[test]
fn times_are_nanoseconds() {
    const DAY: u64 = 86400;
    for (resolution, offset_s, ticks, ns) in [
        (6, 0, 1, 1000),
        (9, 0, 1, 1),
        (0, 0, 1, 1_000_000_000),
        (12, 0, 12_345, 12),
        (19, 0, u64::MAX, 1_844_674_407),
        (40, 0, u64::MAX, 0),
        (0x94, 0, 1 << 19, 500_000_000),
        (0xff, 0, u64::MAX, 0),
        (0x80, 0, 3, 3_000_000_000),
        (6, 1000, 1, 1_000_000_001_000),
        (6, -1, 1_000_000, 0),
        // Times that 64 bits of nanoseconds cannot tell are the nearest that they can.
        (0, 0, DAY * 365 * 1000, i64::MAX),
        (0, i64::MAX, 1, i64::MAX),
        (0, i64::MIN, 1, i64::MIN),
    ] {
        let mut file = Pcapng::default();
        file.section(&[]);
        file.interface(&[(9, &[resolution]), (14, &offset_s.to_be_bytes())]);
        let [high, low] = [(ticks >> 32) as u32, ticks as u32];
        file.block(6, &[0, high, low, 0, 60], &[], &[]);
        let contents = read(Cursor::new(file.0));
        let last = contents.records.last().unwrap();
        assert_eq!(last.ts_ns(), Some(ns), "{resolution} {offset_s} {ticks}");
    }
}

/// Statistics count from the start: what is new in them is a loss.
#[test]
fn statistics_tell_of_losses() {
    let mut file = Pcapng::default();
    file.section(&[]);
    file.interface(&[]);
    let mut statistics = |drops: &[(u16, u64)]| {
        let values: Vec<_> = drops
            .iter()
            .map(|(code, n)| (*code, n.to_be_bytes()))
            .collect();
        let options: Vec<_> = values.iter().map(|(code, n)| (*code, &n[..])).collect();
        file.block(6, &[0, 0, 7, 0, 60], &[], &[]);
        file.block(5, &[0, 0, 9], &[], &options);
    };
    statistics(&[(4, 100)]);
    statistics(&[(4, 200), (5, 3)]);
    statistics(&[(4, 300), (5, 3), (7, 0)]);
    statistics(&[(4, 400), (7, 5)]);
    let contents = read(Cursor::new(file.0));
    let losses = contents.records.iter().filter_map(|record| match record {
        Record::Loss(loss) => Some((loss.count, loss.first_ns, loss.last_ns)),
        _ => None,
    });
    assert!(losses.eq([(3, 7000, 7000), (2, 7000, 7000)]));
}

/// A comment of another program is no word of ours.
#[test]
fn foreign_comments_say_nothing_of_packets() {
    let mut file = Pcapng::default();
    file.section(&[(4, b"tcprec"), (1, b"cookie=17")]);
    file.interface(&[]);
    file.block(6, &[0, 0, 9, 0, 60], b"", &[(1, b"cookie=17")]);
    file.block(9, &[], b"TCPREC_RECORD={\"type\":\"end\"}\n", &[]);
    let contents = read(Cursor::new(file.0));
    assert_eq!(contents.records.len(), 3);
    assert!(matches!(
        contents.records[2],
        Record::Packet(Packet { cookie: None, .. })
    ));
}
