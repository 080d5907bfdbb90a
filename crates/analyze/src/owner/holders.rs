//! The processes that have to do with a socket, and which of them owns it.

use tcprec_shared::record::{Event, EventKind, ProcessId, Provenance};

/// At most so many processes are known to have held a socket when the recording
/// began: a hostile file cannot fill the memory.
const MAX_HOLDERS: usize = 64;

/// Who did what to a socket.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Who asked for the connection, or took it.
    opener: Option<(ProcessId, Provenance)>,
    /// Who held it when the recording began, or listens.
    found: Vec<ProcessId>,
    /// Who was the last to begin to use it, where that was another one than
    /// before.
    user: Option<ProcessId>,
    /// Who was the first to do anything else to it.
    other: Option<ProcessId>,
}

impl Holders {
    pub(super) fn observe(&mut self, event: &Event) {
        let Some(process) = event.process else { return };
        match event.kind {
            EventKind::Connect => self.opened(process, Provenance::Connect),
            EventKind::Accept => self.opened(process, Provenance::Accept),
            EventKind::Scan | EventKind::Listen => {
                if !self.found.contains(&process) && self.found.len() < MAX_HOLDERS {
                    self.found.push(process);
                }
            }
            EventKind::Handover => self.user = Some(process),
            EventKind::State | EventKind::Close | EventKind::Retransmit | EventKind::Reset => {
                self.other.get_or_insert(process);
            }
        }
    }

    fn opened(&mut self, process: ProcessId, provenance: Provenance) {
        self.opener.get_or_insert((process, provenance));
    }

    /// The owner, and how that is known. Who uses a socket owns it, however it
    /// came by it; else who opened it, else who held it. Having closed it says
    /// least: whose it was until then is not known.
    pub(super) fn claim(&self) -> Option<(ProcessId, Provenance)> {
        let found = (self.found.iter().copied())
            // Of several holders the youngest got it from an older one (a
            // worker from its master) and is the one that serves it.
            .max_by_key(|process| (process.start_ns, process.pid))
            .map(|process| match self.found[..] {
                [_] => (process, Provenance::Scan),
                _ => (process, Provenance::Inherited),
            });
        let Some(user) = self.user else {
            let other = self.other.map(|process| (process, Provenance::Cookie));
            return self.opener.or(found).or(other);
        };
        let provenance = match (self.opener, found) {
            (Some((opener, provenance)), _) if opener == user => provenance,
            _ if self.found.contains(&user) => Provenance::Scan,
            (None, None) => Provenance::Cookie,
            _ => Provenance::Inherited,
        };
        Some((user, provenance))
    }
}
