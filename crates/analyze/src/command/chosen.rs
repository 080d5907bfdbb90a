//! What a filter leaves of a capture where its records are given one by one: beside
//! packets the events of the same connections, and the processes that did these.
//!
//! Of other connections and processes it says nothing: a capture that is given away is
//! filtered for that.

use std::collections::HashSet;

use tcprec_shared::record::{Process, ProcessId, Record};

use super::{Captures, Failure, select};
use crate::annotate::Annotator;
use crate::select::Selection;

/// Of so many processes at most it is known that they were told; beyond, all are told anew.
const MAX_TOLD: usize = 1 << 16;

/// Chooses records.
pub(super) struct Chosen<'a> {
    selection: Selection,
    captures: &'a Captures,
    /// The processes that a chosen event named.
    told: HashSet<ProcessId>,
}

impl<'a> Chosen<'a> {
    /// Chooses records of these captures.
    pub(super) fn new(selection: Selection, captures: &'a Captures) -> Self {
        Self {
            selection: selection.choosing_events(),
            captures,
            told: HashSet::new(),
        }
    }

    /// The record, if it is chosen, and the process to be told before it: a process is told
    /// when the first event names it, for most are never named. The annotator has seen the
    /// record and what follows, so it knows the port of a socket that connects, and the
    /// process by the name that it has by then.
    ///
    /// # Errors
    /// The expression makes no sense for this capture.
    pub(super) fn choose(
        &mut self,
        record: Record<'static>,
        annotator: &Annotator,
    ) -> Result<Option<(Option<Process>, Record<'static>)>, Failure> {
        if self.selection.is_all() {
            return Ok(Some((None, record)));
        }
        let mut told = None;
        let is_chosen = match &record {
            Record::Process(process) => self.told.contains(&process.id),
            Record::Event(event) => {
                let is_chosen = self.selection.concerns(&annotator.with_port(event));
                if is_chosen && let Some(id) = event.process {
                    told = self.tell(id, annotator);
                }
                is_chosen
            }
            _ => true,
        };
        if !is_chosen {
            return Ok(None);
        }
        let chosen = select(&mut self.selection, self.captures, record)?;
        Ok(chosen.map(|record| (told, record)))
    }

    /// A process, if it was not told before and is known.
    fn tell(&mut self, id: ProcessId, annotator: &Annotator) -> Option<Process> {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        let is_new = self.told.insert(id);
        let process = annotator.process(id).filter(|_| is_new)?;
        // One that only acted has no record.
        (!process.comm.is_empty()).then(|| process.clone())
    }
}
