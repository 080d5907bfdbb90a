//! The reading side of a recording: the thread that looks into the rings until
//! something ends it. It never waits for the writing side, but for empty
//! batches and at the end.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tcprec_shared::record::End;

use crate::interfaces::Interfaces;
use crate::kernel::{Batch, Changes, Clock, Device, Kernel, LossSlot, Losses, Recorded};
use crate::recorder::{RecordError, Watcher};
use crate::signals::{Stop, terminate};
use crate::writer::{Closed, Progress};

/// How long records may wait in a ring while there are few of them.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// How often losses are counted, files flushed and figures shown.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait at least before interfaces are looked at again, however much happens.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long to go on after the command ended: its connections close meanwhile.
const LINGER: Duration = Duration::from_millis(200);
/// How long the outputs may take nothing at the end before they are given up.
const STALL: Duration = Duration::from_secs(5);

/// What the reader sends to the writer.
pub(crate) enum Message {
    Batch(Batch),
    Losses(Losses),
    /// An interface that came.
    Interface(Device),
    /// One where a program of others was attached in front.
    Behind(Device),
    /// A second went by.
    Tick {
        ts_ns: i64,
    },
    Finish {
        reason: &'static str,
        ts_ns: i64,
    },
}

/// The reading side: the thread that looks into the rings.
pub(crate) struct Reader {
    pub(crate) kernel: Kernel,
    pub(crate) recorded: Recorded,
    pub(crate) interfaces: Interfaces,
    /// Whether the last look at the interfaces failed, which was told.
    pub(crate) look_failed: bool,
    pub(crate) clock: Clock,
    pub(crate) to_writer: Sender<Message>,
    pub(crate) empties: Receiver<Batch>,
    pub(crate) progress: Arc<Progress>,
    /// How many seconds the writer was told of.
    pub(crate) ticks: u64,
    pub(crate) stop: Stop,
    pub(crate) child: Option<Child>,
    pub(crate) started: Instant,
    /// Where programs of others were attached in front.
    pub(crate) behind: BTreeSet<String>,
}

/// How a recording ended.
pub(crate) struct Ended {
    pub(crate) reason: &'static str,
    /// What the programs saw: packets, events.
    pub(crate) seen: (u64, u64),
    pub(crate) behind: BTreeSet<String>,
    pub(crate) closed: Closed,
    pub(crate) kernel: Kernel,
}

