//! What stands in the lines of packets and of events alike.

use base64::Engine as _;

use crate::flow::Endpoint;

use super::super::text::Text;
use super::BASE64;

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
    // There is room for all of it.
    let _ = BASE64.encode_slice(data, line.room(data.len().div_ceil(3) * 4));
}
