//! What the rows of connections and requests have beside others if it is HTTP/2.

use serde::Serialize;

use super::{Fields, end_word};
use crate::app::{Goaway, Stream};
use crate::tcp::Connection;

/// [`Goaway`].
#[derive(Debug, Serialize)]
pub(super) struct GoawayRow<'a> {
    end: &'static str,
    error: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    said: &'a str,
}

pub(super) fn goaway<'a>(goaway: &'a Goaway, connection: &Connection) -> GoawayRow<'a> {
    GoawayRow {
        end: end_word(goaway.end == connection.orig.endpoint),
        error: goaway.error.word(),
        said: &goaway.error.said,
    }
}

/// [`crate::app::StreamReset`].
#[derive(Debug, Serialize)]
struct ResetRow {
    end: &'static str,
    error: String,
}

pub(super) fn stream<F: Fields>(
    to: &mut F,
    stream: &Stream,
    client_is_orig: bool,
) -> Result<(), F::Error> {
    to.field("stream_id", &stream.id)?;
    if stream.is_pushed {
        to.field("pushed", &true)?;
    }
    if let Some(status) = stream.grpc_status {
        to.field("grpc_status", &status)?;
    }
    if stream.lacks_frames {
        to.field("lacks_frames", &true)?;
    }
    if let Some(reset) = stream.reset {
        let row = ResetRow {
            end: end_word(reset.by_client == client_is_orig),
            error: reset.word(),
        };
        to.field("stream_reset", &row)?;
    }
    Ok(())
}
