//! The head of an HTTP/1 message: its start line and headers (RFC 9112
//! sections 2 to 5), read leniently: what a server or client got along with,
//! or answered with an error, is worth a line in a report.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use crate::app::Asked;
use crate::app::is_event_stream;
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

/// A response begins so.
const RESPONSE: &[u8] = b"HTTP/";

/// The version of SHOUTcast's responses, which are HTTP's otherwise; Wireshark takes
/// them for such.
const ICY: &[u8] = b"ICY";

/// No method is longer.
const MAX_METHOD_BYTES: usize = 32;

/// The head of a message, as its bytes say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// Of a request.
    Request(RequestHead<'a>),
    /// Of a response.
    Response(ResponseHead),
}

/// The head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// Empty where there is none; none where it was cut off.
    pub(super) version: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) framing: Framing,
}

impl RequestHead<'_> {
    /// What it asks for, as text.
    pub(super) fn asked(&self, texts: &mut Texts) -> Arc<Asked> {
        let parts = [Some(self.target), self.host, self.user_agent];
        let is_same = |asked: &Asked| {
            let texts = [&asked.target, &asked.host, &asked.user_agent];
            let bytes = texts.map(|text| text.as_ref().map(|text| text.as_bytes()));
            let method = asked.method.as_ref().map(|method| method.as_bytes());
            bytes == parts
                && method == Some(self.method)
                && asked.version.as_ref().map(|version| version.as_bytes()) == self.version
        };
        texts.asked(&(self.method, parts), is_same, |texts| Asked {
            method: Some(word(&KNOWN_METHODS, self.method)),
            target: Some(texts.get(self.target)),
            version: self.version.map(|version| word(&KNOWN_VERSIONS, version)),
            host: self.host.map(|host| texts.get(host)),
            user_agent: self.user_agent.map(|agent| texts.get(agent)),
        })
    }
}

/// The head of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// It says what it goes over to (RFC 9110 section 7.8).
    pub(super) has_upgrade: bool,
    /// It goes over to HTTP/2 (RFC 7540 section 3.2).
    pub(super) is_http2: bool,
    /// See [`ResponseMessage::is_endless`](crate::app::ResponseMessage::is_endless).
    pub(super) is_endless: bool,
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
    if let Some(line) = Lines(bytes).next() {
        return Head::begin(line).map_or(Start::Neither, |head| head.start());
    }
    let is_sensible = match bytes.strip_prefix(RESPONSE) {
        Some(version) => version.first().is_none_or(|byte| !byte.is_ascii_control()),
        None if RESPONSE.starts_with(bytes) => true,
        None => matches!(after_method(bytes), Some([b' ', ..] | [])),
    };
    if is_sensible {
        Start::Unsure
    } else {
        Start::Neither
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

/// Whether a packet begins with a request.
pub(in crate::app) fn asks(payload: &[u8]) -> bool {
    start_of_cut(payload) == Start::Request
}

/// The start line of the message that a packet begins with, as far as it is there.
pub(crate) fn describe(payload: &[u8]) -> Option<Cow<'_, str>> {
    /// More of a line is not told.
    const MAX_LINE_BYTES: usize = 200;
    if !matches!(start_of_cut(payload), Start::Request | Start::Response) {
        return None;
    }
    let line = Lines(payload).next().unwrap_or(payload);
    Some(text(line.get(..MAX_LINE_BYTES).unwrap_or(line)))
}

/// What follows the method that begins a line.
fn after_method(line: &[u8]) -> Option<&[u8]> {
    let in_method = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    let bytes = line.iter().take_while(|byte| in_method(byte));
    let length = bytes.take(MAX_METHOD_BYTES + 1).count();
    let is_method = (1..=MAX_METHOD_BYTES).contains(&length);
    line.get(length..).filter(|_| is_method)
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The status.
fn status_line(line: &[u8]) -> Option<u16> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let space = line.iter().position(is_space)?;
    let (version, rest) = line.split_at(space);
    if !version.starts_with(RESPONSE) && version != ICY {
        return None;
    }
    let status = rest.trim_ascii_start().first_chunk::<3>()?;
    if !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = status
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    Some(status)
}

/// A head with nothing but its first line. One that is `cut` may end anywhere.
fn request_line(line: &[u8], cut: bool) -> Option<RequestHead<'_>> {
    let space = memchr(b' ', line)?;
    let (method, rest) = (line.get(..space)?, line.get(space + 1..)?.trim_ascii());
    let head = |target, version| RequestHead {
        method,
        target,
        version,
        host: None,
        user_agent: None,
        framing: Framing::default(),
    };
    let last = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    // The preface of another protocol (RFC 9113 section 3.4).
    let name = last.get(..RESPONSE.len()).unwrap_or_default();
    let is_version = name.eq_ignore_ascii_case(RESPONSE) && method != b"PRI";
    let is_part = cut && !last.is_empty() && RESPONSE.starts_with(last) && last.len() < rest.len();
    if is_version || is_part {
        let target = rest.get(..rest.len() - last.len())?.trim_ascii();
        return Some(head(target, Some(last)));
    }
    // RTSP, SIP and others have lines like HTTP's, with another version.
    let schemes = [&b"http://"[..], b"https://"];
    let is_absolute = schemes
        .iter()
        .any(|scheme| rest.starts_with(scheme) || scheme.starts_with(rest));
    let is_cut = cut && (is_absolute || method == b"CONNECT");
    let plain = rest.is_empty() || rest.starts_with(b"/") || rest == b"*" || is_cut;
    let version = (!cut).then_some(&b""[..]);
    (plain && known(&KNOWN_METHODS, method).is_some()).then(|| head(rest, version))
}

