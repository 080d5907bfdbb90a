//! The two hellos of a handshake (RFC 8446 section 4.1, RFC 5246 section
//! 7.4.1), of which the end may be cut off.

use tls_parser::{SNIType, TlsExtension, parse_tls_extension};

use crate::app::text::text;

/// The random of a ServerHello that is a HelloRetryRequest: SHA-256 of these
/// words (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// No name of a host is longer (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// So many protocols are told.
const MAX_PROTOCOLS: usize = 16;

/// What a ClientHello says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// The highest version that is offered.
    pub(super) version: Option<u16>,
    pub(super) session_id: Vec<u8>,
    pub(super) server_name: Option<String>,
    pub(super) alpn: Vec<String>,
    /// It does not wait for the handshake (RFC 8446 section 4.2.10).
    pub(super) has_early_data: bool,
}

/// What a ServerHello says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    /// It asks for another ClientHello.
    pub(super) is_retry: bool,
    pub(super) version: u16,
    pub(super) session_id: Vec<u8>,
    pub(super) cipher: Option<u16>,
    pub(super) alpn: Option<String>,
    /// A key that was shared before is used again.
    pub(super) has_psk: bool,
    /// The end was not cut off.
    pub(super) is_whole: bool,
}

impl ClientHello {
    /// Reads a body, as far as it is there; nothing if its beginning makes no
    /// sense.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut rest = Rest(body);
        let version = rest.u16()?;
        rest.take(32)?; // random
        let mut hello = Self {
            version: Some(version),
            ..Self::default()
        };
        rest.client(&mut hello);
        Some(hello)
    }

    fn extension(&mut self, extension: TlsExtension<'_>) {
        match extension {
            TlsExtension::SNI(names) => {
                let host = |(kind, name): &(SNIType, &[u8])| {
                    let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
                    (*kind == SNIType::HostName).then(|| text(name).into_owned())
                };
                self.server_name = names.iter().find_map(host);
            }
            TlsExtension::ALPN(names) => {
                let is_grease =
                    |name: &&[u8]| matches!(**name, [a, b] if a == b && a & 0x0f == 0x0a);
                let names = names
                    .iter()
                    .filter(|name| !is_grease(name))
                    .take(MAX_PROTOCOLS);
                self.alpn = names.map(|name| text(name).into_owned()).collect();
            }
            TlsExtension::SupportedVersions(versions) => {
                // Beside the versions there are drafts, and GREASE (RFC 8701).
                let versions = versions.iter().map(|version| version.0);
                let known = versions.filter(|version| version >> 8 == 3);
                self.version = known.max().or(self.version);
            }
            TlsExtension::EarlyData(_) => self.has_early_data = true,
            _ => {}
        }
    }
}

impl ServerHello {
    /// As [`ClientHello::read`].
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut rest = Rest(body);
        let version = rest.u16()?;
        let random = rest.take(RETRY_RANDOM.len())?;
        let mut hello = Self {
            is_retry: random == RETRY_RANDOM,
            version,
            ..Self::default()
        };
        hello.is_whole = rest.server(&mut hello).is_some();
        Some(hello)
    }

    fn extension(&mut self, extension: TlsExtension<'_>) {
        match extension {
            TlsExtension::ALPN(names) => {
                self.alpn = names.first().map(|name| text(name).into_owned());
            }
            TlsExtension::PreSharedKey(_) => self.has_psk = true,
            TlsExtension::SupportedVersions(versions) => {
                self.version = versions.first().map_or(self.version, |version| version.0);
            }
            _ => {}
        }
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// Reads what follows the random. None if it is cut.
    fn client(mut self, hello: &mut ClientHello) -> Option<()> {
        let length = self.u8()?;
        hello.session_id = self.take(length.into())?.to_vec();
        let length = self.u16()?;
        self.take(length.into())?; // cipher suites
        let length = self.u8()?;
        self.take(length.into())?; // compression methods
        self.extensions(|extension| hello.extension(extension))
    }

    fn server(mut self, hello: &mut ServerHello) -> Option<()> {
        let length = self.u8()?;
        hello.session_id = self.take(length.into())?.to_vec();
        hello.cipher = Some(self.u16()?);
        self.take(1)?; // compression method
        self.extensions(|extension| hello.extension(extension))
    }

    /// Gives the extensions that are whole. None if there are others. (Before
    /// TLS 1.3 there need not be any.)
    fn extensions(mut self, mut give: impl FnMut(TlsExtension<'_>)) -> Option<()> {
        if self.0.is_empty() {
            return Some(());
        }
        let length = self.u16()?;
        let is_whole = self.0.len() >= usize::from(length);
        self.0 = self.0.get(..length.into()).unwrap_or(self.0);
        while let &[_, _, high, low, ..] = self.0 {
            let length = u16::from_be_bytes([high, low]);
            let extension = self.take(4 + usize::from(length))?;
            if let Ok((_, extension)) = parse_tls_extension(extension) {
                give(extension);
            }
        }
        is_whole.then_some(())
    }
}
