//! Errors of HTTP/2 (RFC 9113 section 7).

use tcprec_shared::flow::Endpoint;

use crate::app::text::text;

/// Of what an end says about an error no more is kept.
const MAX_SAID_BYTES: usize = 100;

/// The word for a code, as `cancel`; the number of what has none.
pub(super) fn word(code: u32) -> String {
    const WORDS: [&str; 14] = [
        "no_error",
        "protocol_error",
        "internal_error",
        "flow_control_error",
        "settings_timeout",
        "stream_closed",
        "frame_size_error",
        "refused_stream",
        "cancel",
        "compression_error",
        "connect_error",
        "enhance_your_calm",
        "inadequate_security",
        "http_1_1_required",
    ];
    let word = usize::try_from(code).ok().and_then(|code| WORDS.get(code));
    word.map_or_else(|| code.to_string(), |word| (*word).to_owned())
}

/// The error by which an end gave a connection of HTTP/2 up (RFC 9113 section 6.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goaway {
    /// That end.
    pub end: Endpoint,
    /// What it said.
    pub error: GoawayError,
}

/// What a GOAWAY frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoawayError {
    /// The code.
    pub code: u32,
    /// What its sender adds to be read by people, the first 100 bytes; empty if nothing.
    pub said: String,
    /// When it came; none if that was not seen.
    pub at_ns: Option<i64>,
}

impl GoawayError {
    /// The error in the payload of a GOAWAY frame; none if it is none: a connection may be
    /// over because its server stops.
    pub(super) fn read(payload: &[u8], at_ns: Option<i64>) -> Option<Self> {
        let (_last_stream, rest) = payload.split_first_chunk::<4>()?;
        let (code, said) = rest.split_first_chunk()?;
        let code = u32::from_be_bytes(*code);
        let said = said.get(..MAX_SAID_BYTES).unwrap_or(said);
        (code != 0).then(|| Self {
            code,
            said: text(said).into_owned(),
            at_ns,
        })
    }

    /// The word for its code, as `enhance_your_calm`.
    #[must_use]
    pub fn word(&self) -> String {
        word(self.code)
    }
}
