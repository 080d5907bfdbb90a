//! Handshakes byte by byte: what is seen of them.

use proptest::prelude::*;

use super::{Tls, Version};
use crate::app::talk::{CLIENT, SERVER, Talk};
use crate::tcp::Side;

const MILLISECOND_NS: i64 = 1_000_000;

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[content, 3, 3], &length[..], body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(body)].concat()
}

fn client_hello(session_id: u8, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([session_id; 32]);
    body.extend(with_length(&[0x13, 0x01, 0xc0, 0x2b]));
    body.extend([1, 0]);
    body.extend(with_length(&extensions.concat()));
    message(1, &body)
}

fn server_hello(session_id: u8, cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([8; 32]);
    body.push(32);
    body.extend([session_id; 32]);
    body.extend(cipher.to_be_bytes());
    body.push(0);
    body.extend(with_length(&extensions.concat()));
    message(2, &body)
}

fn server_name(name: &str) -> Vec<u8> {
    let name = [&[0], &with_length(name.as_bytes())[..]].concat();
    extension(0, &with_length(&name))
}

/// `example.org`, two protocols, and GREASE among the versions.
fn modern_hello() -> Vec<u8> {
    let versions = extension(43, &[6, 0x6a, 0x6a, 3, 4, 3, 3]);
    let alpn = extension(16, b"\x00\x0c\x02h2\x08http/1.1");
    client_hello(1, &[versions, alpn, server_name("example.org")])
}

fn modern_answer() -> Vec<u8> {
    server_hello(1, 0x1301, &[extension(43, &[3, 4])])
}

const CHANGE: &[u8] = &[20, 3, 3, 0, 1, 1];

/// What both ends send in a whole handshake of TLS 1.3, each in one packet.
fn modern() -> [(Side, Vec<u8>); 3] {
    let hidden = record(23, &[9; 60]);
    [
        (CLIENT, record(22, &modern_hello())),
        (
            SERVER,
            [&record(22, &modern_answer()), CHANGE, &hidden].concat(),
        ),
        (CLIENT, [CHANGE, &hidden].concat()),
    ]
}

/// The same of TLS 1.2, with certificates of both; then both close.
fn former() -> [(Side, Vec<u8>); 5] {
    let answer = server_hello(2, 0xc02b, &[extension(16, b"\x00\x03\x02h2")]);
    let certificate = message(11, &[5; 700]);
    let request = message(13, &[6; 20]);
    let finished = [CHANGE, &record(22, &[9; 40])].concat();
    let close = record(21, &[9; 26]);
    [
        (
            CLIENT,
            record(22, &client_hello(1, &[server_name("example.org")])),
        ),
        (
            SERVER,
            [
                &record(22, &answer),
                &record(22, &[certificate, request].concat())[..],
            ]
            .concat(),
        ),
        (
            CLIENT,
            [record(22, &message(16, &[4; 66])), finished.clone()].concat(),
        ),
        (
            SERVER,
            [finished, record(23, &[9; 100]), close.clone()].concat(),
        ),
        (CLIENT, close),
    ]
}

fn talk(says: &[(Side, Vec<u8>)]) -> Talk {
    let say = |talk: Talk, (side, bytes): &(Side, Vec<u8>)| talk.says(*side, bytes);
    says.iter().fold(Talk::new(), say)
}

#[test]
fn a_handshake_with_all_that_is_told_of_it() {
    let tls = talk(&modern()).tls().unwrap();
    assert_eq!(tls.client.addr.to_string(), "10.0.0.1");
    assert_eq!(tls.version, Some(Version(0x0304)));
    assert_eq!(tls.offered_version, Some(Version(0x0304)));
    assert_eq!(tls.server_name.as_deref(), Some("example.org"));
    assert_eq!(tls.offered_alpn, ["h2", "http/1.1"]);
    assert_eq!(tls.cipher.unwrap().to_string(), "TLS_AES_128_GCM_SHA256");
    assert_eq!(tls.handshake_ns(), Some(2 * MILLISECOND_NS));
    assert_eq!(tls.is_resumed, Some(false));
    // TLS 1.3 hides these.
    assert_eq!((tls.alpn, tls.asks_certificate), (None, None));
    assert!(tls.is_established && !tls.is_retried && tls.alerts.is_empty());

    let tls = talk(&former()).tls().unwrap();
    assert_eq!(tls.version, Some(Version(0x0303)));
    assert_eq!(tls.alpn.as_deref(), Some("h2"));
    assert_eq!(tls.handshake_ns(), Some(3 * MILLISECOND_NS));
    assert_eq!(
        (tls.is_resumed, tls.asks_certificate),
        (Some(false), Some(true))
    );
    assert_eq!(
        (tls.client_encrypted_alerts, tls.server_encrypted_alerts),
        (1, 1)
    );
    assert!(tls.is_established);
}

