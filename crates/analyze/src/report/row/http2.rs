//! What the row of a request has beside others if it is a stream of HTTP/2.

use serde::Serialize;
use serde::ser::SerializeMap;

use super::end_word;
use crate::app::Stream;

/// [`crate::app::StreamReset`].
#[derive(Debug, Serialize)]
struct ResetRow {
    end: &'static str,
    error: String,
}

pub(super) fn stream<M: SerializeMap>(
    to: &mut M,
    stream: &Stream,
    client_is_orig: bool,
) -> Result<(), M::Error> {
    to.serialize_entry("stream_id", &stream.id)?;
    if stream.is_pushed {
        to.serialize_entry("pushed", &true)?;
    }
    if let Some(status) = stream.grpc_status {
        to.serialize_entry("grpc_status", &status)?;
    }
    if stream.lacks_frames {
        to.serialize_entry("lacks_frames", &true)?;
    }
    if let Some(reset) = stream.reset {
        let row = ResetRow {
            end: end_word(reset.by_client == client_is_orig),
            error: reset.word(),
        };
        to.serialize_entry("stream_reset", &row)?;
    }
    Ok(())
}
