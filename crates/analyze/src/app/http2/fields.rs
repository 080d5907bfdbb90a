//! What a header block says that is of interest (RFC 9113 section 8).

use std::sync::Arc;

use super::hpack::Table;
use crate::app::is_event_stream;
use crate::app::text::text;

/// No number that a field tells has more digits.
const MAX_DIGITS: usize = 20;

/// The fields of a message, or of its trailers; none where one is not there or
/// not known. Of a repeated one the first counts: another makes a message malformed
/// (RFC 9113 section 8.3), and a byte of the block can repeat a long one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) method: Option<String>,
    pub(super) path: Option<Arc<str>>,
    pub(super) authority: Option<Arc<str>>,
    pub(super) user_agent: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) content_length: Option<u64>,
    pub(super) grpc_status: Option<u32>,
    pub(super) is_event_stream: Option<bool>,
}

impl Fields {
    /// Reads a block; `is_whole` says that its end was captured.
    pub(super) fn read(table: &mut Table, block: &[u8], is_whole: bool) -> Self {
        let mut fields = Self::default();
        let mut host = None;
        table.read(block, is_whole, |name, value| {
            let (Some(name), Some(value)) = (name, value) else {
                return;
            };
            match name {
                b":method" => first(&mut fields.method, || Some(text(value).into())),
                b":path" => first(&mut fields.path, || Some(text(value).into())),
                b":authority" => first(&mut fields.authority, || Some(text(value).into())),
                b"host" => first(&mut host, || Some(text(value).into())),
                b"user-agent" => first(&mut fields.user_agent, || Some(text(value).into())),
                b":status" => first(&mut fields.status, || number(value)),
                b"content-length" => first(&mut fields.content_length, || number(value)),
                b"grpc-status" => first(&mut fields.grpc_status, || number(value)),
                b"content-type" => {
                    let is_stream = || Some(is_event_stream(value));
                    first(&mut fields.is_event_stream, is_stream);
                }
                _ => {}
            }
        });
        fields.authority = fields.authority.or(host);
        fields
    }
}

fn first<T>(field: &mut Option<T>, value: impl FnOnce() -> Option<T>) {
    if field.is_none() {
        *field = value();
    }
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    if value.len() > MAX_DIGITS {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}
