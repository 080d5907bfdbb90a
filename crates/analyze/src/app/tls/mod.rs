//! TLS, found by content on any port, also after a plaintext that agreed on it
//! (STARTTLS).
//!
//! This module follows the records of both directions and reads of the
//! handshake what is not encrypted. Payload that is cut, or was not captured,
//! costs what was in it: lengths and sequence numbers tell where the next record
//! begins, and where they do not, the next packet that begins with one.

mod facts;
mod hello;
mod messages;
mod records;

pub use self::facts::{Alert, CipherSuite, Tls, Version};

use tcprec_shared::flow::Flow;

use self::hello::{ClientHello, ServerHello};
use self::messages::{Message, Messages, kind};
use self::records::{Content, Fragment, Records};
use super::budget::Budget;
use super::framing::Found;
use super::reassembly::Piece;
use crate::tcp::{Pair, Side};

/// So many alerts are told.
const MAX_ALERTS: usize = 16;

/// No encrypted record of TLS 1.3 with a Finished is shorter: the message's
/// header and 32 bytes at least, its type, and the shortest tag there is (RFC
/// 8446 sections 4.4.4 and 5.2, RFC 6655). An alert is shorter.
const MIN_HIDDEN_FINISHED: u16 = 4 + 32 + 1 + 8;

/// Whether an encrypted record of TLS 1.3 is as long as one with nothing but a Finished:
/// with the hash of a suite, 32 or 48 bytes, and a tag, 16 or 8 (RFC 8446 appendix B.4).
pub(crate) const fn is_hidden_finished(record_bytes: u16) -> bool {
    const BYTES: u16 = MIN_HIDDEN_FINISHED;
    matches!(record_bytes.wrapping_sub(BYTES), 0 | 8 | 16 | 24)
}

/// What a packet says that begins with a hello, as `ClientHello TLSv1.3
/// example.org`.
pub(crate) fn describe(payload: &[u8]) -> Option<String> {
    const BEFORE_BODY: usize = 9;
    let body = payload.get(BEFORE_BODY..).filter(|_| begins(payload))?;
    let words = match payload.get(5) {
        Some(&kind::CLIENT_HELLO) => {
            let hello = ClientHello::read(body)?;
            let version = hello.version.map(|version| Version(version).to_string());
            [
                "ClientHello".into(),
                version?,
                hello.server_name.unwrap_or_default(),
            ]
        }
        _ => {
            let hello = ServerHello::read(body)?;
            let name = if hello.is_retry {
                "HelloRetryRequest"
            } else {
                "ServerHello"
            };
            let cipher = hello.cipher.map(|cipher| CipherSuite(cipher).to_string());
            let version = Version(hello.version).to_string();
            [name.into(), version, cipher.unwrap_or_default()]
        }
    };
    Some(words.join(" ").trim_end().to_owned())
}

/// Whether a piece may begin with the record of a hello. A piece of one byte may,
/// too: some clients cut their hello so that nobody on the way finds it.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let is_hello = |kind: &u8| matches!(*kind, kind::CLIENT_HELLO | kind::SERVER_HELLO);
    matches!(bytes, [22] | [22, 3] | [22, 3, 0..=4, ..]) && bytes.get(5).is_none_or(is_hello)
}

/// A connection that carries TLS.
#[derive(Debug)]
pub(super) struct Session {
    ends: Pair<End>,
    seen: Seen,
}

/// What one end sends.
#[derive(Debug)]
struct End {
    records: Records,
    messages: Messages,
    progress: Progress,
}

/// How far an end has come.
#[derive(Debug, Default)]
struct Progress {
    /// What follows is encrypted (before TLS 1.3).
    is_changed: bool,
    /// It sent its Finished.
    is_finished: bool,
    finished_ns: Option<i64>,
    encrypted_alerts: u64,
}

impl Progress {
    fn finish(&mut self, arrived_ns: Option<i64>) {
        if !self.is_finished {
            self.is_finished = true;
            self.finished_ns = arrived_ns;
        }
    }
}

