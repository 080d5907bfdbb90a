//! A packet as a hook saw it, and what the kernel side made of its headers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::flow::Endpoint;
use crate::headers::{Fragment, Headers, Other, Segment};

/// The way of a packet, seen from the recorded host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Direction {
    /// Into the host.
    In,
    /// Out of the host. On loopback each packet passes both ways and is kept as `out`.
    Out,
}

impl Direction {
    /// The word for it in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// A packet as a hook saw it, cut to the snap length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet<'a> {
    /// When the hook saw it.
    pub ts_ns: i64,
    /// The [`Interface::id`](super::Interface::id) it passed.
    pub interface: u32,
    /// Its way, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<Direction>,
    /// Its length before it was cut, from the link header on.
    pub wire_bytes: u32,
    /// Cookie of the local socket that sent it, where the kernel knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cookie: Option<u64>,
    /// What the kernel side made of its headers; none in captures of other tools.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<KernelParse>,
    /// The bytes that were kept, from the link header on.
    #[serde(with = "base64_bytes")]
    pub data: Cow<'a, [u8]>,
}

impl<'a> Packet<'a> {
    /// A whole packet of which nothing is known but its time, interface and bytes.
    #[must_use]
    pub fn new(ts_ns: i64, interface: u32, data: impl Into<Cow<'a, [u8]>>) -> Self {
        let data = data.into();
        Self {
            ts_ns,
            interface,
            direction: None,
            wire_bytes: u32::try_from(data.len()).unwrap_or(u32::MAX),
            cookie: None,
            kernel: None,
            data,
        }
    }
}

/// What the kernel side made of a packet's headers, to filter and to cut by.
/// The userspace parser must come to the same from the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelParse {
    /// The sender; port 0 in a fragment that is not the first.
    pub src: Endpoint,
    /// The receiver; port 0 in a fragment that is not the first.
    pub dst: Endpoint,
    /// The TCP flags (RFC 9293 section 3.1, without the reserved bits); 0 in a
    /// fragment that is not the first.
    pub flags: u8,
    /// Where the TCP payload begins, from the start of the packet.
    pub header_bytes: u32,
    /// Length of the TCP payload on the wire; in a fragment, of this fragment's part.
    pub payload_bytes: u32,
}

impl KernelParse {
    /// What the kernel side must have made of a packet that has these headers;
    /// none where that is no TCP to it. The kernel goes into no tunnel.
    #[must_use]
    pub const fn expected(headers: &Headers<'_>) -> Option<Self> {
        let (&Headers::Segment(Segment {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
            tunnels: 0,
            ..
        })
        | &Headers::Fragment(Fragment {
            src,
            dst,
            flags,
            header_bytes,
            payload_bytes,
            tunnels: 0,
            ..
        })) = headers
        else {
            return None;
        };
        Some(Self {
            src,
            dst,
            flags: flags.0,
            header_bytes,
            payload_bytes,
        })
    }

    /// Whether the userspace parser came to the same.
    ///
    /// Where headers were cut off there is nothing to compare, and so nothing
    /// to disagree on.
    #[must_use]
    pub fn agrees(&self, headers: &Headers<'_>) -> bool {
        matches!(headers, Headers::Other(Other::Cut)) || Self::expected(headers) == Some(*self)
    }
}

/// Packet bytes as base64 text (RFC 4648 section 4, padded).
mod base64_bytes {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::display::Base64Display;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Base64Display::new(bytes, &STANDARD))
    }

    pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Cow<'a, [u8]>, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Cow::Owned)
            .map_err(D::Error::custom)
    }
}
