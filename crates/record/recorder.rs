//! A recording from start to end: attach, look into the rings until something
//! ends it, detach, account.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tcprec_shared::record::{Capture, Direction, MissingHook, SCHEMA};
use thiserror::Error;

use crate::interfaces::Interfaces;
use crate::kernel::{
    self, Attached, Batch, Changes, Clock, Device, EventHooks, Filter, Hook, Kernel, KernelError,
    LossSlot, Losses, Options, Recorded, Snap, Transport, Wanted,
};
use crate::output::{Output, WriteError, Written};
use crate::rights::{self, RightsError};
use crate::signals::{Stop, terminate};
use crate::writer::{Closed, Progress, Totals, Writer};

/// How long records may wait in a ring while there are few of them.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// How often losses are counted, files flushed and figures shown.
const TICK: Duration = Duration::from_secs(1);
/// How long to go on after the command ended: its connections close meanwhile.
const LINGER: Duration = Duration::from_millis(200);
/// How long the outputs may take nothing at the end before they are given up.
const STALL: Duration = Duration::from_secs(5);
/// How many batches may be on their way to the writer. When all are, the
/// reader waits, the rings fill, and what they can't hold is counted as lost.
const BATCHES: usize = 4;

/// What to record.
pub(crate) struct Recording {
    /// The interfaces; empty: all.
    pub(crate) interfaces: Vec<String>,
    /// The network namespaces that they are in; empty: the recorder's own.
    pub(crate) namespaces: Vec<String>,
    pub(crate) hook: Hook,
    pub(crate) event_hooks: EventHooks,
    pub(crate) transport: Transport,
    pub(crate) snap: Snap,
    /// How many bytes of packets may wait in the kernel, at least.
    pub(crate) buffer_bytes: u32,
    /// The packets that are wanted, in tcpdump's syntax; all without it.
    pub(crate) filter: Option<String>,
    /// The way of the packets that are wanted; both without it.
    pub(crate) direction: Option<Direction>,
    /// Of which processes.
    pub(crate) wanted: Wanted,
    /// Stop after so many packets.
    pub(crate) packet_limit: Option<u64>,
    /// Stop after this time.
    pub(crate) duration: Option<Duration>,
    /// Whether files are created later.
    pub(crate) is_series: bool,
    /// Run this and stop when it ends.
    pub(crate) command: Vec<String>,
}

/// Why a recording did not begin, or failed.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    /// The user asked for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// The process lacks these capabilities.
    #[error(
        "recording needs root, or {}: run it with sudo, or give the program these capabilities \
         (setcap, see --help)",
        .0.join(" and ")
    )]
    Rights(Vec<&'static str>),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    GiveUp(#[from] RightsError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An output blocks.
    #[error(
        "an output takes nothing any more, as a pipe that nobody reads: what was not written is \
         lost, and the recording has no end"
    )]
    Stalled,
    /// The command could not be started.
    #[error("cannot run {command}: {source}")]
    Command { command: String, source: io::Error },
}

/// What came of a recording.
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    /// What the captures came to.
    pub(crate) written: Vec<Written>,
    pub(crate) reason: &'static str,
    /// Records that are in no book: a defect.
    pub(crate) unaccounted: u64,
    /// How the command ended.
    pub(crate) status: Option<ExitStatus>,
}

/// Who is told how it goes.
pub(crate) trait Watcher {
    /// All hooks are attached.
    fn started(&mut self, interfaces: &[Device], hooks: &[String], missing: &[MissingHook]);
    /// Something happened that the user should know.
    fn note(&mut self, text: &str);
    /// A second went by.
    fn tick(&mut self, elapsed: Duration, progress: &Progress);
}

/// The kernel side, at work.
pub(crate) struct Prepared {
    kernel: Kernel,
    pub(crate) attached: Attached,
    pub(crate) options: Options,
    interfaces: Interfaces,
    recorded: Recorded,
    clock: Clock,
}