/// What the ends said in plain text.
#[derive(Debug, Default)]
struct Seen {
    /// The end that sends the ClientHello; none before a hello.
    client: Option<Side>,
    client_hello: Option<ClientHello>,
    server_hello: Option<ServerHello>,
    first_ns: Option<i64>,
    is_retried: bool,
    /// The server sent its certificate, or asked for the client's.
    has_certificate: bool,
    asks_certificate: bool,
    /// The server went over to encryption without its certificate.
    skips_certificate: bool,
    alerts: Vec<Alert>,
}

impl Session {
    /// A connection before its first hello.
    pub(super) fn new(budget: &Budget) -> Self {
        let end = || End {
            records: Records::default(),
            messages: Messages::new(budget.clone()),
            progress: Progress::default(),
        };
        Self {
            ends: Pair {
                low: end(),
                high: end(),
            },
            seen: Seen::default(),
        }
    }

    /// Whether nothing more can be seen: all that follows is encrypted, alerts
    /// too.
    pub(super) fn is_over(&self) -> bool {
        self.is_established() && self.hides_handshake()
    }

    /// Whether the handshake came to its end.
    pub(super) const fn is_established(&self) -> bool {
        let Pair { low, high } = &self.ends;
        low.progress.is_finished && high.progress.is_finished
    }

    /// Whether all after the hellos is encrypted, as in TLS 1.3.
    pub(super) fn hides_handshake(&self) -> bool {
        self.seen.hides_handshake()
    }

    /// Takes the next piece that the end `side` sent.
    pub(super) fn piece(&mut self, side: Side, piece: Piece<'_>) {
        let End {
            records,
            messages,
            progress,
        } = &mut self.ends[side];
        let seen = &mut self.seen;
        records.piece(piece.bytes, piece.missing, piece.arrived_ns, |found| {
            if let Found::Part(fragment) = found {
                seen.fragment(side, fragment, messages, progress);
            }
        });
    }

    /// What is known; nothing if there was no hello.
    pub(super) fn facts(&self, flow: &Flow) -> Option<Box<Tls>> {
        let seen = &self.seen;
        let client = seen.client?;
        let (asking, answering) = (
            &self.ends[client].progress,
            &self.ends[client.other()].progress,
        );
        let (asked, answered) = (seen.client_hello.as_ref(), seen.server_hello.as_ref());
        let finished_ns = asking.finished_ns.zip(answering.finished_ns);
        let is_established = asking.is_finished && answering.is_finished;
        let hides = seen.hides_handshake();
        let sees_all = !hides && (seen.has_certificate || is_established);
        Some(Box::new(Tls {
            client: client.endpoint(flow),
            offered_version: asked.and_then(|hello| hello.version).map(Version),
            version: answered.map(|hello| Version(hello.version)),
            server_name: asked.and_then(|hello| hello.server_name.clone()),
            offered_alpn: asked.map_or(Vec::new(), |hello| hello.alpn.clone()),
            alpn: answered.and_then(|hello| hello.alpn.clone()),
            cipher: answered.and_then(|hello| hello.cipher).map(CipherSuite),
            is_retried: seen.is_retried,
            is_resumed: seen.is_resumed(),
            asks_certificate: (sees_all || seen.asks_certificate).then_some(seen.asks_certificate),
            first_ns: seen.first_ns,
            finished_ns: finished_ns.map(|(client_ns, server_ns)| client_ns.max(server_ns)),
            is_established,
            alerts: seen.alerts.clone(),
            client_encrypted_alerts: asking.encrypted_alerts,
            server_encrypted_alerts: answering.encrypted_alerts,
        }))
    }
}

impl Seen {
    fn hides_handshake(&self) -> bool {
        let hello = self.server_hello.as_ref();
        hello.is_some_and(|hello| Version(hello.version).hides_handshake())
    }

