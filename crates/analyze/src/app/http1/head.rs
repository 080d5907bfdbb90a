//! The head of an HTTP/1 message: its start line and headers (RFC 9112
//! sections 2 to 5), read leniently: what a server or client got along with,
//! or answered with an error, is worth a line in a report.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use crate::app::text::{Texts, text};

/// Methods that make a request of a line without a version, as HTTP/0.9 and
/// broken clients send: those of the IANA registry that are in use, and
/// Microsoft's. Lines of other protocols look like that too.
const KNOWN_METHODS: [&str; 28] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "ACL",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "REPORT",
    "SEARCH",
    "UNLOCK",
    "VERSION-CONTROL",
    "CCM_POST",
    "BITS_POST",
    "RPC_IN_DATA",
];

const KNOWN_VERSIONS: [&str; 2] = ["HTTP/1.1", "HTTP/1.0"];

/// No method is longer.
const MAX_METHOD_BYTES: usize = 32;

/// The head of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// Of a request.
    Request(RequestHead),
    /// Of a response.
    Response(ResponseHead),
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Cow<'static, str>,
    pub(super) target: Arc<str>,
    pub(super) version: Cow<'static, str>,
    pub(super) host: Option<Arc<str>>,
    pub(super) user_agent: Option<Arc<str>>,
    pub(super) framing: Framing,
}

/// The head of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// It goes over to HTTP/2 (RFC 7540 section 3.2).
    pub(super) is_http2: bool,
    pub(super) framing: Framing,
}

/// What a head says of the length of its body (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    /// There is a transfer coding, and it is not chunked in the end.
    pub(super) coded: bool,
}

/// Where the head that begins `bytes` ends: after its first empty line. What
/// stands before `from` was searched before.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    for at in memchr_iter(b'\n', bytes.get(from..)?) {
        let line = from + at + 1;
        match bytes.get(line..)? {
            [b'\n', ..] => return Some(line + 1),
            [b'\r', b'\n', ..] => return Some(line + 2),
            _ => {}
        }
    }
    None
}

/// What the first bytes of a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Request,
    Response,
    /// Too few bytes to tell.
    Unsure,
    Neither,
}

/// Tells a message by its start line, of which `bytes` may hold a part only.
pub(super) fn start(bytes: &[u8]) -> Start {
    const RESPONSE: &[u8] = b"HTTP/";
    let line = first_line(bytes);
    let known = line.unwrap_or(bytes);
    if let Some(rest) = known.strip_prefix(RESPONSE) {
        return match (rest.first(), line) {
            (Some(b'0'..=b'9'), Some(line)) if status_line(line).is_some() => Start::Response,
            (Some(b'0'..=b'9') | None, None) => Start::Unsure,
            _ => Start::Neither,
        };
    }
    if line.is_none() && RESPONSE.starts_with(known) {
        return Start::Unsure;
    }
    let method = known
        .iter()
        .take(MAX_METHOD_BYTES + 1)
        .take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
        .count();
    match (known.get(method), line) {
        _ if method == 0 || method > MAX_METHOD_BYTES => Start::Neither,
        (Some(b' ') | None, None) => Start::Unsure,
        (Some(b' '), Some(line)) if request_line(line, false).is_some() => Start::Request,
        _ => Start::Neither,
    }
}

