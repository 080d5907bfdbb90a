//! A recording from start to end: begin the kernel side and the two threads, of
//! which one reads ([`crate::reader`]) and the other writes ([`crate::writer`]),
//! and account.

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::{AccessFlags, access};
use tcprec_shared::record::{Capture, Direction, End, MissingHook, SCHEMA};
use thiserror::Error;

use crate::books::{Elsewhere, Totals};
use crate::capture_file::{WriteError, Written};
use crate::decoder::Decoder;
use crate::interfaces::Interfaces;
use crate::kernel::{
    self, Attached, Batch, Clock, EventHooks, Filter, Hook, Kernel, KernelError, Options, Recorded,
    Snap, Transport, Wanted,
};
use crate::output::Output;
use crate::reader::{Ended, Message, Reader};
use crate::rights::{self, RightsError};
use crate::signals::{Stop, terminate};
use crate::writer::{Closed, Progress, Writer};

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
    /// Stop after this many packets.
    pub(crate) packet_limit: Option<u64>,
    /// Stop after this time.
    pub(crate) duration: Option<Duration>,
    /// Whether files are created later.
    pub(crate) is_series: bool,
    /// Whether others can read at once what was taken from the kernel.
    pub(crate) is_packet_buffered: bool,
    /// Whether nothing else may stand on the standard output.
    pub(crate) takes_stdout: bool,
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
        "recording needs root, or {}: run it with sudo, or grant these capabilities with setcap \
         (see --help)",
        .0.join(" and ")
    )]
    Rights(Vec<String>),
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
        "an output is blocked, such as a pipe that nobody reads: what was not written is lost, \
         and the recording has no end record"
    )]
    Stalled,
    /// The command could not be started.
    #[error("{}", cannot_be_run(.command, .source))]
    Command { command: String, source: io::Error },
}

fn cannot_be_run(command: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("command not found: {command}"),
        _ => format!("cannot run {command}: {error}"),
    }
}

/// What came of a recording.
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    /// Where there are no packets.
    pub(crate) elsewhere: Elsewhere,
    /// The interfaces where programs of others stood in front.
    pub(crate) behind: BTreeSet<String>,
    /// What the captures came to.
    pub(crate) written: Vec<Written>,
    pub(crate) reason: &'static str,
    /// Records that are in no book: a defect.
    pub(crate) unaccounted: u64,
    /// How the command ended.
    pub(crate) status: Option<ExitStatus>,
    /// The outputs that failed.
    pub(crate) failures: Vec<WriteError>,
    /// To detach from many interfaces takes seconds, for which nobody has to wait who wants
    /// to know the rest.
    pub(crate) _kernel: Kernel,
}

impl Summary {
    fn of(ended: Ended, status: Option<ExitStatus>) -> Self {
        let Ended {
            reason,
            seen,
            behind,
            mut closed,
            kernel,
        } = ended;
        // `| head` has seen enough.
        let is_failure = |error: &WriteError| error.source.kind() != io::ErrorKind::BrokenPipe;
        closed.failures.retain(is_failure);
        Self {
            failures: closed.failures,
            totals: closed.totals,
            elsewhere: closed.elsewhere,
            behind,
            written: closed.written,
            reason,
            _kernel: kernel,
            unaccounted: closed.totals.unaccounted(seen.0, seen.1),
            status,
        }
    }
}

/// Who is told how it goes.
pub(crate) trait Watcher {
    /// All hooks are attached.
    fn started(&mut self, interfaces: &[String], hooks: &[String], missing: &[MissingHook]);
    /// Something happened that the user should know.
    fn note(&mut self, text: &str);
    /// A second went by.
    fn tick(&mut self, elapsed: Duration, progress: &Progress);
    /// It is over: outputs have their last word.
    fn over(&mut self);
}

/// The kernel side, at work.
pub(crate) struct Prepared {
    kernel: Kernel,
    pub(crate) attached: Attached,
    pub(crate) options: Options,
    interfaces: Interfaces,
    recorded: Recorded,
    clock: Clock,
    usual_descriptors: Option<(rlim_t, rlim_t)>,
}

