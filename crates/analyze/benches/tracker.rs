//! How long a segment takes until it is part of its connection.
//! `cargo bench -p tcprec-analyze --bench tracker`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tcprec_analyze::app::Request;
use tcprec_analyze::tcp::{Connection, Observer, Seen, Tracker};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::{Segment, TcpFlags};

const GET: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 6\r\n\r\nhello\n";

/// So many requests are made on each connection.
const REQUESTS: u32 = 50;

struct Nobody;

impl Observer for Nobody {
    fn connection(&mut self, connection: Connection, requests: Vec<Request>, _: bool) {
        black_box((connection, requests));
    }

    fn requests(&mut self, so_far: Connection, requests: Vec<Request>) {
        black_box((so_far, requests));
    }
}

/// Many clients that talk at the same time, from the first SYN to the last ACK.
fn talk(clients: u32) -> Vec<Segment<'static>> {
    let server = Endpoint::new([10, 255, 0, 1].into(), 80);
    let mut segments = Vec::new();
    let mut step = |is_answer: bool, flags: u8, seq: u32, ack: u32, payload: &'static [u8]| {
        for number in 0..clients {
            let client = Endpoint::new((0x0a00_0000 + number).to_be_bytes().into(), 40_000);
            let (src, dst) = if is_answer {
                (server, client)
            } else {
                (client, server)
            };
            let payload_bytes = payload.len() as u32;
            segments.push(Segment {
                src,
                dst,
                seq,
                ack,
                flags: TcpFlags(flags),
                window: 500,
                options: &[],
                options_bytes: 0,
                ip_bytes: 40 + payload_bytes,
                ttl: 64,
                header_bytes: 54,
                payload_bytes,
                payload,
                tunnels: 0,
            });
        }
    };
    step(false, 0x02, 0, 0, b"");
    step(true, 0x12, 0, 1, b"");
    step(false, 0x10, 1, 1, b"");
    let (mut asked, mut answered) = (1, 1);
    for _ in 0..REQUESTS {
        step(false, 0x18, asked, answered, GET);
        asked += GET.len() as u32;
        step(true, 0x18, answered, asked, OK);
        answered += OK.len() as u32;
        step(false, 0x10, asked, answered, b"");
    }
    step(false, 0x11, asked, answered, b"");
    step(true, 0x11, answered, asked + 1, b"");
    step(false, 0x10, asked + 1, answered + 1, b"");
    segments
}

fn tracker(c: &mut Criterion) {
    for clients in [20, 5000] {
        let segments = talk(clients);
        let mut group = c.benchmark_group(format!("tracker, {clients} connections"));
        group.throughput(Throughput::Elements(segments.len() as u64));
        for (name, with_requests) in [("connections", false), ("requests", true)] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    let mut tracker = Tracker::default();
                    if !with_requests {
                        tracker.ignore_payload();
                    }
                    for (ts_ns, segment) in (0..).zip(&segments) {
                        let seen = Seen {
                            ts_ns: ts_ns * 1000,
                            ..Seen::default()
                        };
                        tracker.segment(seen, segment, &mut Nobody);
                    }
                    tracker
                        .finish()
                        .for_each(|finished| drop(black_box(finished)));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, tracker);
criterion_main!(benches);
