//! Streams frame by frame: what is told of them.

mod losses;

use proptest::prelude::*;
use tcprec_shared::flow::Endpoint;

use super::PREFACE;
use super::frames::{flag, kind};
use crate::app::talk::{CLIENT, SERVER, Talk};
use crate::app::{Completion, GoawayError, Request};
use crate::tcp::Side;

const MILLISECOND_NS: i64 = 1_000_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&header, payload].concat()
}

fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// A field that is not kept, with a name of the static table.
fn field(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    let name = if name < 15 {
        vec![name]
    } else {
        vec![15, name - 15]
    };
    [name, vec![length], value.into()].concat()
}

/// As [`field`], and kept.
fn kept(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    [vec![0x40 | name, length], value.into()].concat()
}

const GET: &[u8] = &[0x82];
const STATUS_200: &[u8] = &[0x88];
/// The newest entry of the dynamic table.
const NEWEST: &[u8] = &[0x80 | 62];
const AUTHORITY: u8 = 1;
const METHOD: u8 = 2;
const PATH: u8 = 4;
const STATUS: u8 = 8;
const CONTENT_LENGTH: u8 = 28;

const ENDS: u8 = flag::END_HEADERS | flag::END_STREAM;

fn get(stream: u32, path: &str) -> Vec<u8> {
    let block = [GET, &field(PATH, path), &field(AUTHORITY, "a")].concat();
    frame(kind::HEADERS, ENDS, stream, &block)
}

fn ok(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, STATUS_200)
}

fn data(stream: u32, length: usize) -> Vec<u8> {
    frame(kind::DATA, 0, stream, &vec![b'x'; length])
}

fn last_data(stream: u32, length: usize) -> Vec<u8> {
    frame(kind::DATA, flag::END_STREAM, stream, &vec![b'x'; length])
}

fn opened() -> Talk {
    opened_with(1 << 20)
}

fn opened_with(budget_bytes: usize) -> Talk {
    Talk::with_budget(budget_bytes)
        .says(CLIENT, [PREFACE, &settings()].concat())
        .says(SERVER, settings())
}

fn one(talk: Talk) -> Request {
    let mut found = talk.finish();
    let only = found.pop().unwrap();
    assert!(found.is_empty(), "{found:?}");
    only
}

#[test]
fn a_stream_with_all_that_is_told_of_it() {
    let block = [
        &[0x83],
        &field(PATH, "/a?b")[..],
        &field(AUTHORITY, "example.org"),
    ]
    .concat();
    let found = one(opened()
        .says(CLIENT, frame(kind::HEADERS, flag::END_HEADERS, 1, &block))
        .says(CLIENT, last_data(1, 10))
        .says(
            SERVER,
            frame(kind::HEADERS, flag::END_HEADERS, 1, &field(STATUS, "100")),
        )
        .says(SERVER, ok(1))
        .says(SERVER, data(1, 30))
        .says(SERVER, last_data(1, 5)));
    let (request, response) = (
        found.request.as_ref().unwrap(),
        found.response.as_ref().unwrap(),
    );
    assert_eq!(request.route(), Some(("POST", "/a?b")));
    assert_eq!(request.host.as_deref(), Some("example.org"));
    assert_eq!(
        (request.version.as_deref(), request.body_bytes.unwrap()),
        (Some("HTTP/2"), 10)
    );
    assert_eq!(
        (response.status, response.body_bytes),
        (Some(200), Some(35))
    );
    assert_eq!(found.client.addr.to_string(), "10.0.0.1");
    assert_eq!(found.ttfb_ns(), Some(2 * MILLISECOND_NS));
    assert_eq!(found.total_ns(), Some(5 * MILLISECOND_NS));
    let stream = found.stream.unwrap();
    assert_eq!(
        (stream.id, stream.is_pushed, stream.reset),
        (1, false, None)
    );
    assert_eq!(response.completion, Completion::Seen);
}

#[test]
fn of_a_repeated_field_the_first_counts() {
    let asked = [
        GET,
        &kept(PATH, "/first"),
        &field(PATH, "/again"),
        &field(AUTHORITY, "first"),
        &field(AUTHORITY, "again"),
    ];
    let answered = [STATUS_200, &field(STATUS, "500")];
    let found = one(opened()
        .says(CLIENT, frame(kind::HEADERS, ENDS, 1, &asked.concat()))
        .says(SERVER, frame(kind::HEADERS, ENDS, 1, &answered.concat())));
    let request = found.request.as_ref().unwrap();
    assert_eq!(request.route(), Some(("GET", "/first")));
    assert_eq!(request.host.as_deref(), Some("first"));
    assert_eq!(found.response.unwrap().status, Some(200));
}

