//! The row of a finding.

use serde::{Serialize, Serializer};

use super::fields::{self, Fields, Row};
use super::{Names, end_word, ids, owners, seconds};
use crate::finding::Finding;
use crate::report::Outcome;
use crate::report::findings::sentence;

/// A [`Finding`].
pub(crate) struct FindingRow<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) finding: &'a Finding,
}

impl Row for FindingRow<'_> {
    fn fields<F: Fields>(&self, to: &mut F) -> Result<(), F::Error> {
        let Self { names, finding } = *self;
        to.field("kind", "finding")?;
        to.field("finding", finding.kind.word())?;
        to.field("text", &sentence(names, finding))?;
        to.field("count", &finding.count)?;
        if let Some(by_orig) = finding.by_orig {
            to.field("end", end_word(by_orig))?;
        }
        if let Some(acting) = finding.acting {
            to.field("acting_pid", &acting.pid)?;
            to.field("acting_comm", &names.comm(acting))?;
        }
        if finding.is_foreign {
            to.field("foreign", &true)?;
        }
        if let Some([ttl, reset_ttl]) = finding.ttls {
            to.field("ttl", &ttl)?;
            to.field("reset_ttl", &reset_ttl)?;
        }
        to.field("ts", &seconds(finding.first_ns))?;
        to.field("last_ts", &seconds(finding.last_ns))?;
        to.field("duration", &seconds(finding.duration_ns()))?;
        if let Some(at_byte) = finding.at_byte {
            to.field("at_byte", &at_byte)?;
        }
        if let Some(packets) = finding.packets {
            to.field("packets", &packets)?;
        }
        if let Some(bytes) = finding.segment_bytes {
            to.field("segment_bytes", &bytes)?;
        }
        if let Some(ns) = finding.silence_ns {
            to.field("silence", &seconds(ns))?;
        }
        if let Some(error) = &finding.error {
            to.field("error", error)?;
        }
        if let Some(route) = &finding.route {
            to.field("route", route)?;
        }
        if let Some(answers) = finding.answers {
            to.field("answers", &answers)?;
        }
        match finding.outcome {
            Some(Outcome::Status(status)) => to.field("status_code", &status)?,
            Some(Outcome::GrpcFailed(status, failure)) => {
                to.field("status_code", &status)?;
                to.field("grpc_status", &failure)?;
            }
            _ => {}
        }
        if finding.of_several {
            to.field("of_several", &true)?;
        }
        if finding.of_many_ports {
            to.field("of_many_ports", &true)?;
        }
        if finding.of_many_clients {
            to.field("of_many_clients", &true)?;
        }
        if finding.of_many_servers {
            to.field("of_many_servers", &true)?;
        }
        let ends = finding.ends;
        ids(to, ends)?;
        owners(to, names, ends.orig_owner, ends.resp_owner)?;
        Ok(())
    }
}

impl Serialize for FindingRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields::serialize(self, to)
    }
}
