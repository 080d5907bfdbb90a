//! What the programs counted: seen and lost, per CPU.

use std::sync::atomic::{AtomicU32, Ordering};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapMut, Result};
use tcprec_shared::record::{Loss, LossCause, Lost};

use super::host::Clock;
use super::misses::Missed;
use super::raw;
use super::skeleton::events::types::{loss, loss_cause, seen};

/// The counter maps of one BPF object (`bpf/rings.bpf.h`).
pub(super) struct Counters {
    seen: MapHandle,
    losses: MapHandle,
    /// Which of the two sets of loss counters the programs write to.
    slot: &'static AtomicU32,
}

/// Which losses to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossSlot {
    /// Those that no program writes to any more. The others take their place.
    Settled,
    /// All: the programs see nothing more.
    All,
}

/// What one CPU lost for one cause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawLoss {
    cause: loss_cause,
    cpu: u32,
    loss: loss,
}

/// What the kernel side lost.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    pub(super) packets: Vec<RawLoss>,
    pub(super) events: Vec<RawLoss>,
    pub(super) misses: Vec<Missed>,
}

impl Losses {
    /// The losses as records.
    pub(crate) fn records(&self, clock: Clock) -> impl Iterator<Item = Loss> {
        let packets = self.packets.iter().map(|raw| (Lost::Packets, raw));
        let events = self.events.iter().map(|raw| (Lost::Events, raw));
        let counted = packets.chain(events).map(move |(lost, raw)| Loss {
            cause: match raw.cause {
                loss_cause::LOSS_SNAP => LossCause::Snap,
                _ => LossCause::RingFull,
            },
            lost: if raw.cause == loss_cause::LOSS_EXEC {
                Lost::Processes
            } else {
                lost
            },
            cpu: Some(raw.cpu),
            count: raw.loss.count,
            bytes: raw.loss.bytes,
            first_ns: clock.unix_ns(raw.loss.first_boot_ns),
            last_ns: clock.unix_ns(raw.loss.last_boot_ns),
        });
        counted.chain(self.misses.iter().map(move |missed| missed.record(clock)))
    }
}

impl Counters {
    pub(super) fn new(
        seen: &MapMut<'_>,
        losses: &MapMut<'_>,
        slot: &'static AtomicU32,
    ) -> Result<Self> {
        Ok(Self {
            seen: MapHandle::try_from(seen)?,
            losses: MapHandle::try_from(losses)?,
            slot,
        })
    }

    /// How many records the programs were to hand over, on all CPUs.
    pub(super) fn seen(&self) -> Result<u64> {
        let values = self
            .seen
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?
            .unwrap_or_default();
        let values = values.iter().filter_map(|value| raw::split::<seen>(value));
        Ok(values.map(|(seen, _)| seen.count).sum())
    }

    pub(super) fn losses(&mut self, slot: LossSlot) -> Result<Vec<RawLoss>> {
        let current = self.slot.load(Ordering::Relaxed) & 1;
        let mut found = self.read(current ^ 1)?;
        match slot {
            LossSlot::Settled => self.slot.store(current ^ 1, Ordering::Relaxed),
            LossSlot::All => found.extend(self.read(current)?),
        }
        Ok(found)
    }

    /// Reads one set of counters and clears it.
    fn read(&self, slot: u32) -> Result<Vec<RawLoss>> {
        let mut found = Vec::new();
        for cause in 0..loss_cause::LOSS_CAUSES.0 {
            let key = (slot * loss_cause::LOSS_CAUSES.0 + cause).to_ne_bytes();
            let mut values = self
                .losses
                .lookup_percpu(&key, MapFlags::ANY)?
                .unwrap_or_default();
            let cpus = (0..).zip(&values).filter_map(|(cpu, value)| {
                let (loss, _) = raw::split::<loss>(value)?;
                let cause = loss_cause(cause);
                (loss.count > 0).then_some(RawLoss { cause, cpu, loss })
            });
            let before = found.len();
            found.extend(cpus);
            if found.len() == before {
                continue;
            }
            for value in &mut values {
                value.fill(0);
            }
            self.losses.update_percpu(&key, &values, MapFlags::ANY)?;
        }
        Ok(found)
    }
}