impl<'a> Head<'a> {
    /// Takes the start line of a message, if it is one.
    fn begin(line: &'a [u8]) -> Option<Self> {
        if line.starts_with(RESPONSE) || line.starts_with(ICY) {
            return Self::response(line);
        }
        let is_request = after_method(line)?.starts_with(b" ");
        is_request.then(|| Self::request(line, false)).flatten()
    }

    fn response(line: &[u8]) -> Option<Self> {
        Some(Self::Response(ResponseHead {
            status: status_line(line)?,
            ..ResponseHead::default()
        }))
    }

    fn request(line: &'a [u8], cut: bool) -> Option<Self> {
        Some(Self::Request(request_line(line, cut)?))
    }

    /// What begins so.
    pub(super) const fn start(&self) -> Start {
        match self {
            Self::Request(_) => Start::Request,
            Self::Response(_) => Start::Response,
        }
    }

    /// Takes the next line. It may go on with a header that has only its name so far
    /// (RFC 9112 section 5.2), which is `named`.
    fn line(&mut self, line: &'a [u8], named: &mut &'a [u8]) {
        let folded = matches!(line, [b' ' | b'\t', ..]).then(|| (*named, line.trim_ascii()));
        let Some((name, value)) = folded.or_else(|| header(line)) else {
            *named = b"";
            return;
        };
        *named = if value.is_empty() { name } else { b"" };
        match self {
            Self::Request(head) if name.eq_ignore_ascii_case(b"host") => {
                head.host.get_or_insert(value);
            }
            Self::Request(head) if name.eq_ignore_ascii_case(b"user-agent") => {
                head.user_agent.get_or_insert(value);
            }
            Self::Request(head) => head.framing.header(name, value),
            Self::Response(head) => {
                head.framing.header(name, value);
                if name.eq_ignore_ascii_case(b"content-type") {
                    head.is_endless |= is_event_stream(value);
                }
                if name.eq_ignore_ascii_case(b"upgrade") {
                    head.has_upgrade = true;
                    head.is_http2 |= head.status == 101 && value.eq_ignore_ascii_case(b"h2c");
                }
            }
        }
    }
}

/// Reads a head, or as much of it as there is.
pub(super) fn read(bytes: &[u8]) -> Option<Head<'_>> {
    let mut lines = Lines(bytes);
    let line = lines.next();
    let (first, cut) = (line.unwrap_or(bytes), line.is_none());
    let mut head = Head::response(first).or_else(|| Head::request(first, cut))?;
    let mut named: &[u8] = b"";
    for line in lines.by_ref() {
        head.line(line, &mut named);
    }
    // How the value of a line that was cut goes on, nobody knows.
    if let Some(line) = lines.0.strip_suffix(b"\r") {
        head.line(line, &mut named);
    }
    Some(head)
}

/// Reads a message's head that is all there. Gives what follows it, too.
pub(super) fn read_whole(bytes: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let mut lines = Lines(bytes);
    let mut head = Head::begin(lines.next()?)?;
    let mut named: &[u8] = b"";
    loop {
        match lines.next()? {
            [] => return Some((head, lines.0)),
            line => head.line(line, &mut named),
        }
    }
}

/// The lines of a head, without their ends. What is left in the end has none.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (line, rest) = self.0.split_at_checked(memchr(b'\n', self.0)?)?;
        self.0 = rest.get(1..)?;
        Some(trim_cr(line))
    }
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

/// A transfer coding without its parameters.
fn coding(coding: &[u8]) -> &[u8] {
    let name = coding.split(|byte| *byte == b';').next();
    name.unwrap_or_default().trim_ascii()
}

impl Framing {
    fn header(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            // The same several times counts once (RFC 9112 section 6.3); of others the
            // last does, and what follows the number is passed over, as in Wireshark
            // and Zeek.
            let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
            let digits = value.get(..digits.count()).unwrap_or_default();
            let length = str::from_utf8(digits).ok();
            let length = length.and_then(|text| text.parse().ok());
            self.content_length = length.or(self.content_length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // "identity" was never a coding (RFC 9112 appendix C.2.2).
            let mut codings = value.rsplit(|byte| *byte == b',').map(coding);
            let is_one =
                |coding: &&[u8]| !(coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"));
            if let Some(last) = codings.find(is_one) {
                self.chunked = last.eq_ignore_ascii_case(b"chunked");
                self.coded = !self.chunked;
            }
        }
    }
}
