//! What is known of a TLS connection in the end.

use std::fmt;

use tcprec_shared::flow::Endpoint;
use tls_parser::{TlsAlertDescription, TlsAlertSeverity, TlsCipherSuite};

/// What the handshake of a TLS connection shows, and what broke it.
///
/// All but the handshake is encrypted, and in TLS 1.3 most of that too: what
/// cannot be seen is none here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The end that sends the ClientHello.
    pub client: Endpoint,
    /// The highest version that the client offers.
    pub offered_version: Option<Version>,
    /// The version that the server chose.
    pub version: Option<Version>,
    /// The server that the client asks for (SNI, RFC 6066 section 3); with
    /// Encrypted Client Hello the one that stands outside.
    pub server_name: Option<String>,
    /// The protocols that the client offers (ALPN, RFC 7301), the first before
    /// others.
    pub offered_alpn: Vec<String>,
    /// The one of them that the server chose; TLS 1.3 hides it.
    pub alpn: Option<String>,
    /// The cipher suite that the server chose.
    pub cipher: Option<CipherSuite>,
    /// The server asked for another ClientHello (RFC 8446 section 4.1.4).
    pub is_retried: bool,
    /// Whether keys of an earlier session are used again: the server accepted
    /// a pre-shared key, a ticket or a session id.
    pub is_resumed: Option<bool>,
    /// Whether the server asked for the client's certificate; TLS 1.3 hides it.
    pub asks_certificate: Option<bool>,
    /// Time of the packet with the first byte of the ClientHello.
    pub first_ns: Option<i64>,
    /// Time of the packet that ends the handshake: until then both ends have
    /// sent their Finished. In TLS 1.3, which hides it, the client's is taken
    /// to be in its first encrypted record after the ServerHello.
    pub finished_ns: Option<i64>,
    /// Whether the handshake came to its end.
    pub is_established: bool,
    /// The alerts that were not encrypted; the first 16.
    pub alerts: Vec<Alert>,
    /// How many alerts the client sent encrypted, as far as their records can be
    /// told from others: TLS 1.3 hides them.
    pub client_encrypted_alerts: u64,
    /// The same for the server.
    pub server_encrypted_alerts: u64,
}

impl Tls {
    /// How long the handshake took: from the first byte of the ClientHello
    /// until both ends have sent their Finished.
    #[must_use]
    pub fn handshake_ns(&self) -> Option<i64> {
        Some(self.finished_ns?.saturating_sub(self.first_ns?))
    }
}

/// A version of the protocol, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// The first in which all after the ServerHello is encrypted.
    pub(super) const TLS_1_3: Self = Self(0x0304);

    /// Whether all after the ServerHello is encrypted, as also in the drafts of
    /// TLS 1.3 (0x7f..).
    pub(super) fn hides_handshake(self) -> bool {
        self >= Self::TLS_1_3
    }
}

impl fmt::Display for Version {
    /// As OpenSSL names it: `TLSv1.3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0x0300 => "SSLv3",
            0x0301 => "TLSv1",
            0x0302 => "TLSv1.1",
            0x0303 => "TLSv1.2",
            0x0304 => "TLSv1.3",
            other => return write!(f, "0x{other:04x}"),
        })
    }
}

/// A cipher suite, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipherSuite(pub u16);

impl fmt::Display for CipherSuite {
    /// As IANA names it: `TLS_AES_128_GCM_SHA256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TlsCipherSuite::from_id(self.0) {
            Some(suite) => f.write_str(suite.name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

/// An alert that was not encrypted (RFC 8446 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// When.
    pub ts_ns: Option<i64>,
    /// Whether the client sent it.
    pub by_client: bool,
    /// How bad it is: 1 a warning, 2 fatal.
    pub level: u8,
    /// What about, as IANA numbers it.
    pub description: u8,
}

impl Alert {
    /// Whether it ends the connection (RFC 5246 section 7.2).
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        self.level == 2
    }

    /// The word for its level, as `fatal`.
    #[must_use]
    pub fn level_word(&self) -> String {
        snake_case(&TlsAlertSeverity(self.level).to_string(), self.level)
    }

    /// The words for its description, as `handshake_failure`.
    #[must_use]
    pub fn description_word(&self) -> String {
        let name = TlsAlertDescription(self.description).to_string();
        snake_case(&name, self.description)
    }
}

/// `HandshakeFailure` as `handshake_failure`; the number of what has no name.
fn snake_case(name: &str, number: u8) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return number.to_string();
    }
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_names() {
        assert_eq!(CipherSuite(0x1301).to_string(), "TLS_AES_128_GCM_SHA256");
        assert_eq!(CipherSuite(0xfefe).to_string(), "0xfefe");
        assert_eq!(Version(0x0303).to_string(), "TLSv1.2");
        let alert = |level, description| {
            let alert = Alert {
                ts_ns: None,
                by_client: true,
                level,
                description,
            };
            (alert.level_word(), alert.description_word())
        };
        assert_eq!(alert(2, 48), ("fatal".into(), "unknown_ca".into()));
        assert_eq!(alert(1, 0), ("warning".into(), "close_notify".into()));
        assert_eq!(alert(2, 40), ("fatal".into(), "handshake_failure".into()));
        assert_eq!(alert(9, 13), ("9".into(), "13".into()));
    }
}
