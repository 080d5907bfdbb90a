//! What stands in the lines of packets and of events alike.

use base64_simd::{Out, STANDARD};

use crate::flow::Endpoint;

use super::super::text::Text;

/// Writes an endpoint's object, which begins after `name`.
#[inline(always)]
pub(super) fn endpoint(line: &mut Text<'_>, name: &str, endpoint: &Endpoint) {
    line.text(name);
    line.text("{\"addr\":\"");
    line.addr(endpoint.addr);
    line.number("\",\"port\":", endpoint.port);
    line.text("}");
}

/// Writes bytes, without quotation marks.
#[inline(always)]
pub(super) fn base64(line: &mut Text<'_>, data: &[u8]) {
    let bytes = STANDARD.encoded_length(data.len());
    let _ = STANDARD.encode(data, Out::from_slice(line.room(bytes)));
}