#[test]
fn streams_take_turns() {
    let talk = opened()
        .says(CLIENT, [get(1, "/1"), get(3, "/3"), get(5, "/5")].concat())
        .says(SERVER, [ok(3), data(3, 10), ok(1), data(1, 1)].concat())
        .says(
            SERVER,
            [last_data(3, 20), last_data(1, 2), ok(5), last_data(5, 0)].concat(),
        );
    let mut found = talk.finish();
    let order: Vec<_> = found
        .iter()
        .map(|it| (it.stream.unwrap().id, it.index))
        .collect();
    assert_eq!(order, [(3, 1), (1, 0), (5, 2)]);
    found.sort_by_key(|it| it.index);
    let bodies = found
        .iter()
        .map(|it| it.response.as_ref().unwrap().body_bytes.unwrap());
    assert_eq!(bodies.collect::<Vec<_>>(), [3, 30, 0]);
}

#[test]
fn header_blocks_may_be_cut_into_frames_and_padded() {
    let block = [GET, &field(PATH, "/long"), &field(AUTHORITY, "a")].concat();
    let padded = [&[7, 0, 0, 0, 0, 16], &block[..3], &[0; 7]].concat();
    let flags = flag::END_STREAM | flag::PADDED | flag::PRIORITY;
    let frames = [
        frame(kind::HEADERS, flags, 1, &padded),
        frame(kind::CONTINUATION, 0, 1, &block[3..5]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[5..]),
    ];
    let body = [&[4], &[b'x'; 10][..], &[0; 4]].concat();
    let found = one(opened()
        .says(CLIENT, frames.concat())
        .says(SERVER, ok(1))
        .says(
            SERVER,
            frame(kind::DATA, flag::END_STREAM | flag::PADDED, 1, &body),
        ));
    assert_eq!(found.request.unwrap().target.as_deref(), Some("/long"));
    assert_eq!(found.response.unwrap().body_bytes, Some(10));
}

#[test]
fn what_ends_a_stream_besides() {
    let trailer = [&[0, 11][..], b"grpc-status\x015"].concat();
    let found = one(opened().says(CLIENT, get(1, "/call")).says(
        SERVER,
        [ok(1), data(1, 5), frame(kind::HEADERS, ENDS, 1, &trailer)].concat(),
    ));
    assert_eq!(found.stream.unwrap().grpc_status, Some(5));

    let found = one(opened()
        .says(CLIENT, get(1, "/"))
        .says(SERVER, [ok(1), data(1, 5)].concat())
        .says(CLIENT, frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]))
        .says(SERVER, [data(1, 5), last_data(1, 5)].concat()));
    let reset = found.stream.unwrap().reset.unwrap();
    assert_eq!((reset.by_client, &*reset.word()), (true, "cancel"));
    assert_ne!(found.response.unwrap().completion, Completion::Seen);

    let promise = [&[0, 0, 0, 2], GET, &field(PATH, "/style")].concat();
    let mut found = opened()
        .says(CLIENT, get(1, "/"))
        .says(
            SERVER,
            frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise),
        )
        .says(
            SERVER,
            [ok(1), last_data(1, 5), ok(2), last_data(2, 6)].concat(),
        )
        .finish();
    let pushed = found.pop().unwrap();
    assert!(pushed.stream.unwrap().is_pushed);
    assert_eq!(pushed.request.unwrap().target.as_deref(), Some("/style"));
}

#[test]
fn http1_may_go_over() {
    let request = "GET /first HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n";
    let mut found = Talk::new()
        .says(CLIENT, request)
        .says(SERVER, [answer.as_bytes(), &settings()].concat())
        .says(CLIENT, [PREFACE, &settings()].concat())
        .says(SERVER, [ok(1), last_data(1, 7)].concat())
        .says(CLIENT, get(3, "/second"))
        .says(SERVER, [ok(3), last_data(3, 8)].concat())
        .finish();
    let second = found.pop().unwrap();
    let first = found.pop().unwrap();
    let (request, response) = (first.request.unwrap(), first.response.unwrap());
    assert_eq!(
        (request.version.as_deref(), request.route()),
        (Some("HTTP/1.1"), Some(("GET", "/first")))
    );
    assert_eq!((response.status, response.body_bytes), (Some(200), Some(7)));
    assert_eq!((first.index, second.index), (0, 1));
    assert_eq!(second.request.unwrap().target.as_deref(), Some("/second"));
    assert!(found.is_empty());
}

#[test]
fn a_client_of_http1_may_ask_a_server_that_speaks_first() {
    let asked = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let talk = Talk::new().says(SERVER, settings()).says(CLIENT, asked);
    assert_eq!(talk.summary(), ["GET/a=none"]);

    let (begin, end) = PREFACE.split_at(9);
    let talk = Talk::new().says(SERVER, settings());
    let talk = talk.says(CLIENT, begin).says(CLIENT, end);
    let talk = talk.says(CLIENT, get(1, "/a")).says(SERVER, ok(1));
    assert_eq!(talk.finish().len(), 1);
}

