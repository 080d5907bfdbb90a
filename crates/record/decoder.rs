//! What the kernel side says, as records.

use tcprec_shared::record::{Loss, LossCause, Lost, Record};

use crate::kernel::{
    Classic, Clock, DecodeError, Decoded, Recorded, decode_event, decode_packet, decode_scan,
};
use crate::processes::Processes;

/// Makes records of what the kernel side says: a process before its first
/// event, a loss of what makes no sense.
pub(crate) struct Decoder {
    pub(crate) recorded: Recorded,
    pub(crate) clock: Clock,
    /// Who completes events, where the kernel tells no types.
    classic: Option<Classic>,
    pub(crate) processes: Processes,
    /// Events of other namespaces, where the kernel does not tell them apart.
    pub(crate) left_out_events: u64,
}

impl Decoder {
    pub(crate) fn new(recorded: Recorded, clock: Clock, classic: Option<Classic>) -> Self {
        Self {
            recorded,
            clock,
            classic,
            processes: Processes::new(clock),
            left_out_events: 0,
        }
    }

    /// The sockets that existed, as the iterator over them found them, or /proc. Gives
    /// how many.
    pub(crate) fn scan(&mut self, raw_scan: &[u8], records: &mut Vec<Record<'_>>) -> u64 {
        let from_proc = self.classic.as_mut().map(Classic::take_scan);
        let from_proc = from_proc.into_iter().flatten().map(Ok);
        let mut sockets = 0;
        for decoded in decode_scan(raw_scan, self.clock).chain(from_proc) {
            self.push(decoded, records);
            sockets += 1;
        }
        sockets
    }

    /// A packet of a network namespace's interfaces.
    pub(crate) fn packet<'a>(&self, netns: u32, raw: &'a [u8]) -> Record<'a> {
        match decode_packet(raw, netns, self.clock, &self.recorded) {
            Ok(packet) => Record::Packet(packet),
            Err(_) => self.lost(Lost::Packets),
        }
    }

    /// What the programs told of events, but for what is of another namespace.
    pub(crate) fn push_here(&mut self, raw: &[u8], records: &mut Vec<Record<'_>>) {
        let completed = match (&mut self.classic, decode_event(raw, self.clock)) {
            (Some(classic), Ok(told)) => {
                let is_event = matches!(told, Decoded::Event(..));
                let Some(completed) = classic.complete(told) else {
                    self.left_out_events += u64::from(is_event);
                    return;
                };
                Ok(completed)
            }
            (_, decoded) => decoded,
        };
        self.push(completed, records);
    }

    fn push(&mut self, decoded: Result<Decoded, DecodeError>, records: &mut Vec<Record<'_>>) {
        match decoded {
            Ok(Decoded::Event(event, task)) => {
                let process = task.and_then(|task| self.processes.meet(&task));
                records.extend(process.map(Record::Process));
                records.push(Record::Event(event));
            }
            Ok(Decoded::Exec(exec)) => {
                records.extend(self.processes.start(exec).map(Record::Process));
            }
            Err(_) => records.push(self.lost(Lost::Events)),
        }
    }

    /// The loss of what makes no sense.
    fn lost(&self, lost: Lost) -> Record<'static> {
        let now = Clock::boot_ns().map_or(0, |boot| self.clock.unix_ns(boot));
        Record::Loss(Loss {
            cause: LossCause::Decode,
            lost,
            cpu: None,
            count: 1,
            bytes: 0,
            first_ns: now,
            last_ns: now,
        })
    }
}