/// Chooses what this kernel and these rights allow, and begins.
///
/// # Errors
/// What keeps it from recording.
pub(crate) fn prepare(recording: &Recording) -> Result<Prepared, RecordError> {
    let interfaces = Interfaces::choose(&recording.interfaces, &recording.namespaces)?;
    let recorded = Recorded::new(interfaces.present().to_vec());
    let lacking = kernel::lacking_rights(recording.transport)?;
    if !lacking.is_empty() {
        return Err(RecordError::Rights(lacking));
    }
    let clock = Clock::measure()?;
    let (transport, no_ring) = recording.transport.choose()?;
    let options = Options {
        hook: recording.hook,
        event_hooks: recording.event_hooks,
        transport,
        snap: transport.limit(recording.snap),
        filter: filter(recording, &recorded)?,
        direction: recording.direction,
        wanted: recording.wanted.clone(),
        buffer_bytes: recording.buffer_bytes,
        namespaces: interfaces.namespaces(),
        events_of: interfaces.events_of(),
    };
    let (kernel, mut attached) = Kernel::start(&options, &recorded, clock)?;
    attached.missing.extend(no_ring);
    Ok(Prepared {
        kernel,
        attached,
        options,
        interfaces,
        recorded,
        clock,
    })
}

/// Records until something ends it. `open` opens the outputs, when the kernel
/// side runs; it is told the time.
///
/// # Errors
/// When it cannot begin, or an output cannot be written: then what was written
/// before is readable.
pub(crate) fn record(
    recording: &Recording,
    open: impl FnOnce(i64) -> Result<Vec<Output>, RecordError>,
    watcher: &mut dyn Watcher,
) -> Result<Summary, RecordError> {
    let stop = Stop::install()?;
    let Prepared {
        kernel,
        mut attached,
        options,
        interfaces,
        recorded,
        clock,
    } = prepare(recording)?;
    // Not before all else is well: a file of that name may exist.
    let outputs = open(clock.unix_ns(Clock::boot_ns()?))?;
    watcher.started(recorded.devices(), &attached.hooks, &attached.missing);

    let progress = Arc::new(Progress::default());
    let mut writer = Writer::new(
        outputs,
        recorded.clone(),
        clock,
        capture(recording, &options, clock, &attached),
        attached.classic.take(),
        recording.packet_limit,
        Arc::clone(&progress),
    );
    // At once: a file without it is nothing.
    writer.begin();
    // The command keeps the user's rights.
    let child = start_command(&recording.command)?;
    rights::give_up(recording.is_series)?;
    for namespace in &*options.namespaces {
        namespace.run(|| rights::give_up(false))??;
    }

    let (to_writer, messages) = channel();
    let (to_reader, empties) = channel();
    let (to_end, closed) = channel();
    for _ in 0..BATCHES {
        // The receiver is still here.
        let _ = to_reader.send(Batch::default());
    }
    // Not scoped: one that blocks for good is left behind.
    thread::spawn(move || {
        let written = write(writer, &attached.scan, &messages, &to_reader);
        // The reader may have given up.
        let _ = to_end.send(written);
    });
    let mut reader = Reader {
        kernel,
        recorded,
        interfaces,
        clock,
        to_writer,
        empties,
        progress,
        ticks: 0,
        stop,
        child,
        started: Instant::now(),
    };
    let read = reader.run(recording.duration, watcher);
    let child = reader.child.take();
    let ended = reader.finish(read, &closed);
    // The files are whole; the command may go on for longer than they do.
    let status = child.map(|mut child| child.wait()).transpose()?;
    let Ended {
        reason,
        seen,
        closed,
    } = ended?;
    match closed.failure {
        Some(failure) if failure.source.kind() == io::ErrorKind::BrokenPipe => {}
        Some(failure) => return Err(failure.into()),
        None => {}
    }
    Ok(Summary {
        totals: closed.totals,
        written: closed.written,
        reason,
        unaccounted: closed.totals.unaccounted(seen.0, seen.1),
        status,
    })
}

/// The filter for these interfaces.
fn filter(recording: &Recording, recorded: &Recorded) -> Result<Option<Filter>, RecordError> {
    let filter = recording.filter.as_deref();
    filter
        .map(|expression| Filter::new(expression, recorded.devices()))
        .transpose()
        .map_err(|error| RecordError::Usage(error.to_string()))
}

fn capture(recording: &Recording, options: &Options, clock: Clock, attached: &Attached) -> Capture {
    let (host, kernel) = kernel::names();
    Capture {
        schema: Some(SCHEMA),
        program: concat!("tcprec ", env!("CARGO_PKG_VERSION")).to_owned(),
        host,
        kernel,
        boot_id: kernel::boot_id(),
        hooks: attached.hooks.clone(),
        missing_hooks: attached.missing.clone(),
        filter: recording.filter.clone(),
        processes: recording.wanted.words(),
        snap_bytes: Some(options.snap.packet_bytes()),
        message_bytes: options.snap.message_bytes(),
        clock_offset_ns: Some(clock.offset_ns),
        command: recording.command.clone(),
        sequence: 0,
    }
}