/// As [`start`], where the bytes after `bytes` were not captured.
pub(super) fn start_of_cut(bytes: &[u8]) -> Start {
    match start(bytes) {
        Start::Unsure if status_line(bytes).is_some() => Start::Response,
        Start::Unsure if request_line(bytes, true).is_some() => Start::Request,
        Start::Unsure => Start::Neither,
        known => known,
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    memchr(b'\n', bytes)
        .and_then(|end| bytes.get(..end))
        .map(trim_cr)
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The status.
fn status_line(line: &[u8]) -> Option<u16> {
    let version = line.strip_prefix(b"HTTP/")?;
    let space = version.iter().position(|byte| *byte == b' ')?;
    let status = version.get(space + 1..)?.first_chunk::<3>()?;
    if !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = status
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    Some(status)
}

/// Method, target and version; the last is empty where there is none. A line
/// that is `cut` may end within its version.
fn request_line(line: &[u8], cut: bool) -> Option<(&[u8], &[u8], &[u8])> {
    let space = memchr(b' ', line)?;
    let (method, rest) = (line.get(..space)?, line.get(space + 1..)?.trim_ascii());
    let last = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // What has the version 2 is the preface of another protocol (RFC 9113
    // section 3.4).
    let is_version = last.starts_with(b"HTTP/1") || last.starts_with(b"HTTP/0");
    let is_part = cut && !last.is_empty() && b"HTTP/".starts_with(last) && last.len() < rest.len();
    if is_version || is_part {
        let target = rest.get(..rest.len() - last.len())?.trim_ascii();
        return Some((method, target, last));
    }
    // RTSP, SIP and others have lines like HTTP's, with another version.
    let plain = rest.is_empty() || rest.starts_with(b"/") || rest == b"*";
    (plain && known(&KNOWN_METHODS, method).is_some()).then_some((method, rest, b""))
}

/// Reads a head, or as much of it as there is.
pub(super) fn read(bytes: &[u8], texts: &mut Texts) -> Option<Head> {
    let mut lines = lines(bytes);
    let first = lines.next()?;
    if let Some(status) = status_line(first) {
        let mut head = ResponseHead {
            status,
            ..ResponseHead::default()
        };
        for (name, value) in lines.filter_map(header) {
            head.framing.header(name, value);
            head.is_http2 |= status == 101
                && name.eq_ignore_ascii_case(b"upgrade")
                && value.eq_ignore_ascii_case(b"h2c");
        }
        return Some(Head::Response(head));
    }
    let (method, target, version) = request_line(first, true)?;
    let mut head = RequestHead {
        method: word(&KNOWN_METHODS, method),
        target: texts.get(target),
        version: word(&KNOWN_VERSIONS, version),
        host: None,
        user_agent: None,
        framing: Framing::default(),
    };
    for (name, value) in lines.filter_map(header) {
        if name.eq_ignore_ascii_case(b"host") {
            head.host.get_or_insert_with(|| texts.get(value));
        } else if name.eq_ignore_ascii_case(b"user-agent") {
            head.user_agent.get_or_insert_with(|| texts.get(value));
        } else {
            head.framing.header(name, value);
        }
    }
    Some(Head::Request(head))
}

/// The lines of a head, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    iter::from_fn(move || {
        let bytes = rest?;
        let end = memchr(b'\n', bytes);
        rest = end.and_then(|end| bytes.get(end + 1..));
        bytes.get(..end.unwrap_or(bytes.len())).map(trim_cr)
    })
}

fn known(words: &[&'static str], word: &[u8]) -> Option<&'static str> {
    let mut words = words.iter();
    words.find(|known| known.as_bytes() == word).copied()
}

/// A word that is mostly one of a few, which then takes no memory.
fn word(words: &[&'static str], word: &[u8]) -> Cow<'static, str> {
    known(words, word).map_or_else(|| text(word).into_owned().into(), Cow::Borrowed)
}

/// Name and value of a header line; none of one whose name begins as no name does
/// that is looked for.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if !matches!(
        line.first()?.to_ascii_lowercase(),
        b'c' | b'h' | b't' | b'u'
    ) {
        return None;
    }
    // Names are too short for a search to be worth its beginning.
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((
        line.get(..colon)?.trim_ascii_end(),
        line.get(colon + 1..)?.trim_ascii(),
    ))
}

impl Framing {
    fn header(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
            self.content_length = self.content_length.or(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next();
            self.chunked =
                last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            self.coded = !self.chunked && !value.eq_ignore_ascii_case(b"identity");
        }
    }
}