#[test]
fn a_session_goes_on() {
    let finished = [CHANGE, &record(22, &[9; 40])].concat();
    let hello = record(22, &client_hello(1, &[]));
    // By the session id, by a ticket alone, and by neither.
    for (session_id, ticket, certificate) in [(1, false, false), (2, true, false), (2, false, true)]
    {
        let mut answer = server_hello(session_id, 0xc02b, &[]);
        if ticket {
            answer.extend(message(4, &[3; 180]));
        }
        if certificate {
            answer.extend(message(11, &[5; 700]));
        }
        let tls = Talk::new()
            .says(CLIENT, &hello)
            .says(SERVER, [record(22, &answer), finished.clone()].concat())
            .says(CLIENT, &finished)
            .tls();
        assert_eq!(tls.unwrap().is_resumed, Some(!certificate));
    }
    let accepted = server_hello(1, 0x1301, &[extension(43, &[3, 4]), extension(41, &[0, 0])]);
    let tls = Talk::new()
        .says(CLIENT, record(22, &modern_hello()))
        .says(SERVER, record(22, &accepted))
        .tls();
    assert_eq!(tls.unwrap().is_resumed, Some(true));
}

#[test]
fn an_alert_is_no_finished() {
    let tls = talk(&modern()[..2])
        .says(CLIENT, [CHANGE, &record(23, &[9; 19])].concat())
        .tls()
        .unwrap();
    assert!(!tls.is_established);
    assert_eq!((tls.handshake_ns(), tls.client_encrypted_alerts), (None, 0));
}

#[test]
fn alerts_in_plain_text_are_read() {
    let tls = talk(&modern()[..1])
        .says(SERVER, record(21, &[2, 40]))
        .tls()
        .unwrap();
    let [alert] = &tls.alerts[..] else {
        panic!("{tls:?}")
    };
    assert_eq!(
        (alert.by_client, alert.ts_ns),
        (false, Some(2 * MILLISECOND_NS))
    );
    assert_eq!(alert.description_word(), "handshake_failure");
    assert_eq!((tls.version, tls.is_established), (None, false));
}

#[test]
fn plain_text_may_come_before() {
    let mail = Talk::new()
        .says(SERVER, b"220 mail.example.org ESMTP\r\n")
        .says(CLIENT, b"EHLO me\r\n")
        .says(SERVER, b"250 STARTTLS\r\n")
        .says(CLIENT, b"STARTTLS\r\n")
        .says(SERVER, b"220 go ahead\r\n");
    let proxy = Talk::new()
        .says(CLIENT, b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")
        .says(SERVER, b"HTTP/1.1 200 OK\r\n\r\n");
    for (before, requests) in [(mail, 0), (proxy, 1)] {
        let say = |talk: Talk, (side, bytes): &(Side, Vec<u8>)| talk.says(*side, bytes);
        let after = modern().iter().fold(before, say);
        assert_eq!(after.conversation.outcome().requests, requests);
        let tls = after.tls().unwrap();
        assert_eq!(tls.server_name.as_deref(), Some("example.org"));
        assert_eq!(tls.handshake_ns(), Some(2 * MILLISECOND_NS));
    }
}

#[test]
fn other_protocols_are_not_tls() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x07\x00\x00\x00"[..],
        b"\x16\x04\x01\x00\x10\x01",
        b"\x17\x03\x03\x00\x10\x01",
        b"\x16",
        b"\x16\x03",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let tls = Talk::new()
            .says(CLIENT, bytes)
            .says(SERVER, b"no\r\n")
            .tls();
        assert_eq!(tls, None, "{bytes:?}");
    }
}

