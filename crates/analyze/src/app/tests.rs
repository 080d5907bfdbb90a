//! Conversations byte by byte: what is found in them.

use proptest::prelude::*;

use super::talk::{CLIENT, SERVER, Talk};
use crate::tcp::ConnectionId;

#[test]
fn a_request_with_all_that_is_told_of_it() {
    let found = Talk::new()
        .says(CLIENT, "POST /a?b=c HTTP/1.1\r\nhost: example.org\r\n")
        .says(
            CLIENT,
            "User-Agent:curl/8 \r\nContent-Length: 10\r\n\r\n01234",
        )
        .says(CLIENT, "56789")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        .says(SERVER, "body")
        .finish();
    let [found] = &found[..] else {
        panic!("{found:?}")
    };
    let (request, response) = (
        found.request.as_ref().unwrap(),
        found.response.as_ref().unwrap(),
    );
    assert_eq!((found.connection, found.index), (ConnectionId(7), 0));
    assert_eq!(found.client.addr.to_string(), "10.0.0.1");
    assert_eq!(request.route(), Some(("POST", "/a?b=c")));
    assert_eq!(request.version.as_deref(), Some("HTTP/1.1"));
    assert_eq!(request.host.as_deref(), Some("example.org"));
    assert_eq!(request.user_agent.as_deref(), Some("curl/8"));
    assert_eq!(
        (request.arrived.first_ns, request.arrived.last_ns),
        (1_000_000, 3_000_000)
    );
    assert_eq!(request.body_bytes, Some(10));
    assert_eq!(response.status, Some(200));
    assert_eq!(response.body_bytes, Some(4));
    assert_eq!(found.ttfb_ns(), Some(1_000_000));
    assert_eq!(found.total_ns(), Some(4_000_000));
}

#[test]
fn responses_answer_requests_in_their_order() {
    let talk = Talk::new()
        .says(
            CLIENT,
            "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3",
        )
        .says(CLIENT, " HTTP/1.1\r\n\r\n")
        .says(
            SERVER,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 404",
        )
        .says(SERVER, " Not Found\r\nContent-Length: 2\r\n\r\n")
        .says(SERVER, "xyHTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(
        talk.summary(),
        ["GET/1=200+1", "GET/2=404+2", "GET/3=204+0"]
    );
}

#[test]
fn bodies_end_where_their_framing_says() {
    for (response, expected) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nabcde\r\nA\r\n0123456789\r\n0\r\nT: t\r\n\r\n",
            "200+15",
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "200+3"),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "304+0",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "200+0",
        ),
    ] {
        let next = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";
        let expected = [format!("GET/1={expected}"), "GET/2=500+0".to_owned()];
        let asked = "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        let talk = Talk::new()
            .says(CLIENT, asked)
            .says(SERVER, format!("{response}{next}"));
        assert_eq!(talk.summary(), expected);
        // The same in pieces of a byte.
        let mut talk = Talk::new().says(CLIENT, asked);
        for byte in response.chars().chain(next.chars()) {
            talk = talk.says(SERVER, byte.to_string());
        }
        assert_eq!(talk.summary(), expected);
    }
}