/// Chooses what this kernel and these rights allow, and begins.
///
/// # Errors
/// What keeps it from recording.
pub(crate) fn prepare(recording: &Recording) -> Result<Prepared, RecordError> {
    let interfaces = Interfaces::choose(&recording.interfaces, &recording.namespaces)?;
    recording.wanted.check().map_err(RecordError::Usage)?;
    let recorded = Recorded::new(interfaces.present().to_vec());
    let lacking = kernel::lacking_rights(recording.transport)?;
    if !lacking.is_empty() {
        return Err(RecordError::Rights(lacking));
    }
    let usual_descriptors = allow_descriptors();
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
        usual_descriptors,
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
    let mut stop = Stop::install()?;
    if let Some(program) = recording.command.first() {
        find(program).map_err(|source| cannot_run(program, source))?;
    }
    let Prepared {
        kernel,
        mut attached,
        options,
        interfaces,
        recorded,
        clock,
        usual_descriptors,
    } = prepare(recording)?;
    attached.missing.extend(kernel::hidden_programs()?);
    attached.missing.extend_from_slice(interfaces.unknown());
    attached.missing.extend(not_filtered(recording, &recorded));
    // Not before all else is well: a file of that name may exist.
    let mut outputs = open(clock.unix_ns(Clock::boot_ns()?))?;
    let names = recorded.devices().iter();
    let names: Vec<_> = names.map(|device| interfaces.called(device)).collect();
    watcher.started(&names, &attached.hooks, &attached.missing);
    note_earlier(&mut outputs, watcher);

    let progress = Arc::new(Progress::default());
    let mut writer = Writer::new(
        outputs,
        Decoder::new(recorded.clone(), clock, attached.classic.take()),
        capture(recording, &options, clock, &attached),
        recording.packet_limit,
        recording.is_packet_buffered,
        Arc::clone(&progress),
    );
    // At once: a file without it is nothing.
    writer.begin();
    let child = match start_command_and_give_up_rights(recording, &options, usual_descriptors) {
        Ok(child) => child,
        Err(error) => {
            writer.finish(End::FAILED, clock.unix_ns(Clock::boot_ns()?));
            return Err(error);
        }
    };
    stop.be_patient();

    let (to_writer, empties, closed) = start_writing(writer, attached.scan);
    let mut reader = Reader {
        kernel,
        recorded,
        interfaces,
        look_failed: false,
        clock,
        to_writer,
        empties,
        progress,
        ticks: 0,
        stop,
        child,
        started: Instant::now(),
        behind: BTreeSet::new(),
    };
    let read = reader.run(recording.duration, watcher);
    watcher.over();
    let child = reader.child.take();
    let ended = reader.finish(read, &closed);
    // The files are whole; the command may go on for longer than they do.
    let status = child.map(|mut child| child.wait()).transpose()?;
    Ok(Summary::of(ended?, status))
}

/// Tells of the files that the outputs go on behind.
fn note_earlier(outputs: &mut [Output], watcher: &mut dyn Watcher) {
    let series = outputs.iter_mut().filter_map(Output::series);
    for before in series.filter_map(|series| series.before()) {
        watcher.note(&format!(
            "continuing behind {}, left by an earlier recording",
            before.display()
        ));
    }
}

/// The command keeps the user's rights, and is not to run on alone.
fn start_command_and_give_up_rights(
    recording: &Recording,
    options: &Options,
    usual_descriptors: Option<(rlim_t, rlim_t)>,
) -> Result<Option<Child>, RecordError> {
    let child = start_command(recording, usual_descriptors)?;
    let given_up = give_up_rights(recording, options);
    if let (Err(_), Some(child)) = (&given_up, &child) {
        terminate(child);
    }
    given_up.map(|()| child)
}

fn give_up_rights(recording: &Recording, options: &Options) -> Result<(), RecordError> {
    rights::give_up(recording.is_series)?;
    for namespace in &*options.namespaces {
        namespace.run(|| rights::give_up(false))??;
    }
    Ok(())
}

/// The filter for these interfaces.
fn filter(recording: &Recording, recorded: &Recorded) -> Result<Option<Filter>, RecordError> {
    let filter = recording.filter.as_deref();
    filter
        .map(|expression| Filter::new(expression, recorded.devices()))
        .transpose()
        .map_err(|error| match error.to_string() {
            // libpcap compiles as for a file, and says so.
            message if message.contains("inbound/outbound") => RecordError::Usage(
                "filter: inbound and outbound are not part of a packet; use -Q in or -Q out"
                    .to_owned(),
            ),
            message => RecordError::Usage(message),
        })
}