fn start_command(command: &[String]) -> Result<Option<Child>, RecordError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let child = Command::new(program).args(arguments).spawn();
    child.map(Some).map_err(|source| RecordError::Command {
        command: program.clone(),
        source,
    })
}

/// What the reader sends to the writer.
enum Message {
    Batch(Batch),
    Losses(Losses),
    /// An interface that came.
    Interface(Device),
    /// A second went by.
    Tick {
        ts_ns: i64,
    },
    Finish {
        reason: &'static str,
        ts_ns: i64,
    },
}

fn write(
    mut writer: Writer,
    scan: &[u8],
    messages: &Receiver<Message>,
    to_reader: &Sender<Batch>,
) -> Closed {
    let mut end = ("failed", 0);
    writer.scan(scan);
    for message in messages {
        match message {
            Message::Batch(batch) => {
                writer.batch(&batch);
                // The reader may have stopped.
                let _ = to_reader.send(batch);
            }
            Message::Losses(losses) => writer.losses(&losses),
            Message::Interface(device) => writer.interface(device),
            Message::Tick { ts_ns } => writer.flush(ts_ns),
            Message::Finish { reason, ts_ns } => end = (reason, ts_ns),
        }
    }
    writer.finish(end.0, end.1)
}

/// The reading side: the thread that looks into the rings.
struct Reader {
    kernel: Kernel,
    recorded: Recorded,
    interfaces: Interfaces,
    clock: Clock,
    to_writer: Sender<Message>,
    empties: Receiver<Batch>,
    progress: Arc<Progress>,
    /// How many seconds the writer was told of.
    ticks: u64,
    stop: Stop,
    child: Option<Child>,
    started: Instant,
}

/// How a recording ended.
struct Ended {
    reason: &'static str,
    /// What the programs saw: packets, events.
    seen: (u64, u64),
    closed: Closed,
}

impl Reader {
    /// Reads until something ends the recording; says what.
    fn run(
        &mut self,
        duration: Option<Duration>,
        watcher: &mut dyn Watcher,
    ) -> Result<&'static str, RecordError> {
        let mut next_tick = self.started + TICK;
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
                deadline.get_or_insert((now + LINGER, "the command ended"));
            }
            if let Some((at, reason)) = deadline
                && now >= at
            {
                return Ok(reason);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick()?;
                self.look_at_interfaces(watcher)?;
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

    /// Records interfaces that came, and tells of those that are gone.
    fn look_at_interfaces(&mut self, watcher: &mut dyn Watcher) -> Result<(), RecordError> {
        let Changes { gone, come } = self.interfaces.look()?;
        for device in gone {
            self.kernel.release(&device);
            watcher.note(&format!(
                "interface {} is gone; recording goes on when it returns",
                device.name
            ));
        }
        for device in come {
            let name = &device.name;
            if !self.recorded.takes(&device) {
                watcher.note(&format!(
                    "interface {name} came, but cannot be recorded beside the others: its \
                     packets begin with another header"
                ));
                continue;
            }
            match self.kernel.attach(&device) {
                Ok(()) => {
                    watcher.note(&format!("recording on {name} too, which came"));
                    self.send(Message::Interface(device));
                }
                Err(error) => watcher.note(&error.to_string()),
            }
        }
        Ok(())
    }

    /// One look into the rings.
    fn read(&mut self, timeout: Duration) -> Result<(), RecordError> {
        // All batches are with the writer: the rings hold what comes meanwhile.
        let mut batch = match self.empties.recv_timeout(timeout) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the writing thread died").into());
            }
        };
        self.kernel.collect(timeout, &mut batch)?;
        self.send(Message::Batch(batch));
        Ok(())
    }

    /// Detaches, takes what is left and closes the books.
    fn finish(
        mut self,
        read: Result<&'static str, RecordError>,
        closed: &Receiver<Closed>,
    ) -> Result<Ended, RecordError> {
        self.kernel.detach();
        let reason = read?;
        loop {
            let mut batch = self.wait_for(&self.empties)?;
            self.kernel.drain(&mut batch)?;
            if batch.is_empty() {
                break;
            }
            self.send(Message::Batch(batch));
        }
        let losses = self.kernel.losses(LossSlot::All)?;
        self.send(Message::Losses(losses));
        self.send(Message::Finish {
            reason,
            ts_ns: self.clock.unix_ns(Clock::boot_ns()?),
        });
        // The writer ends when nobody can send to it any more.
        self.to_writer = channel().0;
        Ok(Ended {
            reason,
            seen: self.kernel.seen()?,
            closed: self.wait_for(closed)?,
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