#[test]
fn start_lines_and_lengths_are_read_as_others_read_them() {
    let told = |request: &str, response: &str| {
        let talk = Talk::new()
            .says(CLIENT, format!("{request}\r\n\r\n"))
            .says(SERVER, format!("{response}\r\n\r\nhello"))
            .says(CLIENT, "GET /next HTTP/1.1\r\n\r\n")
            .says(SERVER, "HTTP/1.1 204 No Content\r\n\r\n");
        talk.summary().join(" ")
    };
    let five = "HTTP/1.1 200 OK\r\nContent-Length: 5";
    for version in ["HTTP/2.0", "HTTP/9.9", "HTTP/1.1", "http/1.1"] {
        let request = format!("GET /a {version}");
        assert_eq!(
            told(&request, five),
            "GET/a=200+5 GET/next=204+0",
            "{version}"
        );
    }
    for head in [
        "HTTP/1.1  200 OK\r\nContent-Length: 5",
        "HTTP/1.1\t200 OK\r\nContent-Length: 5",
        "HTTP/ 200 OK\r\nContent-Length: 5",
        "ICY 200 OK\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5 bytes",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 5",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5",
    ] {
        let told = told("GET /a HTTP/1.1", head);
        assert_eq!(told, "GET/a=200+5 GET/next=204+0", "{head}");
    }
    for coding in [
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ] {
        let talk = Talk::new()
            .says(CLIENT, "GET /a HTTP/1.1\r\n\r\n")
            .says(
                SERVER,
                format!("HTTP/1.1 200 OK\r\n{coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            )
            .says(CLIENT, "GET /next HTTP/1.1\r\n\r\n")
            .says(SERVER, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(
            talk.summary(),
            ["GET/a=200+3", "GET/next=204+0"],
            "{coding}"
        );
    }
    // A target that is cut need not begin with a slash.
    for (request, told) in [
        ("GET http://example.org/a", "GEThttp://example.org/a=200"),
        ("CONNECT example.o", "CONNECTexample.o=200"),
    ] {
        let talk = Talk::new()
            .says_cut(
                CLIENT,
                format!("{request}... HTTP/1.1\r\n\r\n"),
                request.len(),
            )
            .says(SERVER, format!("{five}\r\n\r\nhello"));
        let summary = talk.summary().join(" ");
        assert!(summary.starts_with(told), "{summary}");
    }
}

#[test]
fn a_body_until_close_is_all_that_follows() {
    let talk = Talk::new()
        .says(CLIENT, "GET / HTTP/1.0\r\n\r\n")
        .says(SERVER, "HTTP/1.0 200 OK\r\n\r\nabc")
        .says(SERVER, "HTTP/1.1 404 is no message here\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/=200+38"]);
}

#[test]
fn head_has_no_body_whatever_its_response_says() {
    let talk = Talk::new()
        .says(CLIENT, "HEAD /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(talk.summary(), ["HEAD/1=200+0", "GET/2=200+1"]);
}

#[test]
fn what_follows_connect_may_be_http_and_what_follows_upgrade_is_not() {
    let tunnel = || {
        Talk::new()
            .says(CLIENT, "CONNECT example.org:80 HTTP/1.1\r\n\r\n")
            .says(SERVER, "HTTP/1.1 200 Established\r\n\r\n")
    };
    let talk = tunnel()
        .says(CLIENT, "GET / HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")
        .says(CLIENT, "GET /2 HTTP/1.1\r\n\r\n");
    assert_eq!(
        talk.summary(),
        ["CONNECTexample.org:80=200+0", "GET/=404+2", "GET/2=none"]
    );
    let mut talk = tunnel();
    for _ in 0..20 {
        talk = talk.says(CLIENT, "\x01\x02").says(SERVER, "\x03");
    }
    assert_eq!(talk.summary(), ["CONNECTexample.org:80=200+0"]);
    let talk = Talk::new()
        .says(CLIENT, "CONNECT example.org:443 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        .says(CLIENT, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(
        talk.summary(),
        ["CONNECTexample.org:443=403+0", "GET/=none"]
    );
    let talk = Talk::new()
        .says(CLIENT, "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        .says(
            SERVER,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02",
        )
        .says(CLIENT, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/chat=101+0"]);
    // Nothing is said of what it goes over to.
    let talk = Talk::new()
        .says(CLIENT, "GET /a HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .says(CLIENT, "GET /b HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/a=101+0", "GET/b=200+0"]);
}

#[test]
fn responses_without_requests_are_told() {
    let talk = Talk::new()
        .says(SERVER, "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
        .acknowledged(SERVER)
        .says(CLIENT, "GET / HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.summary(), ["?=408+0", "GET/=200+0"]);
}

#[test]
fn the_order_of_packets_does_not_matter() {
    let asked = b"GET /1 HTTP/1.1\r\nA: b\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
    let (first, last) = asked.split_at(10);
    let talk = Talk::new()
        .packet(CLIENT, 11, last, usize::MAX)
        .packet(CLIENT, 1, first, usize::MAX)
        .packet(CLIENT, 1, asked, usize::MAX);
    let found = talk.finish();
    let times: Vec<_> = found
        .iter()
        .filter_map(|found| found.request.as_ref())
        .map(|request| {
            (
                request.target.as_deref().unwrap(),
                request.arrived.first_ns,
                request.arrived.last_ns,
            )
        })
        .collect();
    // The second was whole when the first packet came, but could not be known.
    assert_eq!(
        times,
        [("/1", 1_000_000, 2_000_000), ("/2", 1_000_000, 1_000_000)]
    );
}

#[test]
fn lost_bytes_of_a_body_are_counted_by_the_sequence_numbers() {
    let talk = Talk::new()
        .says(CLIENT, "GET /1 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
        .loses(SERVER, 200)
        .says(SERVER, "x".repeat(100))
        .acknowledged(SERVER)
        .says(CLIENT, "GET /2 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/1=200+300", "GET/2=200+0"]);
}

#[test]
fn cut_bodies_do_not_desynchronize() {
    let body = "x".repeat(1400);
    let talk = Talk::new()
        .says_cut(CLIENT, "GET /1 HTTP/1.1\r\n\r\n", 60)
        .says_cut(
            SERVER,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n{body}"),
            60,
        )
        .says_cut(SERVER, "y".repeat(100), 60)
        .says_cut(CLIENT, "GET /2 HTTP/1.1\r\n\r\n", 60)
        .says_cut(
            SERVER,
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n578\r\n{body}"),
            60,
        )
        .says_cut(SERVER, "\r\n0\r\n\r\n", 60)
        .says_cut(CLIENT, "GET /3 HTTP/1.1\r\n\r\n", 60)
        .says_cut(SERVER, "HTTP/1.1 204 No Content\r\n\r\n", 60);
    assert_eq!(
        talk.summary(),
        ["GET/1=200+1500", "GET/2=200+1400", "GET/3=204+0"]
    );
}

#[test]
fn cut_heads_give_what_there_is() {
    let request = "GET /path HTTP/1.1\r\nHost: example.org\r\nCookie: much\r\n\r\n";
    let response = "HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length: 100\r\n\r\n";
    let mut talk = Talk::new();
    for _ in 0..2 {
        talk = talk
            .says_cut(CLIENT, request, 40)
            .says_cut(SERVER, response, 30)
            .says_cut(SERVER, "x".repeat(100), 30);
    }
    let found = talk.finish();
    assert_eq!(found.len(), 2);
    for (found, start) in found.iter().zip([0, 3_000_000]) {
        let request = found.request.as_ref().unwrap();
        let response = found.response.as_ref().unwrap();
        assert_eq!(request.target.as_deref(), Some("/path"));
        assert_eq!(response.status, Some(404));
        assert_eq!(request.arrived.last_ns, start + 1_000_000);
        assert_eq!(response.arrived.first_ns, start + 2_000_000);
        assert_eq!(response.arrived.last_ns, start + 3_000_000);
    }
}

#[test]
fn a_header_that_is_cut_has_no_value() {
    let request = "GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8\r\n\r\n";
    let end_of = |value| request.find(value).unwrap() + str::len(value) + 1;
    for kept in "GET / HTTP/1.1".len()..request.len() {
        let found = Talk::new().says_cut(CLIENT, request, kept).finish();
        let asked = &found[0].request.as_ref().unwrap().asked;
        for (told, value) in [(&asked.host, "example.org"), (&asked.user_agent, "curl/8")] {
            let is_whole = kept >= end_of(value);
            assert_eq!(told.as_deref(), is_whole.then_some(value), "{kept}");
        }
    }
}

#[test]
fn the_version_may_be_cut_too() {
    for kept in 11..30 {
        let talk = Talk::new().says_cut(CLIENT, "GET /path HTTP/1.1\r\nHost: x\r\n\r\n", kept);
        assert_eq!(talk.summary(), ["GET/path=none"], "{kept}");
    }
}

#[test]
fn a_capture_may_begin_within_a_body() {
    let talk = Talk::new()
        .says(SERVER, "...the end of something")
        .says(CLIENT, "GET /1 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/1=200+0"]);
}

#[test]
fn empty_lines_before_a_message_are_passed_over() {
    let talk = Talk::new()
        .says(CLIENT, "\r\n\r\nGET /1 HTTP/1.1\r\n\r\n")
        .says(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/1=200+0"]);
}

#[test]
fn other_protocols_are_not_http() {
    for (client, server) in [
        ("EHLO example.org\r\n", "220 example.org ESMTP\r\n"),
        (
            "OPTIONS rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
        ),
        (
            "INVITE sip:bob@example.org SIP/2.0\r\n\r\n",
            "SIP/2.0 200 OK\r\n\r\n",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\u{4}\0\0\0\0\0"),
        ("POST\r\n\r\n", "340 send article\r\n"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "SSH-2.0-OpenSSH_9.9\r\n"),
        ("GET key\r\n\r\n", "$5\r\nvalue\r\n"),
        ("\u{16}\u{3}\u{1}", "\u{16}\u{3}\u{3}"),
        ("HTTP", "HTTP/"),
    ] {
        let talk = Talk::new().says(CLIENT, client).says(SERVER, server);
        assert_eq!(talk.summary(), [""; 0], "{client}");
    }
}

#[test]
fn a_connection_without_http_is_given_up() {
    let mut talk = Talk::new();
    for _ in 0..16 {
        assert!(!talk.conversation.is_over());
        talk = talk.says(CLIENT, "no http").says(SERVER, "none here");
    }
    assert!(talk.conversation.is_over());
}

#[test]
fn a_head_without_end_is_no_message_and_bounded() {
    let mut talk = Talk::new().says(CLIENT, "GET / HTTP/1.1\r\n");
    assert_eq!(talk.conversation.outcome().requests, 0);
    for _ in 0..2000 {
        talk = talk.says(CLIENT, format!("{}: x\r\n", "x".repeat(100)));
    }
    // Longer than any head: it counts as cut.
    assert_eq!(talk.summary(), ["GET/=none"]);
    assert_eq!(
        Talk::new().says(CLIENT, "GET / HTTP/1.1\r\n").summary(),
        [""; 0]
    );
}

#[test]
fn requests_without_responses_do_not_pile_up() {
    let mut talk = Talk::new();
    for _ in 0..3000 {
        talk = talk.says(CLIENT, "GET / HTTP/1.1\r\n\r\n");
    }
    assert!(talk.found.len() > 2500);
    assert_eq!(talk.finish().len(), 3000);
}

#[test]
fn without_a_budget_nothing_is_waited_for() {
    let asked = b"GET /1 HTTP/1.1\r\nA: b\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
    let (first, last) = asked.split_at(25);
    let talk = Talk::with_budget(10)
        .packet(CLIENT, 26, last, usize::MAX)
        .packet(CLIENT, 1, first, usize::MAX)
        .packet(CLIENT, 45, b"GET /3 HTTP/1.1\r\n\r\n", usize::MAX);
    assert_eq!(talk.summary(), ["GET/3=none"]);
    let talk = Talk::with_budget(20)
        .says(CLIENT, "GET /1 HTTP/1.1\r\n")
        .says(CLIENT, "Host: example.org\r\n\r\n")
        .says(CLIENT, "GET /2 HTTP/1.1\r\n\r\n");
    assert_eq!(talk.summary(), ["GET/1=none", "GET/2=none"]);
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    let talk = Talk::new().packet(CLIENT, 1, b"GET /\xfc HTTP/1.1\r\n\r\n", usize::MAX);
    assert_eq!(talk.summary(), [r"GET/\xfc=none"]);
}

const WORDS: [&str; 14] = [
    "GET / HTTP/1.1\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 204 x\r\n\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "\r\n",
    "GET /",
    "HTTP/1.1 ",
    "\0\u{1}",
];

proptest! {
    /// Whatever is said, lost, cut and repeated: nothing is told twice, times
    /// are in order, and it ends.
    #[test]
    fn any_talk(packets in prop::collection::vec(
        (any::<bool>(), 0..WORDS.len(), 0..40i64, 0..60usize, any::<bool>()), 0..60))
    {
        let mut talk = Talk::new();
        for (client, word, back, kept, acknowledged) in packets {
            let side = if client { CLIENT } else { SERVER };
            let bytes = WORDS[word].as_bytes();
            // Mostly in order; else again, or with a hole.
            let position = talk.next[side] + if back > 30 { back - 60 } else { (back - 27).max(0) };
            talk.next[side] = talk.next[side].max(position + bytes.len() as i64);
            talk = talk.packet(side, position, bytes, kept);
            if acknowledged {
                talk = talk.acknowledged(side);
            }
        }
        let end_ns = talk.now_ns;
        for (index, found) in talk.finish().iter().enumerate() {
            prop_assert_eq!(found.index, index as u64);
            prop_assert!(found.request.is_some() || found.response.is_some());
            for (first_ns, last_ns) in [
                found.request.as_ref().map(|it| (it.arrived.first_ns, it.arrived.last_ns)),
                found.response.as_ref().map(|it| (it.arrived.first_ns, it.arrived.last_ns)),
            ].into_iter().flatten() {
                prop_assert!(0 < first_ns && first_ns <= last_ns && last_ns <= end_ns);
            }
        }
    }
}
