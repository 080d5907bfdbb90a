//! Which response answers which request, and when, where not all was captured.

use super::describe;
use crate::app::talk::{CLIENT, SERVER, Talk};
use crate::app::{Completion, Request};

const RESPONSE_BYTES: i64 = 38;

fn get(number: u32) -> String {
    format!("GET /{number} HTTP/1.1\r\n\r\n")
}

fn response(status: u32) -> String {
    let response = format!("HTTP/1.1 {status} .\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(response.len() as i64, RESPONSE_BYTES);
    response
}

/// Asks and is answered, and has all of the answer.
fn exchange(talk: Talk, number: u32) -> Talk {
    talk.says(CLIENT, get(number))
        .says(SERVER, response(400 + number))
        .acknowledged(SERVER)
}

fn is_answered(found: &Request) -> Option<bool> {
    (!found.may_be_answered).then_some(found.response.is_some())
}

#[test]
fn a_response_that_was_not_captured_is_nobody_elses() {
    // All of it, or but for its end; acknowledged at once, or with the next request.
    for seen in ["", "x"] {
        let mut talk = exchange(Talk::new(), 1).says(CLIENT, get(2));
        talk = talk.loses(SERVER, RESPONSE_BYTES - seen.len() as i64);
        if !seen.is_empty() {
            talk = talk.says(SERVER, seen);
        }
        talk = talk.acknowledged(SERVER);
        for number in [3, 4] {
            talk = exchange(talk, number);
        }
        assert_eq!(
            talk.summary(),
            ["GET/1=401+1", "GET/2=none", "GET/3=403+1", "GET/4=404+1"]
        );
    }
    // Two, one behind the other.
    let mut talk = exchange(Talk::new(), 1);
    for number in [2, 3] {
        talk = talk.says(CLIENT, get(number)).loses(SERVER, RESPONSE_BYTES);
        talk = talk.acknowledged(SERVER);
    }
    talk = exchange(talk, 4);
    let found = talk.finish();
    let answered: Vec<_> = found.iter().map(is_answered).collect();
    assert_eq!(answered, [Some(true), None, None, Some(true)]);
}

#[test]
fn who_does_not_wait_for_answers_gets_them_in_order_if_all_were_captured() {
    let asked = || Talk::new().says(CLIENT, get(1) + &get(2));
    let both = response(201) + &response(202);
    let talk = asked().says(SERVER, &both).acknowledged(SERVER);
    assert_eq!(talk.summary(), ["GET/1=201+1", "GET/2=202+1"]);
    // It may have been the answer to the first, or an interim one.
    let talk = asked().loses(SERVER, 25).says(SERVER, both);
    let found = talk.acknowledged(SERVER).finish();
    let answered: Vec<_> = found.iter().map(is_answered).collect();
    assert_eq!(answered, [None; 4]);
    let has = |it: &Request| (it.request.is_some(), it.response.is_some());
    let has: Vec<_> = found.iter().map(has).collect();
    assert_eq!(
        has,
        [(true, false), (true, false), (false, true), (false, true)]
    );
}

#[test]
fn what_came_before_the_question_does_not_answer_it() {
    // Of a HEAD that was not captured, so that no body follows.
    let head = "HTTP/1.1 200 .\r\nContent-Length: 300\r\n\r\n";
    for body in ["", "some of it"] {
        let talk = Talk::new()
            .loses(CLIENT, 30)
            .acknowledged(CLIENT)
            .says(SERVER, head.to_owned() + body)
            .acknowledged(SERVER);
        let talk = exchange(talk, 1);
        let summary = exchange(talk, 2).summary();
        if body.is_empty() {
            assert_eq!(summary, ["?=200+0", "GET/1=401+1", "GET/2=402+1"]);
        } else {
            assert_eq!(summary[0][..5], *"?=200");
            assert!(summary.iter().all(|it| !it.contains("=40")), "{summary:?}");
        }
    }
    // A request whose end was lost is known only when the next one comes.
    let long = get(1);
    let talk = Talk::new()
        .says(CLIENT, &long[..9])
        .loses(CLIENT, long.len() as i64 - 9)
        .acknowledged(CLIENT)
        .says(SERVER, response(401))
        .acknowledged(SERVER);
    let found = exchange(talk, 2).finish();
    let statuses = found.iter().map(|it| it.response.as_ref()?.status);
    assert_eq!(statuses.collect::<Vec<_>>(), [Some(401), None, Some(402)]);
    assert_eq!(is_answered(&found[1]), None);
}

#[test]
fn a_version_that_was_cut_off_is_not_none() {
    let talk = Talk::new()
        .says_cut(CLIENT, get(1), 7)
        .says(SERVER, response(200));
    let found = talk.finish();
    assert_eq!(found[0].request.as_ref().unwrap().version, None);
    assert_eq!(found[0].response.as_ref().unwrap().body_bytes, Some(1));
    let simple = Talk::new()
        .says(CLIENT, "GET /\r\n\r\n")
        .says(SERVER, response(200));
    let found = simple.finish();
    let version = found[0].request.as_ref().unwrap().version.as_deref();
    assert_eq!(version, Some(""));
    let body_bytes = found[0].response.as_ref().unwrap().body_bytes;
    assert_eq!(body_bytes, Some(RESPONSE_BYTES.unsigned_abs()));
}

#[test]
fn no_latency_is_told_from_an_end_that_was_not_captured() {
    let post = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
    let talk = Talk::new()
        .says(CLIENT, post)
        .loses(CLIENT, 9)
        .acknowledged(CLIENT)
        .says(SERVER, response(200))
        .acknowledged(SERVER);
    let found = exchange(talk, 1).finish();
    assert_eq!(found[0].ttfb_ns(), None);
    assert!(found[0].total_ns().is_some() && found[1].ttfb_ns().is_some());

    let chunked = "HTTP/1.1 200 .\r\nTransfer-Encoding: chunked\r\n\r\n";
    let talk = Talk::new()
        .says(CLIENT, get(1))
        .says(SERVER, chunked)
        .loses(SERVER, 9)
        .acknowledged(SERVER);
    let found = exchange(talk, 2).finish();
    assert_eq!(found[0].is_response_whole(), None);
    assert_eq!(found[0].total_ns(), None);

    // Where a cut request ends is not known: what follows may be another.
    let talk = Talk::new()
        .says_cut(CLIENT, get(1), 7)
        .says(SERVER, response(200))
        .says(CLIENT, "what is no start line");
    assert_eq!(talk.finish()[0].ttfb_ns(), None);
}

#[test]
fn a_message_is_found_again_however_little_of_it_there_is() {
    for (kept, text) in [
        (16, "PROPFIND http://example.org/ HTTP/1.1\r\n\r\n"),
        (usize::MAX, "\r\nGET /2 HTTP/1.1\r\n\r\n"),
    ] {
        let talk = Talk::new()
            .says_cut(CLIENT, get(1), 7)
            .says(SERVER, response(401))
            .acknowledged(SERVER)
            .says_cut(CLIENT, text, kept)
            .says(SERVER, response(402));
        let found = talk.finish();
        let told = |it: &Request| Some((it.request.is_some(), it.response.as_ref()?.status));
        let told: Vec<_> = found.iter().map(told).collect();
        assert_eq!(told, [401, 402].map(|status| Some((true, Some(status)))));
    }
    // In two packets.
    let second = get(2);
    let talk = Talk::new()
        .says_cut(CLIENT, get(1), 7)
        .says(SERVER, response(401))
        .acknowledged(SERVER)
        .says(CLIENT, &second[..9])
        .says(CLIENT, &second[9..])
        .says(SERVER, response(402));
    assert_eq!(talk.summary(), ["GET/1=401+1", "GET/2=402+1"]);
}

#[test]
fn a_response_in_which_something_was_lost_is_told_from_the_next() {
    let long = "HTTP/1.1 200 .\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n";
    let talk = Talk::new()
        .says(CLIENT, get(1))
        .says(SERVER, long)
        .loses(SERVER, 9)
        .acknowledged(SERVER);
    assert_eq!(exchange(talk, 2).summary(), ["GET/1=200+9", "GET/2=402+1"]);
}

#[test]
fn more_than_can_wait_are_not_guessed_at() {
    let mut talk = Talk::new();
    let count = 257;
    for number in 0..count {
        talk = talk.says(CLIENT, get(number));
    }
    for number in 0..count {
        talk = talk.says(SERVER, response(500 + number));
    }
    let found = talk.finish();
    let (asked, answers): (Vec<_>, Vec<_>) = found.iter().partition(|it| it.request.is_some());
    assert_eq!(asked.len(), 257);
    assert!(asked.iter().all(|it| it.response.is_none()));
    assert!(asked.iter().all(|it| is_answered(it).is_none()));
    assert!(answers.iter().all(|it| it.response.is_some()));
}

#[test]
fn a_head_ends_with_the_packet_that_completes_it() {
    let (head, rest) = ("GET / HTTP/1.1\r\nHost: a", "\r\n\r\n");
    let mut talk = Talk::new().says(CLIENT, &head[..5]);
    let position = talk.next[CLIENT];
    let (middle, end) = (&head[5..], position + (head.len() - 5) as i64);
    talk = talk
        .packet(CLIENT, end, rest.as_bytes(), usize::MAX)
        .packet(CLIENT, position, middle.as_bytes(), usize::MAX)
        .says(SERVER, response(200));
    let found = talk.finish();
    let request = found[0].request.as_ref().expect("a request");
    assert_eq!(
        (request.arrived.first_ns, request.arrived.last_ns),
        (1_000_000, 3_000_000)
    );
    assert_eq!(found[0].ttfb_ns(), Some(1_000_000));
}

#[test]
fn where_a_response_ends_is_told_if_it_was_seen() {
    let completion = |talk: Talk| {
        let found = exchange(talk, 2).finish();
        found[0].response.as_ref().expect("a response").completion
    };
    let asked = || Talk::new().says(CLIENT, get(1));
    assert_eq!(
        completion(asked().says(SERVER, response(200))),
        Completion::Seen
    );
    // Cut by the snap length: the packet was there.
    let cut = asked().says_cut(SERVER, response(200), RESPONSE_BYTES as usize - 1);
    assert_eq!(completion(cut), Completion::Seen);
    // In its head, so that its length is not known.
    let cut = asked().says_cut(SERVER, response(200), 12);
    assert_eq!(completion(cut), Completion::Unknown);
    let all = response(200);
    let (start, end) = all.split_at(all.len() - 1);
    let lost = asked()
        .says(SERVER, start)
        .loses(SERVER, end.len() as i64)
        .acknowledged(SERVER);
    assert_eq!(completion(lost), Completion::Unseen);
}

/// As where the head was lost before the place of capture, and came again when enough of
/// the message was kept.
#[test]
fn what_is_not_understood_may_be_an_answer() {
    let asked = || Talk::new().says(CLIENT, get(1));
    let is_answered = |talk: Talk| is_answered(&talk.finish()[0]);
    assert_eq!(is_answered(asked()), Some(false));
    let all = response(200);
    assert_eq!(is_answered(asked().says_cut(SERVER, &all, 0)), None);
    assert_eq!(is_answered(asked().says(SERVER, &all[9..])), None);
    assert_eq!(is_answered(asked().says(SERVER, all)), Some(true));
}

#[test]
fn a_packet_is_told_by_its_start_line() {
    for (payload, line) in [
        (&b"GET /a HTTP/1.1\r\nHost"[..], Some("GET /a HTTP/1.1")),
        (b"GET /a HTTP/2.0\r\n\r\n", Some("GET /a HTTP/2.0")),
        (b"GET /a\xff HT", Some("GET /a\\xff HT")),
        (b"HTTP/1.0 404 no", Some("HTTP/1.0 404 no")),
        (b"ICY 200 OK\r\n", Some("ICY 200 OK")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"get /a HTTP/1.1\r\n", None),
        (b"", None),
    ] {
        assert_eq!(describe(payload).as_deref(), line);
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1000));
    assert_eq!(describe(long.as_bytes()).map(|line| line.len()), Some(200));
}
