//! What was cut or lost: told as unknown, and never wrong.

use super::*;

#[test]
fn the_length_of_cut_data_is_not_known() {
    // Of each packet only the first bytes are captured; frames end in others.
    let bulk = [data(1, 3000), data(1, 3000), last_data(1, 1000)].concat();
    let mut talk = opened().says(CLIENT, get(1, "/")).says(SERVER, ok(1));
    for packet in bulk.chunks(1400) {
        talk = talk.says_cut(SERVER, packet, 100);
    }
    let talk = talk
        .says(CLIENT, get(3, "/next"))
        .says(SERVER, [ok(3), last_data(3, 9)].concat());
    let found = talk.finish();
    let bodies: Vec<_> = found
        .iter()
        .map(|it| {
            (
                it.stream.unwrap().id,
                it.response.as_ref().unwrap().body_bytes,
            )
        })
        .collect();
    assert_eq!(
        found.iter().map(Request::lacks_frames).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(found[1].total_ns(), None);
    // The second frame's header was cut: how long the body is nobody knows.
    assert_eq!(bodies, [(3, Some(9)), (1, None)]);
}

/// What is seen first of the response, here its trailers, is not its first.
#[test]
fn when_a_response_began_whose_head_was_lost_is_not_known() {
    let times = |is_lost: bool| {
        let talk = opened().says(CLIENT, get(1, "/"));
        let talk = if is_lost {
            talk.loses(SERVER, i64::try_from(ok(1).len()).unwrap())
                .acknowledged(SERVER)
        } else {
            talk.says(SERVER, ok(1))
        };
        let trailers = frame(kind::HEADERS, ENDS, 1, &field(33, "today"));
        let found = one(talk.says(SERVER, data(1, 30)).says(SERVER, trailers));
        assert!(found.response.is_some());
        assert_eq!(found.lacks_frames(), is_lost);
        (found.ttfb_ns(), found.total_ns())
    };
    assert_eq!(times(true), (None, None));
    let (first, last) = times(false);
    assert!(first.is_some() && last.is_some());
}

#[test]
fn an_announced_length_tells_of_cut_data() {
    let block = [
        STATUS_200,
        &field(CONTENT_LENGTH, "7000"),
        &kept(33, "today"),
    ]
    .concat();
    let head = frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
    let bulk = [data(1, 3000), data(1, 3000), last_data(1, 1000)].concat();
    let mut talk = opened().says(CLIENT, get(1, "/")).says(SERVER, head);
    for packet in bulk.chunks(1500) {
        talk = talk.says_cut(SERVER, packet, 0);
    }
    // What was kept for the headers is still known: nothing else can have been lost.
    let next = frame(kind::HEADERS, ENDS, 3, &[STATUS_200, NEWEST].concat());
    let found = talk
        .says(CLIENT, get(3, "/next"))
        .says(SERVER, next)
        .finish();
    let [first, second] = &found[..] else {
        panic!("{found:?}")
    };
    let response = first.response.as_ref().unwrap();
    assert_eq!(
        (response.body_bytes.unwrap(), response.completion),
        (7000, Completion::Seen)
    );
    // Settings, request, head, and five packets.
    assert_eq!(response.arrived.last_ns, 9 * MILLISECOND_NS);
    assert_eq!(second.response.as_ref().unwrap().status, Some(200));
}

#[test]
fn what_was_lost_makes_headers_unknown_and_never_wrong() {
    let first = [GET, &kept(PATH, "/first"), &kept(AUTHORITY, "example.org")].concat();
    // The newest entry, and the one before.
    let again = [GET, &[0x80 | 63], NEWEST].concat();
    let request = |stream, block: &[u8]| frame(kind::HEADERS, ENDS, stream, block);
    let talk = |is_lost: bool| {
        let block = [GET, &kept(PATH, "/lost")].concat();
        let lost_request = request(3, &block);
        let talk = opened().says(CLIENT, request(1, &first));
        let talk = if is_lost {
            talk.loses(CLIENT, i64::try_from(lost_request.len()).unwrap())
                .acknowledged(CLIENT)
        } else {
            talk.says(CLIENT, lost_request)
        };
        talk.says(CLIENT, request(5, &again)).finish()
    };
    let of = |found: Vec<Request>| {
        let request = found.into_iter().find(|it| it.stream.unwrap().id == 5);
        let request = request.unwrap().request.unwrap();
        (
            request.method.as_deref().map(String::from),
            request.target.as_deref().map(String::from),
            request.host.as_deref().map(String::from),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    // With the request between, the numbers mean other entries.
    assert_eq!(
        of(talk(false)),
        (some("GET"), some("/lost"), some("example.org"))
    );
    // Without it nobody knows what they mean.
    assert_eq!(of(talk(true)), (some("GET"), None, None));
}

#[test]
fn a_capture_may_begin_within_a_connection() {
    let block = [GET, &[0x80 | 70], &field(PATH, "/known")].concat();
    let found = one(Talk::new()
        .says(CLIENT, frame(kind::HEADERS, ENDS, 101, &block))
        .says(SERVER, [ok(101), last_data(101, 3)].concat()));
    let request = found.request.unwrap();
    assert_eq!(request.route(), Some(("GET", "/known")));
    assert_eq!(request.host, None);
    assert_eq!(found.response.unwrap().body_bytes, Some(3));
    // The response alone; its status is an entry that came before.
    let block = frame(kind::HEADERS, ENDS, 7, &[STATUS_200, &[0x80 | 70]].concat());
    let found = one(Talk::new().says(SERVER, block));
    assert_eq!(
        (found.request, found.response.unwrap().status),
        (None, Some(200))
    );
}

#[test]
fn a_status_may_not_be_known() {
    let found = one(opened()
        .says(CLIENT, get(1, "/"))
        .loses(SERVER, 50)
        .acknowledged(SERVER)
        .says(SERVER, frame(kind::HEADERS, ENDS, 1, NEWEST)));
    let response = found.response.unwrap();
    assert_eq!(
        (response.status, response.completion),
        (None, Completion::Seen)
    );
    // And whether there was one may not be.
    let talk = opened().says(CLIENT, get(1, "/")).loses(SERVER, 50);
    let found = one(talk.acknowledged(SERVER).says(SERVER, settings()));
    assert!(found.lacks_frames() && found.response.is_none());
    assert!(!one(opened().says(CLIENT, get(1, "/"))).lacks_frames());
}