    /// Whether an end may have sent data before its Finished.
    fn sends_early(&self, side: Side) -> bool {
        let hello = self.client_hello.as_ref();
        self.client == Some(side) && hello.is_some_and(|hello| hello.has_early_data)
    }

    fn fragment(
        &mut self,
        side: Side,
        fragment: Fragment<'_>,
        messages: &mut Messages,
        progress: &mut Progress,
    ) {
        match fragment.header.content {
            Content::ChangeCipherSpec if fragment.is_end => self.change(side, progress),
            Content::Alert => self.alert(side, fragment, progress),
            Content::Handshake if progress.is_changed && fragment.is_end => {
                progress.finish(fragment.arrived_ns);
            }
            Content::Handshake if !progress.is_changed => {
                messages.fragment(fragment, |message| self.message(side, &message));
            }
            Content::ApplicationData
                if self.hides_handshake()
                    && fragment.is_end
                    && fragment.header.length >= MIN_HIDDEN_FINISHED
                    && (!self.sends_early(side) || is_hidden_finished(fragment.header.length)) =>
            {
                progress.finish(fragment.arrived_ns);
            }
            _ => {}
        }
    }

    /// Takes it that `side` goes over to encryption. In TLS 1.3 the record
    /// means nothing (RFC 8446 appendix D.4).
    fn change(&mut self, side: Side, progress: &mut Progress) {
        if self.hides_handshake() || self.is_retried {
            return;
        }
        progress.is_changed = true;
        if self.client == Some(side.other()) && self.server_hello.is_some() {
            self.skips_certificate = !self.has_certificate;
        }
    }

    fn alert(&mut self, side: Side, fragment: Fragment<'_>, progress: &mut Progress) {
        // No cipher makes two bytes of two bytes.
        match (fragment.header.length, fragment.bytes) {
            (2, &[level, description]) if self.alerts.len() < MAX_ALERTS => {
                self.alerts.push(Alert {
                    ts_ns: fragment.arrived_ns,
                    by_client: self.client == Some(side),
                    level,
                    description,
                });
            }
            (2, _) => {}
            _ => progress.encrypted_alerts += u64::from(fragment.is_end),
        }
    }

    fn message(&mut self, side: Side, message: &Message<'_>) {
        match message.kind {
            kind::CLIENT_HELLO if self.client.is_none_or(|client| client == side) => {
                let Some(hello) = ClientHello::read(message.body) else {
                    return;
                };
                self.client = Some(side);
                self.first_ns = self.first_ns.or(message.first_ns);
                self.client_hello = Some(hello);
            }
            kind::SERVER_HELLO if self.client != Some(side) => {
                let Some(hello) = ServerHello::read(message.body) else {
                    return;
                };
                self.client = Some(side.other());
                if hello.is_retry {
                    self.is_retried = true;
                } else {
                    self.server_hello = Some(hello);
                }
            }
            kind::CERTIFICATE if self.client == Some(side.other()) => self.has_certificate = true,
            kind::CERTIFICATE_REQUEST if self.client == Some(side.other()) => {
                self.asks_certificate = true;
            }
            _ => {}
        }
    }

    /// Whether an earlier session goes on.
    fn is_resumed(&self) -> Option<bool> {
        let hello = self.server_hello.as_ref()?;
        if Version(hello.version).hides_handshake() {
            return (hello.has_psk || hello.is_whole).then_some(hello.has_psk);
        }
        // RFC 5246 section 7.3 and RFC 5077 section 3.1: a server that goes on
        // with a session sends no certificate; mostly it repeats the client's
        // session id. (Anonymous ciphers have no certificates either.)
        let asked = self.client_hello.as_ref();
        let is_repeated = asked.is_some_and(|asked| {
            !asked.session_id.is_empty() && asked.session_id == hello.session_id
        });
        if self.has_certificate {
            Some(false)
        } else if is_repeated || self.skips_certificate {
            Some(true)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
