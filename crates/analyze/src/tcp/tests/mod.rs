//! Connections from hand-made segments: what the tests of all rooms make them with.

use tcprec_shared::flow::Endpoint;
use tcprec_shared::headers::{Segment, TcpFlags};

use super::{Connection, Observer, Seen, Tracker, Unfinished};
use crate::app::Request;

mod analysis;
mod any;
mod bursts;
mod connections;
mod fragments;
mod order;
mod stalls;

const CLIENT: u8 = 9;
const SERVER: u8 = 1;
const NO_OPTIONS: &[u8] = &[];

fn endpoint(host: u8) -> Endpoint {
    let port = if host == SERVER { 80 } else { 40_000 };
    Endpoint::new([10, 0, 0, host].into(), port)
}

/// A packet between two hosts; `flags` in tcpdump's letters.
fn segment<'a>(
    from: u8,
    to: u8,
    flags: &str,
    seq: u32,
    ack: u32,
    payload: &'a [u8],
) -> Segment<'a> {
    let flags = flags.bytes().fold(0, |flags, letter| {
        flags
            | match letter {
                b'F' => 1,
                b'S' => 2,
                b'R' => 4,
                b'P' => 8,
                _ => 16,
            }
    });
    Segment {
        src: endpoint(from),
        dst: endpoint(to),
        seq,
        ack,
        flags: TcpFlags(flags),
        window: 1000,
        options: NO_OPTIONS,
        options_bytes: 0,
        ip_bytes: 40 + payload.len() as u32,
        ttl: 64,
        header_bytes: 54,
        payload_bytes: payload.len() as u32,
        payload,
        tunnels: 0,
    }
}

#[derive(Default)]
struct All {
    connections: Vec<Connection>,
    requests: Vec<Request>,
}

impl All {
    fn finish(&mut self, tracker: Tracker) {
        let mut left: Vec<_> = tracker.finish().collect();
        left.sort_by_key(Unfinished::id);
        for (connection, requests) in left.into_iter().map(Unfinished::finish) {
            self.connection(connection, requests, true);
        }
    }
}

impl Observer for All {
    fn connection(&mut self, connection: Connection, requests: Vec<Request>, _: bool) {
        self.connections.push(connection);
        self.requests.extend(requests);
    }

    fn requests(&mut self, _: Connection, requests: Vec<Request>) {
        self.requests.extend(requests);
    }
}

fn at(ts_ns: i64) -> Seen {
    Seen {
        ts_ns,
        ..Seen::default()
    }
}

/// What becomes of segments that come one a millisecond.
fn track<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> All {
    let mut all = All::default();
    let mut tracker = Tracker::default();
    for (count, segment) in (0..).zip(segments) {
        tracker.segment(at(count * 1_000_000), &segment, &mut all);
    }
    all.finish(tracker);
    all
}