#[test]
fn a_tunnel_is_whole_wherever_it_ends() {
    let completion = |method, answer: &[u8]| {
        let asked = [field(METHOD, method), field(AUTHORITY, "a")].concat();
        let talk = opened()
            .says(CLIENT, frame(kind::HEADERS, flag::END_HEADERS, 1, &asked))
            .says(SERVER, frame(kind::HEADERS, flag::END_HEADERS, 1, answer))
            .says(SERVER, data(1, 5));
        one(talk).response.unwrap().completion
    };
    assert_eq!(completion("CONNECT", STATUS_200), Completion::AtClose);
    assert_eq!(completion("POST", STATUS_200), Completion::Missing);
    let refused = field(STATUS, "502");
    assert_eq!(completion("CONNECT", &refused), Completion::Missing);
}

#[test]
fn server_sent_events_have_no_end_of_their_own() {
    const CONTENT_TYPE: u8 = 31;
    let is_endless = |kind| {
        let answer = [STATUS_200.to_vec(), field(CONTENT_TYPE, kind)].concat();
        let talk = opened()
            .says(CLIENT, get(1, "/"))
            .says(SERVER, frame(kind::HEADERS, flag::END_HEADERS, 1, &answer));
        one(talk).response.unwrap().is_endless
    };
    assert!(is_endless("text/event-stream; charset=utf-8"));
    assert!(!is_endless("text/plain"));
}

#[test]
fn the_error_by_which_an_end_gives_up_is_the_first() {
    let goaway = |code: u8, said: &str| {
        let payload = [&[0, 0, 0, 1, 0, 0, 0, code], said.as_bytes()].concat();
        frame(kind::GOAWAY, 0, 0, &payload)
    };
    let talk = Talk::new()
        .says(CLIENT, [PREFACE, &settings()].concat())
        // It only stops.
        .says(SERVER, [settings(), goaway(0, "bye")].concat())
        .says(SERVER, goaway(11, &"x".repeat(1000)))
        .says(CLIENT, goaway(1, ""));
    let goaway = talk.conversation.goaway().unwrap();
    assert_eq!(goaway.end, Endpoint::new([10, 0, 0, 2].into(), 80));
    let error = GoawayError {
        code: 11,
        said: "x".repeat(100),
        at_ns: Some(3_000_000),
    };
    assert_eq!(
        (goaway.error.word(), &goaway.error),
        ("enhance_your_calm".into(), &error)
    );
}

#[test]
fn other_protocols_are_not_http2() {
    for bytes in [
        &b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        b"\0\0\x12\x04\0\x80\0\0\0\0\x03",
        b"PRINT * HTTP/1.9",
        b"\0\0\x04\x08\0\0\0\0\0\0\0\xff\xff",
    ] {
        let talk = Talk::new().says(CLIENT, bytes).says(SERVER, ok(1));
        let found = talk.finish();
        assert!(
            found.iter().all(|it| it.request.is_none()),
            "{bytes:?}: {found:?}"
        );
    }
}

#[test]
fn streams_do_not_pile_up() {
    let requests: Vec<_> = (0..3000)
        .flat_map(|number| get(2 * number + 1, "/"))
        .collect();
    let talk = opened().says(CLIENT, requests);
    assert!(talk.found.len() > 1500);
    assert_eq!(talk.finish().len(), 3000);
    // Requests with much text in them: each path 4000 bytes, of the table.
    let path = "/".repeat(100);
    let long = [
        &[0x40 | PATH, 0x7f, 0xa1, 0x1e],
        &path.repeat(40).into_bytes()[..],
    ]
    .concat();
    let mut talk = opened().says(
        CLIENT,
        frame(kind::HEADERS, ENDS, 1, &[GET, &long].concat()),
    );
    for number in 1..1000 {
        let request = frame(kind::HEADERS, ENDS, 2 * number + 1, &[GET, NEWEST].concat());
        talk = talk.says(CLIENT, request);
    }
    assert!(talk.found.len() > 700);
    let found = talk.finish();
    assert_eq!(found.len(), 1000);
    assert!(
        found
            .iter()
            .all(|it| it.request.as_ref().unwrap().route().unwrap().1.len() == 4000)
    );
}

