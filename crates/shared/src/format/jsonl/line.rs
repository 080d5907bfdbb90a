//! A line of JSON that is being written, piece by piece: names come with what
//! is before them, as they always stand.

use std::io::Write;
use std::net::IpAddr;

use base64::Engine as _;
use serde::Serialize;

use crate::flow::Endpoint;

use super::BASE64;

/// A line that is being written.
pub(super) struct Line<'a>(pub(super) &'a mut Vec<u8>);

impl Line<'_> {
    pub(super) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.text(name);
        self.text(itoa::Buffer::new().format(number));
    }

    /// A word of the schema, with its quotation marks.
    pub(super) fn word(&mut self, name: &str, word: &impl Serialize) {
        self.text(name);
        // Neither a word nor writing to memory fails.
        let _ = serde_json::to_writer(&mut *self.0, word);
    }

    pub(super) fn endpoint(&mut self, name: &str, endpoint: &Endpoint) {
        match endpoint.addr {
            // Several times faster than `Display`.
            IpAddr::V4(addr) => {
                let [a, b, c, d] = addr.octets();
                self.number(name, a);
                for octet in [b, c, d] {
                    self.number(".", octet);
                }
            }
            IpAddr::V6(addr) => {
                self.text(name);
                // Writing to memory does not fail.
                let _ = write!(self.0, "{addr}");
            }
        }
        self.number("\",\"port\":", endpoint.port);
        self.text("}");
    }

    pub(super) fn base64(&mut self, data: &[u8]) {
        let start = self.0.len();
        self.0.resize(start + data.len().div_ceil(3) * 4, 0);
        // There is room for all of it.
        let _ = BASE64.encode_slice(data, &mut self.0[start..]);
    }
}
