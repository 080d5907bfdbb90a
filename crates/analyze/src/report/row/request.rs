//! The row of a request.

use serde::{Serialize, Serializer};

use super::fields::{self, Fields, Row};
use super::times::times;
use super::{Names, http2, ids, missing, owners, seconds};
use crate::report::Request;

/// A [`Request`].
pub(crate) struct Http<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) request: &'a Request,
}

impl Row for Http<'_> {
    fn fields<F: Fields>(&self, to: &mut F) -> Result<(), F::Error> {
        let Self { names, request } = *self;
        let Request {
            app,
            ends,
            incomplete,
            timing,
        } = request;
        let (asked, answered) = (app.request.as_ref(), app.response.as_ref());
        to.field("kind", "http")?;
        to.field("ts", &app.first_ns().map(seconds))?;
        ids(to, *ends)?;
        owners(to, names, ends.orig_owner, ends.resp_owner)?;
        missing(to, *incomplete)?;
        to.field("index", &app.index)?;
        if let Some(stream) = app.stream {
            http2::stream(to, &stream, request.client_is_orig())?;
        }
        to.field("method", &asked.map(|message| &message.method))?;
        to.field("host", &asked.and_then(|message| message.host.as_deref()))?;
        to.field("uri", &asked.and_then(|message| message.target.as_deref()))?;
        to.field(
            "version",
            &asked.and_then(|message| message.version.as_deref()),
        )?;
        to.field(
            "user_agent",
            &asked.and_then(|message| message.user_agent.as_deref()),
        )?;
        to.field("status_code", &answered.and_then(|message| message.status))?;
        to.field("response_whole", &app.is_response_whole())?;
        let is_whole = !incomplete.lacks_packets();
        for (name, ns) in [
            (
                "req_ts_first",
                asked.map(|message| message.arrived.first_ns),
            ),
            ("req_ts_last", asked.map(|message| message.arrived.last_ns)),
            (
                "resp_ts_first",
                answered.map(|message| message.arrived.first_ns),
            ),
            (
                "resp_ts_last",
                answered.map(|message| message.arrived.last_ns),
            ),
            ("latency_ttfb", app.ttfb_ns().filter(|_| is_whole)),
            ("latency_total", app.total_ns().filter(|_| is_whole)),
        ] {
            to.field(name, &ns.map(seconds))?;
        }
        if let Some(timing) = timing {
            times(to, timing)?;
        }
        // Zeek's rule: of a message that was not seen there were 0 bytes.
        let body_bytes = asked.map_or(Some(0), |message| message.body_bytes);
        to.field("request_body_len", &body_bytes)?;
        let body_bytes = answered.map_or(Some(0), |message| message.body_bytes);
        to.field("response_body_len", &body_bytes)
    }
}

impl Serialize for Http<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields::serialize(self, to)
    }
}
