//! Streams of HTTP/2, held against the frames that tshark finds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fixture, micros};

/// Types of frames, and their flags.
const DATA: u64 = 0;
const HEADERS: u64 = 1;
const RST_STREAM: u64 = 3;
const PUSH_PROMISE: u64 = 5;
const CONTINUATION: u64 = 9;
const END_STREAM: u64 = 1;
const PADDED: u64 = 8;

/// A stream, as tshark's frames tell it.
#[derive(Debug, Default)]
struct Stream {
    request: BTreeMap<String, String>,
    response: BTreeMap<String, String>,
    body_bytes: [u64; 2],
    first_us: [Option<i64>; 2],
    last_us: [Option<i64>; 2],
    reset: Option<bool>,
    pushed: bool,
    ended: [bool; 2],
}

/// Streams by the numbers of their connection and their own.
fn streams(frames: &[Value]) -> BTreeMap<(u64, u64), Stream> {
    let mut streams = BTreeMap::<_, Stream>::new();
    for frame in frames {
        let number = |name: &str| frame[name].as_u64();
        let (connection, id) = (number("stream").unwrap(), number("streamid").unwrap());
        let (kind, flags) = (number("type").unwrap(), number("flags").unwrap());
        let by_client = number("to").unwrap() < 6000;
        let end = usize::from(!by_client);
        if id == 0 {
            continue;
        }
        let us = Some(micros(frame["ts"].as_str().unwrap().parse().unwrap()));
        if kind == PUSH_PROMISE {
            let promised = number("promised_stream_id").unwrap();
            let stream = streams.entry((connection, promised)).or_default();
            stream.pushed = true;
            stream.request = headers(frame);
            (stream.first_us[0], stream.last_us[0]) = (us, us);
            continue;
        }
        let stream = streams.entry((connection, id)).or_default();
        let headers = headers(frame);
        let is_interim = headers
            .get(":status")
            .is_some_and(|status| status.starts_with('1'));
        // One that is whole cannot be broken off.
        if kind == RST_STREAM && stream.ended != [true; 2] {
            stream.reset.get_or_insert(by_client);
        }
        if !matches!(kind, DATA | HEADERS | CONTINUATION) || is_interim {
            continue;
        }
        [&mut stream.request, &mut stream.response][end].extend(headers);
        if kind == DATA {
            let padding = number("padding").filter(|_| flags & PADDED != 0);
            let padding = padding.map_or(0, |bytes| bytes + 1);
            stream.body_bytes[end] += number("length").unwrap() - padding;
        }
        stream.first_us[end] = stream.first_us[end].or(us);
        stream.last_us[end] = us;
        stream.ended[end] |= flags & END_STREAM != 0;
    }
    // Frames that only set a priority make no stream.
    streams.retain(|_, stream| !stream.request.is_empty() || !stream.response.is_empty());
    streams
}

fn headers(frame: &Value) -> BTreeMap<String, String> {
    let fields = frame["headers"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    fields
        .map(|field| (text(&field[0]), text(&field[1])))
        .collect()
}

fn expected(stream: &Stream) -> Value {
    let number = |text: Option<&String>| text.map(|text| text.parse::<u64>().unwrap());
    json!({
        "method": stream.request.get(":method"),
        "uri": stream.request.get(":path"),
        "host": stream.request.get(":authority").or(stream.request.get("host")),
        "user_agent": stream.request.get("user-agent"),
        "status_code": number(stream.response.get(":status")),
        "grpc_status": number(stream.response.get("grpc-status")),
        "request_body_len": stream.body_bytes[0],
        "response_body_len": stream.body_bytes[1],
        "pushed": stream.pushed.then_some(true),
        "req_ts_last": stream.last_us[0],
        "resp_ts_first": stream.first_us[1],
        "resp_ts_last": stream.last_us[1],
        "reset": stream.reset.map(|by_client| if by_client { "orig" } else { "resp" }),
    })
}

fn found(row: &Value) -> Value {
    let mut found = json!({ "reset": row["stream_reset"]["end"] });
    for name in [
        "method",
        "uri",
        "host",
        "user_agent",
        "status_code",
        "grpc_status",
        "request_body_len",
        "response_body_len",
        "pushed",
    ] {
        found[name] = row[name].clone();
    }
    for name in ["req_ts_last", "resp_ts_first", "resp_ts_last"] {
        found[name] = row[name].as_f64().map(micros).into();
    }
    found
}

#[test]
fn as_tshark() {
    let Some(fixture) = Fixture::find("http2") else {
        return;
    };
    let mut expectations = streams(&fixture.tshark());
    let mut upgraded = 0;
    for row in fixture.rows("input.pcap.zst", "http") {
        let number = |name: &str| row[name].as_u64().unwrap();
        let key = (number("conn_id"), number("stream_id"));
        let stream = expectations.remove(&key).unwrap_or_else(|| panic!("{row}"));
        let (mut found, mut expected) = (found(&row), expected(&stream));
        if row["version"] == "HTTP/1.1" {
            // The request asked for HTTP/2, and was no frame of it.
            upgraded += 1;
            for name in ["method", "uri", "host", "user_agent", "req_ts_last"] {
                assert!(found[name].take() != Value::Null && expected[name].take() == Value::Null);
            }
        }
        assert_eq!(found, expected, "{row}");
    }
    assert_eq!(upgraded, 2);
    assert!(expectations.is_empty(), "{expectations:#?}");
}
