//! Where the time of requests went, held against what is known of it.

#![allow(clippy::unwrap_used)] // a failure here is a test's

use std::path::{Path, PathBuf};

use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::report::{Report, Request};
use tcprec_analyze::tcp::StallCause;
use tcprec_analyze::timing::Timing;
use tcprec_shared::format;
use tcprec_shared::stream::Source as _;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn report(capture: &Path) -> Report {
    let mut input = format::open(capture).unwrap();
    let mut pipeline = Pipeline::default();
    while let Some(record) = input.next().unwrap() {
        pipeline.push(&record, &mut ());
    }
    pipeline.finish(&mut ())
}

/// The times of a request in microseconds.
#[derive(Debug, PartialEq)]
struct Times {
    connect: i64,
    send: i64,
    network: i64,
    server: i64,
    receive: i64,
    stalled: i64,
    /// Cause, duration, and the byte where it was.
    stall: Option<(StallCause, i64, u64)>,
}

impl Times {
    fn of(timing: &Timing) -> Self {
        let [stall] = timing.stalls.as_slice() else {
            assert!(timing.stalls.is_empty(), "{timing:?}");
            return Self::with(timing, None);
        };
        let duration_ns = stall.to_ns - stall.from_ns;
        Self::with(
            timing,
            Some((stall.cause, duration_ns / 1000, stall.at_byte)),
        )
    }

    fn with(timing: &Timing, stall: Option<(StallCause, i64, u64)>) -> Self {
        Self {
            connect: timing.connect_ns.unwrap() / 1000,
            send: timing.send_ns / 1000,
            network: timing.network_ns.unwrap() / 1000,
            server: timing.server_ns().unwrap() / 1000,
            receive: timing.receive_ns / 1000,
            stalled: timing.stalled_ns / 1000,
            stall,
        }
    }
}

/// What the fixture's README says was made.
#[test]
fn time_is_found_where_it_went() {
    let path = fixtures().join("timing/input.pcap");
    if !path.exists() {
        return; // as in the package alone, without its repository
    }
    let report = report(&path);
    let times = |number: u16| {
        let made_by = |request: &&Request| request.app.client.port == 40_001 + number;
        let request = report.requests.iter().find(made_by).unwrap();
        Times::of(request.timing.as_ref().unwrap())
    };
    let thinking = |connect, network| Times {
        connect,
        send: 0,
        network,
        server: 300_000,
        receive: 0,
        stalled: 0,
        stall: None,
    };
    assert_eq!(times(0), thinking(40_050, 40_000));
    assert_eq!(times(1), thinking(40_050, 50));
    assert_eq!(times(2), thinking(40_000, 30_000));
    let stalled = |cause, duration, at_byte| Times {
        connect: 1_050,
        send: 0,
        network: 1_000,
        server: 10_000,
        receive: 0,
        stalled: duration,
        stall: Some((cause, duration, at_byte)),
    };
    let lost = Times {
        receive: 10, // between the first segment and the third
        ..stalled(StallCause::Timeout, 204_000, 1448)
    };
    assert_eq!(times(3), lost);
    assert_eq!(times(4), lost);
    assert_eq!(times(5), stalled(StallCause::Timeout, 210_000, 0));
    assert_eq!(times(6), stalled(StallCause::Timeout, 1_000_000, 0));
    let read_late = Times {
        receive: 1_060, // the window's way, and what is sent then
        ..stalled(StallCause::ZeroWindow, 1_000_000, 1448)
    };
    assert_eq!(times(7), read_late);
}

/// In every fixture, of every request.
#[test]
fn times_add_up() {
    let mut seen = 0;
    for case in std::fs::read_dir(fixtures()).into_iter().flatten() {
        let inputs =
            ["input.pcap", "input.jsonl"].map(|name| case.as_ref().unwrap().path().join(name));
        for input in inputs.iter().filter(|path| path.exists()) {
            let report = report(input);
            for request in &report.requests {
                let Some(timing) = &request.timing else {
                    continue;
                };
                let mut connections = report.connections.iter();
                let is_its = |id| Some(id) == request.ends.id;
                let connection = connections.find(|connection| is_its(connection.tcp.id));
                let tcp = &connection.unwrap().tcp;
                let handshake_ns = timing
                    .connect_ns
                    .map_or(0, |_| tcp.established_ns.unwrap() - tcp.syn_ns.unwrap());
                let lost_later = timing.stalls.iter().map(|stall| stall.to_ns).max();
                let last_ns = request.app.response.as_ref().unwrap().arrived.last_ns;
                let extra_ns = lost_later.map_or(0, |to_ns| (to_ns - last_ns).max(0));
                let whole_ns = handshake_ns + request.app.total_ns().unwrap() + extra_ns;
                assert_eq!(timing.total_ns(), whole_ns, "{request:?}");
                let parts = [
                    timing.connect_ns.unwrap_or(0),
                    timing.send_ns,
                    timing.wait_ns,
                    timing.receive_ns,
                    timing.stalled_ns,
                    timing.network_ns.unwrap_or(0),
                    timing.server_ns().unwrap_or(0),
                ];
                assert!(parts.iter().all(|ns| *ns >= 0), "{timing:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50 || !fixtures().exists(), "{seen} requests");
}