#[test]
fn what_was_lost_or_cut_costs_no_more_than_what_was_in_it() {
    // The answer is not captured.
    let [hello, answer, finished] = modern();
    let tls = Talk::new()
        .says(CLIENT, &hello.1)
        .loses(SERVER, answer.1.len() as i64)
        .acknowledged(SERVER)
        .says(CLIENT, &finished.1)
        .tls()
        .unwrap();
    assert_eq!(tls.server_name.as_deref(), Some("example.org"));
    assert_eq!((tls.version, tls.is_established), (None, false));
    // Of the server's certificate, in the middle of it, nothing is captured.
    let [hello, answer, key, rest, close] = former();
    let tls = Talk::new()
        .says(CLIENT, &hello.1)
        .says_cut(SERVER, &answer.1, 300)
        .says(CLIENT, &key.1)
        .says(SERVER, &rest.1)
        .says(CLIENT, &close.1)
        .tls()
        .unwrap();
    assert_eq!(tls.is_resumed, Some(false));
    assert_eq!(tls.handshake_ns(), Some(3 * MILLISECOND_NS));
    assert_eq!(
        (tls.client_encrypted_alerts, tls.server_encrypted_alerts),
        (1, 1)
    );
}

#[test]
fn a_hello_that_is_cut_gives_what_there_is() {
    let hello = record(22, &modern_hello());
    let mut names = 0;
    for kept in 0..hello.len() {
        if let Some(tls) = Talk::new().says_cut(CLIENT, &hello, kept).tls() {
            assert!(tls.offered_version >= Some(Version(0x0303)));
            assert!(tls.server_name.is_none());
            names += usize::from(!tls.offered_alpn.is_empty());
        }
    }
    assert!(names > 0);
}

/// The same packets, cut into others at given places.
fn resegmented(says: &[(Side, Vec<u8>)], lengths: &[usize]) -> Talk {
    let mut lengths = lengths.iter().cycle();
    let mut talk = Talk::new();
    for (side, bytes) in says {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = (*lengths.next().unwrap()).min(rest.len());
            let (now, after) = rest.split_at(length);
            (talk, rest) = (talk.says(*side, now), after);
        }
    }
    talk
}

proptest! {
    #[test]
    fn segments_may_end_anywhere(lengths in prop::collection::vec(1..200usize, 1..20)) {
        for says in [&modern()[..], &former()] {
            let (whole, cut) = (talk(says).tls(), resegmented(says, &lengths).tls());
            let timeless = |tls: Option<Box<Tls>>| tls.map(|tls| Tls {
                first_ns: None,
                finished_ns: None,
                ..*tls
            });
            prop_assert_eq!(timeless(whole), timeless(cut));
        }
    }

    #[test]
    fn records_may_end_anywhere(at in 1..100usize) {
        let hello = modern_hello();
        let at = at.min(hello.len() - 1);
        let records = [record(22, &hello[..at]), record(22, &hello[at..])].concat();
        // A record that holds no more than a message's header is not seen to begin one.
        let tls = Talk::new().says(CLIENT, &records).tls().unwrap();
        prop_assert_eq!(tls.server_name.as_deref(), Some("example.org"));
    }

    #[test]
    fn any_handshake(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        parts in prop::collection::vec((any::<bool>(), 0..80usize, 0..80usize), 1..60),
    ) {
        for says in [&modern()[..], &former()] {
            let mut all = says.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat();
            for (place, byte) in &changes {
                let place = place.index(all.len());
                all[place] = *byte;
            }
            let mut rest = &all[..];
            let mut talk = Talk::new();
            for (by_client, length, kept) in &parts {
                let (now, after) = rest.split_at((*length).min(rest.len()));
                let side = if *by_client { CLIENT } else { SERVER };
                talk = if *kept == 0 {
                    talk.loses(side, now.len() as i64).acknowledged(side)
                } else {
                    talk.says_cut(side, now, *kept)
                };
                rest = after;
            }
            talk.tls();
        }
    }
}

#[test]
fn early_data_is_no_finished() {
    let hello = |early: &[Vec<u8>]| {
        let versions = extension(43, &[2, 3, 4]);
        record(22, &client_hello(1, &[&[versions][..], early].concat()))
    };
    let is_established = |hello, last: &[u8]| {
        let server = [
            &record(22, &modern_answer())[..],
            CHANGE,
            &record(23, &[9; 60]),
        ]
        .concat();
        let talk = talk(&[(CLIENT, hello), (SERVER, server), (CLIENT, last.to_vec())]);
        talk.tls().unwrap().is_established
    };
    // Early data that goes on behind the server's answer.
    let data = record(23, &[9; 200]);
    let early = || hello(&[extension(42, b"")]);
    assert!(is_established(hello(&[]), &data));
    assert!(!is_established(early(), &data));
    for bytes in [53, 69] {
        let finished = record(23, &vec![9; bytes]);
        let end_of_early_data = record(23, &[9; 21]);
        let last = [&data[..], &end_of_early_data, &finished].concat();
        assert!(is_established(early(), &last));
    }
}