#[test]
fn open_streams_take_of_what_all_connections_may_keep() {
    const ROOM_BYTES: usize = 10_000;
    let (path, count) = ("/".repeat(100), 200);
    let mut talk = opened_with(ROOM_BYTES);
    for number in 0..count {
        talk = talk.says(CLIENT, get(2 * number + 1, &path));
    }
    let open = count as usize - talk.found.len();
    assert!((20..ROOM_BYTES / path.len()).contains(&open), "{open}");
    assert!(talk.found.iter().all(Request::lacks_frames));
    // Those that are open are answered, and make room for others.
    for number in count - 10..count {
        talk = talk.says(
            SERVER,
            [ok(2 * number + 1), last_data(2 * number + 1, 1)].concat(),
        );
    }
    let before = talk.found.len();
    for number in count..count + 10 {
        talk = talk.says(CLIENT, get(2 * number + 1, &path));
    }
    assert_eq!(talk.found.len(), before);
    assert_eq!(talk.finish().len(), count as usize + 10);
}

/// What both ends of a connection say, each in one packet.
fn all() -> [(Side, Vec<u8>); 6] {
    let kept_path = [GET, &kept(PATH, "/kept"), &kept(AUTHORITY, "example.org")].concat();
    let promise = [&[0, 0, 0, 2], GET, &field(PATH, "/style")].concat();
    [
        (CLIENT, [PREFACE, &settings()].concat()),
        (SERVER, settings()),
        (
            CLIENT,
            [frame(kind::HEADERS, ENDS, 1, &kept_path), get(3, "/3")].concat(),
        ),
        (
            SERVER,
            [
                ok(3),
                frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise),
                data(3, 500),
                frame(kind::HEADERS, 0, 1, STATUS_200),
                frame(
                    kind::CONTINUATION,
                    flag::END_HEADERS,
                    1,
                    &field(CONTENT_LENGTH, "40"),
                ),
                last_data(3, 700),
            ]
            .concat(),
        ),
        (CLIENT, frame(kind::RST_STREAM, 0, 2, &[0, 0, 0, 8])),
        (
            SERVER,
            [last_data(1, 40), frame(kind::GOAWAY, 0, 0, &[0; 8])].concat(),
        ),
    ]
}

fn timeless(found: Vec<Request>) -> Vec<Request> {
    let without = |mut found: Request| {
        if let Some(request) = &mut found.request {
            request.arrived = Default::default();
        }
        if let Some(response) = &mut found.response {
            response.arrived = Default::default();
        }
        if let Some(reset) = found.stream.as_mut().and_then(|it| it.reset.as_mut()) {
            reset.at_ns = None;
        }
        found
    };
    found.into_iter().map(without).collect()
}

proptest! {
    #[test]
    fn segments_may_end_anywhere(lengths in prop::collection::vec(1..200usize, 1..20)) {
        let say = |talk: Talk, (side, bytes): &(Side, Vec<u8>)| talk.says(*side, bytes);
        let whole = all().iter().fold(Talk::new(), say).finish();
        prop_assert_eq!(whole.len(), 3);
        let mut lengths = lengths.iter().cycle();
        let mut talk = Talk::new();
        for (side, bytes) in all() {
            let mut rest = &bytes[..];
            let mut least = 9; // less is not known to be HTTP/2
            while !rest.is_empty() {
                let length = (*lengths.next().unwrap()).max(least).min(rest.len());
                let (now, after) = rest.split_at(length);
                (talk, rest, least) = (talk.says(side, now), after, 1);
            }
        }
        prop_assert_eq!(timeless(talk.finish()), timeless(whole));
    }

    #[test]
    fn any_frames(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
        parts in prop::collection::vec((any::<bool>(), 0..200usize, 0..200usize), 1..60),
    ) {
        let says = all();
        let mut bytes = says.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat();
        for (place, byte) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *byte;
        }
        let mut rest = &bytes[..];
        let mut talk = Talk::new();
        for (by_client, length, kept) in &parts {
            let (now, after) = rest.split_at((*length).min(rest.len()));
            let side = if *by_client { CLIENT } else { SERVER };
            talk = if *kept == 0 {
                talk.loses(side, i64::try_from(now.len()).unwrap()).acknowledged(side)
            } else {
                talk.says_cut(side, now, *kept)
            };
            rest = after;
        }
        talk.finish();
    }
}

#[test]
fn more_streams_than_are_followed_are_told_once() {
    let mut talk = opened();
    for stream in 0..1025 {
        talk = talk.says(CLIENT, get(2 * stream + 1, "/"));
    }
    for stream in 0..1025 {
        talk = talk.says(
            SERVER,
            [ok(2 * stream + 1), last_data(2 * stream + 1, 1)].concat(),
        );
    }
    let found = talk.finish();
    let lacking = found.iter().filter(|it| it.lacks_frames()).count();
    assert_eq!((found.len(), lacking), (1025, 1));
    assert!(found.iter().all(|it| it.request.is_some()));
}