/// What a filter asks for that it cannot have. Events come all the same.
fn not_filtered(recording: &Recording, recorded: &Recorded) -> Vec<MissingHook> {
    let Some(filter) = recording.filter.as_deref() else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    // Whoever is used to tcpdump may ask for `udp port 53`.
    if kernel::passes_no_tcp(filter, recorded.devices()) {
        missing.push(MissingHook {
            hook: "packets".to_owned(),
            reason: "no TCP packet passes the filter, and others are not recorded".to_owned(),
        });
    }
    // skb_vlan_untag in __netif_receive_skb_core (net/core/dev.c), before all hooks.
    let mut words = filter.split(|c: char| !c.is_ascii_alphanumeric());
    if words.any(|word| word == "vlan") {
        missing.push(MissingHook {
            hook: "vlan in the filter".to_owned(),
            reason: "the kernel takes the outer tag out of a packet's bytes before; record the \
                     VLAN's own interface, or all, and filter the file (print, convert, analyze)"
                .to_owned(),
        });
    }
    missing
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
        direction: options.direction,
        message_bytes: options.snap.message_bytes(),
        clock_offset_ns: Some(clock.offset_ns),
        started_ns: Clock::boot_ns().ok().map(|boot_ns| clock.unix_ns(boot_ns)),
        command: recording.command.clone(),
        sequence: 0,
    }
}

/// Takes as many descriptors as there may be: a few hundred interfaces need more than the
/// 1,024 that are usual. Gives the limits that there were.
fn allow_descriptors() -> Option<(rlim_t, rlim_t)> {
    let (usual, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // Without them what cannot be attached to is told.
    setrlimit(Resource::RLIMIT_NOFILE, most, most).ok()?;
    Some((usual, most))
}

/// Whether there is a program that can be started, by its name or its path as
/// execvp(3) takes them.
fn find(program: &str) -> io::Result<()> {
    let check = |path: &Path| {
        access(path, AccessFlags::X_OK)?;
        if path.is_dir() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    };
    if program.contains('/') {
        return check(Path::new(program));
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&folders)
        .map(|folder| check(&folder.join(program)))
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
}

fn cannot_run(program: &str, source: io::Error) -> RecordError {
    RecordError::Command {
        command: program.to_owned(),
        source,
    }
}

/// The command inherits the limits that the recorder was started with.
fn start_command(
    recording: &Recording,
    usual_descriptors: Option<(rlim_t, rlim_t)>,
) -> Result<Option<Child>, RecordError> {
    let Some((program, arguments)) = recording.command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if recording.takes_stdout {
        command.stdout(io::stderr());
    }
    if let Some((usual, most)) = usual_descriptors {
        // What is open stays so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, usual, most);
    }
    let child = command.spawn();
    allow_descriptors();
    child
        .map(Some)
        .map_err(|source| cannot_run(program, source))
}

/// Starts the writing thread. Gives the ways to it and from it: what it has emptied, and
/// what it has to say at the end.
fn start_writing(
    writer: Writer,
    scan: Vec<u8>,
) -> (Sender<Message>, Receiver<Batch>, Receiver<Closed>) {
    let (to_writer, messages) = channel();
    let (to_reader, empties) = channel();
    let (to_end, closed) = channel();
    for _ in 0..BATCHES {
        // The receiver is still here.
        let _ = to_reader.send(Batch::default());
    }
    // Not scoped: one that blocks for good is left behind.
    thread::spawn(move || {
        let written = write(writer, &scan, &messages, &to_reader);
        // The reader may have given up.
        let _ = to_end.send(written);
    });
    (to_writer, empties, closed)
}

fn write(
    mut writer: Writer,
    scan: &[u8],
    messages: &Receiver<Message>,
    to_reader: &Sender<Batch>,
) -> Closed {
    let mut end = (End::FAILED, 0);
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
            Message::Behind(device) => writer.fall_behind(&device),
            Message::Tick { ts_ns } => writer.flush(ts_ns),
            Message::Finish { reason, ts_ns } => end = (reason, ts_ns),
        }
    }
    writer.finish(end.0, end.1)
}