impl Reader {
    /// Reads until something ends the recording; says what.
    pub(crate) fn run(
        &mut self,
        duration: Option<Duration>,
        watcher: &mut dyn Watcher,
    ) -> Result<&'static str, RecordError> {
        let mut next_tick = self.started + TICK;
        let mut next_look = self.started;
        let mut has_news = false;
        let mut has_ended = false;
        let mut deadline = duration.map(|duration| (self.started + duration, "duration reached"));
        loop {
            let now = Instant::now();
            if let Some(reason) = self.progress.done.get() {
                return Ok(reason);
            }
            if self.stop.take() {
                match &self.child {
                    Some(child) if !has_ended => terminate(child),
                    _ => return Ok("interrupted"),
                }
                deadline = Some((now + LINGER, "interrupted"));
            }
            if !has_ended
                && let Some(child) = &mut self.child
                && child.try_wait()?.is_some()
            {
                has_ended = true;
                let end = (now + LINGER, "the command ended");
                deadline = Some(deadline.map_or(end, |before| before.min(end)));
            }
            if let Some((at, reason)) = deadline
                && now >= at
            {
                return Ok(reason);
            }
            has_news |= self.interfaces.take_news();
            // Others may take a hook away, of which there is no news.
            if now >= next_tick || has_news && now >= next_look {
                has_news = false;
                next_look = now + LOOK_INTERVAL;
                self.look_at_interfaces(watcher);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.look_at_hooks(watcher);
                self.tick()?;
                for found in self.progress.take_news() {
                    watcher.note(&found);
                }
                watcher.tick(now - self.started, &self.progress);
            }
            let until = deadline.map_or(FLUSH_INTERVAL, |(at, _)| at - now);
            self.read(until.min(FLUSH_INTERVAL))?;
        }
    }

    /// Losses wait in the kernel while the writer is behind.
    fn tick(&mut self) -> Result<(), RecordError> {
        if self.progress.ticks.load(Ordering::Relaxed) != self.ticks {
            return Ok(());
        }
        self.ticks += 1;
        let losses = self.kernel.losses(LossSlot::Settled)?;
        self.send(Message::Losses(losses));
        self.send(Message::Tick {
            ts_ns: self.clock.unix_ns(Clock::boot_ns()?),
        });
        Ok(())
    }

    /// Records interfaces that came, and tells of those that are gone. Where that
    /// cannot be known now, as without a free descriptor, the next look will tell.
    fn look_at_interfaces(&mut self, watcher: &mut dyn Watcher) {
        let looked = self.interfaces.look(|device| self.kernel.has_lost(device));
        let had_failed = mem::replace(&mut self.look_failed, looked.is_err());
        let Changes {
            gone,
            come,
            renamed,
        } = match looked {
            Ok(changes) => changes,
            Err(error) => {
                if !had_failed {
                    watcher.note(&format!(
                        "cannot watch for interface changes: {error}; recording continues"
                    ));
                }
                return;
            }
        };
        for (was, device) in renamed {
            let [was, is] = [&was, &device].map(|device| self.interfaces.called(device));
            watcher.note(&format!("interface {was} was renamed to {is}"));
            self.send(Message::Interface(device));
        }
        for device in gone {
            self.kernel.release(&device);
            watcher.note(&format!(
                "interface {} is gone; recording continues when it returns",
                self.interfaces.called(&device)
            ));
        }
        for device in come {
            let name = self.interfaces.called(&device);
            let why_not = if self.recorded.takes(&device) {
                match self.kernel.attach(&device) {
                    Ok(true) => {
                        watcher.note(&format!("recording on {name} too, which has appeared"));
                        self.send(Message::Interface(device));
                        continue;
                    }
                    Ok(false) => format!("interface {name} appeared, and is gone again"),
                    Err(error) => error.to_string(),
                }
            } else {
                format!(
                    "interface {name} appeared, but cannot be recorded together with the others: \
                     its link header differs"
                )
            };
            if self.interfaces.leave_out(device) {
                watcher.note(&why_not);
            }
        }
    }

    /// Tells where another program stands before this one's. To attach in front again would
    /// miss packets between, and two recorders would never come to an end.
    fn look_at_hooks(&mut self, watcher: &mut dyn Watcher) {
        for device in self.interfaces.present() {
            // One that was deleted is found out by the look at the interfaces.
            if self.kernel.has_fallen_behind(device).unwrap_or(false) {
                let name = self.interfaces.called(device);
                watcher.note(&format!(
                    "another program was attached in front of tcprec's at {name}: packets that \
                     it passes (TCX_PASS) or drops are neither seen nor counted as lost; restart \
                     the recording to be in front again"
                ));
                self.behind.insert(name);
                self.send(Message::Behind(device.clone()));
            }
        }
    }

    /// One look into the rings.
    fn read(&mut self, timeout: Duration) -> Result<(), RecordError> {
        // All batches are with the writer: the rings hold what comes meanwhile, but for events.
        let mut batch = match self.empties.recv_timeout(timeout) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => return Ok(self.kernel.keep_events()?),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the writing thread died").into());
            }
        };
        let news = self.interfaces.news();
        self.kernel.collect(timeout, news, &mut batch)?;
        self.send(Message::Batch(batch));
        Ok(())
    }

    /// Stops, takes what is left and closes the books. After a failure as far as
    /// that goes.
    pub(crate) fn finish(
        mut self,
        read: Result<&'static str, RecordError>,
        closed: &Receiver<Closed>,
    ) -> Result<Ended, RecordError> {
        self.kernel.stop();
        let drained = loop {
            let mut batch = self.wait_for(&self.empties)?;
            match self.kernel.drain(&mut batch) {
                Ok(()) if batch.is_empty() => break Ok(()),
                Ok(()) => self.send(Message::Batch(batch)),
                Err(error) => break Err(error),
            }
        };
        let losses = self.kernel.losses(LossSlot::All);
        let losses = losses.map(|losses| self.send(Message::Losses(losses)));
        let read = read.and_then(|reason| {
            drained?;
            losses?;
            Ok(reason)
        });
        self.send(Message::Finish {
            reason: read.as_ref().map_or(End::FAILED, |reason| *reason),
            ts_ns: self.clock.unix_ns(Clock::boot_ns()?),
        });
        // The writer ends when nobody can send to it any more.
        self.to_writer = channel().0;
        let closed = self.wait_for(closed)?;
        Ok(Ended {
            reason: read?,
            seen: self.kernel.seen()?,
            behind: self.behind,
            closed,
            kernel: self.kernel,
        })
    }

    /// What the writer gives, as long as it gets on.
    fn wait_for<T>(&self, from: &Receiver<T>) -> Result<T, RecordError> {
        let mut steps = self.progress.steps();
        loop {
            match from.recv_timeout(STALL) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the writing thread died").into());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.progress.steps();
                    if now == steps {
                        return Err(RecordError::Stalled);
                    }
                    steps = now;
                }
            }
        }
    }

    fn send(&self, message: Message) {
        // A writer that is gone shows when it is joined.
        let _ = self.to_writer.send(message);
    }
}
