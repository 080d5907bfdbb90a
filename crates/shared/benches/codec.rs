//! How long single packets take: their headers, and their line of JSON.
//! `cargo bench -p tcprec-shared --bench codec`

#![allow(clippy::unwrap_used)] // a failure here is a bench's

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{self, Cursor};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::format::{Compression, Container, Format, create_writer, open_reader};
use tcprec_shared::headers::{LinkType, parse};
use tcprec_shared::record::{Capture, Direction, KernelParse, Packet, Record, SCHEMA};
use tcprec_shared::stream::Source as _;

/// TCP with timestamps and a payload, in IPv4.
fn ip_packet() -> Vec<u8> {
    let payload = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let length = (20 + 32 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0x18]);
    packet.extend([1, 2, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn ethernet(shim: &[u8]) -> Vec<u8> {
    [&[2; 12], shim, &ip_packet()].concat()
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("headers");
    group.throughput(Throughput::Elements(1));
    for (name, frame) in [
        ("usual", ethernet(&[0x08, 0x00])),
        ("vlan", ethernet(&[0x81, 0, 0, 7, 0x08, 0x00])),
    ] {
        let wire_bytes = u32::try_from(frame.len()).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(parse(LinkType::ETHERNET, black_box(&frame), wire_bytes));
            });
        });
    }
    group.finish();
}

const PACKETS: usize = 10_000;

fn records() -> Vec<Record<'static>> {
    let capture = Record::Capture(Box::new(Capture {
        schema: Some(SCHEMA),
        ..Capture::default()
    }));
    let frame = ethernet(&[0x08, 0x00]);
    let packets = (0..PACKETS).map(|number| {
        Record::Packet(Packet {
            ts_ns: 1_700_000_000_000_000_000 + number as i64 * 1717,
            interface: 0,
            direction: Some(Direction::Out),
            wire_bytes: u32::try_from(frame.len()).unwrap(),
            cookie: Some(4711),
            kernel: Some(KernelParse {
                src: Endpoint::new([10, 0, 0, 1].into(), 40_000),
                dst: Endpoint::new([10, 0, 0, 2].into(), 80),
                flags: 0x18,
                header_bytes: 66,
                payload_bytes: 47,
            }),
            data: Cow::Owned(frame.clone()),
        })
    });
    std::iter::once(capture).chain(packets).collect()
}

fn jsonl(c: &mut Criterion) {
    let records = records();
    for compression in [Compression::None, Compression::Zstd] {
        let format = Format {
            container: Container::Jsonl,
            compression,
        };
        let mut group = c.benchmark_group(format.to_string());
        group.throughput(Throughput::Elements(PACKETS as u64));
        group.bench_function("write", |b| {
            b.iter(|| {
                let mut sink = create_writer(format, io::sink(), None).unwrap();
                for record in &records {
                    sink.write(record, None).unwrap();
                }
                sink.finish().unwrap();
            });
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("capture");
        let file = std::fs::File::create(&path).unwrap();
        let mut sink = create_writer(format, file, None).unwrap();
        for record in &records {
            sink.write(record, None).unwrap();
        }
        sink.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        group.bench_function("read", |b| {
            b.iter(|| {
                let mut input = open_reader(Cursor::new(bytes.clone())).unwrap();
                while let Some(record) = input.next().unwrap() {
                    black_box(record);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, headers, jsonl);
criterion_main!(benches);
