//! `tcprec record`: arguments and the exit code. What is said while it runs is
//! in [`super::teller`].

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, FromArgMatches as _, ValueEnum};
use tcprec_analyze::command::number::{count, pid};
use tcprec_analyze::command::{Failure, FilterArgs};
use tcprec_shared::record::Direction;

use super::outputs::Outputs;
use super::teller::Teller;
use super::values::{buffer, buffer_kib, duration, snap, uid};
use crate::interfaces;
use crate::kernel::{self, EventHooks, Hook, Snap, Transport, Wanted};
use crate::recorder::{self, RecordError, Recording};
use crate::rights::SETCAP;

// The groups that the options stand in.
const WHAT: &str = "What to record";
const PROCESSES: &str = "Processes to record";
const ENDS: &str = "When to stop";
const KERNEL: &str = "Kernel interface";

/// What stands at the end of the help.
const EXAMPLES: &str = "Examples:
  For days, the last 2 GB, also across restarts:
    tcprec record -i eth0 -C 100M -W 20 -o cap.jsonl.zst
  In the container of process 811:
    tcprec record --netns 811 -i eth0 -o cap.pcapng
  While a command runs:
    tcprec record -o cap.pcapng.zst -- curl example.org";

/// Record packets and kernel events with their processes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = needs())]
pub struct Record {
    /// Interface to record; may be repeated. `any` is all interfaces
    #[arg(
        help_heading = WHAT,
        short = 'i',
        long = "interface",
        value_name = "INTERFACE",
        default_value = "any",
        value_parser = NonEmptyStringValueParser::new()
    )]
    interfaces: Vec<String>,

    /// Record interfaces of another network namespace: a name of `ip netns`, the pid of a process
    /// inside (as in a container), or a path such as /proc/PID/ns/net. May be repeated. The
    /// namespace stays until the recording ends, even if it is deleted meanwhile. Without this
    /// option `-i any`, which sees the containers' packets too, records the events of all
    /// namespaces
    #[arg(help_heading = WHAT, long = "netns", value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    namespaces: Vec<String>,

    #[command(flatten)]
    outputs: Outputs,

    /// Keep this many bytes of each packet, counted from its link header; 0 keeps all. `adaptive`
    /// keeps the first bytes of each message (HTTP and TLS heads), and only the headers of the bulk
    /// data that follows
    #[arg(help_heading = WHAT, short = 's', long = "snapshot-length", value_name = "BYTES", default_value = "adaptive", value_parser = snap, allow_negative_numbers = true)]
    snap: Snap,

    /// Stop after this many packets
    #[arg(help_heading = ENDS, short = 'c', long = "count", value_name = "PACKETS", value_parser = count::<NonZeroU64>, allow_negative_numbers = true)]
    count: Option<NonZeroU64>,

    /// Stop after this time, such as 10s, 5m or 1h30m
    #[arg(help_heading = ENDS, long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    duration: Option<Duration>,

    #[command(flatten, next_help_heading = WHAT)]
    filter: FilterArgs,

    /// Record packets of this direction only. On loopback each packet goes both ways, and is kept
    #[arg(
        help_heading = WHAT,
        short = 'Q',
        long,
        value_enum,
        value_name = "WAY",
        default_value_t = Way::Inout
    )]
    direction: Way,

    /// Only sockets of this process; may be repeated. If several of --pid, --comm, --uid and
    /// --cgroup are given, a process must match each of them. Connections to an address where it
    /// listens are recorded until another process accepts them
    #[arg(help_heading = PROCESSES, long = "pid", value_name = "PID", value_parser = pid, allow_negative_numbers = true)]
    pids: Vec<u32>,

    /// Only sockets of processes with this name (as shown by ps -o comm)
    #[arg(help_heading = PROCESSES, long = "comm", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    comms: Vec<String>,

    /// Only sockets of processes that run as this user (effective uid), by number or name
    #[arg(help_heading = PROCESSES, long = "uid", value_name = "USER", value_parser = uid, allow_negative_numbers = true)]
    uids: Vec<u32>,

    /// Only sockets of processes in this control group, but not in those below it
    #[arg(help_heading = PROCESSES, long = "cgroup", value_name = "PATH")]
    cgroups: Vec<PathBuf>,

    /// Also the processes that the selected ones start
    #[arg(help_heading = PROCESSES, long)]
    follow_forks: bool,

    /// Size of the kernel's buffer for packets that wait for the recorder, in the units of -C. With
    /// --transport cpu and perf the CPUs share it; with cpu each gets at least 1 MiB. A larger
    /// buffer absorbs longer bursts and slower disks; packets that do not fit are counted as lost
    #[arg(help_heading = KERNEL, long, value_name = "SIZE", default_value = "16M", value_parser = buffer, allow_negative_numbers = true)]
    buffer: u32,

    /// The same in KiB, as in tcpdump
    #[arg(hide = true, short = 'B', value_name = "KIB", value_parser = buffer_kib, conflicts_with = "buffer", allow_negative_numbers = true)]
    buffer_kib: Option<u32>,

    /// Hook for packets
    #[arg(help_heading = KERNEL, long, value_enum, default_value_t = Hook::Auto)]
    hook: Hook,

    /// Hooks for kernel events
    #[arg(help_heading = KERNEL, long, value_enum, default_value_t = EventHooks::Auto)]
    events: EventHooks,

    /// How records are passed from the kernel
    #[arg(help_heading = KERNEL, long, value_enum, default_value_t = Transport::Auto)]
    transport: Transport,

    /// List the interfaces and exit
    #[arg(help_heading = None, short = 'D', long = "list-interfaces")]
    list: bool,

    /// Show what libbpf does
    #[arg(help_heading = KERNEL, long)]
    libbpf_log: bool,

    /// Accepted for compatibility with tcpdump: addresses and ports are always numeric
    #[arg(short = 'n', hide = true, action = ArgAction::Count)]
    _numbers: u8,

    /// Likewise: no interface is ever put into promiscuous mode
    #[arg(short = 'p', hide = true)]
    _not_promiscuous: bool,

    /// tcpdump's option to read files: answered with the commands that do that here
    #[arg(short = 'r', hide = true, value_name = "FILE")]
    read: Option<PathBuf>,

    /// Record while this command runs, and exit with its exit code. If standard output is for
    /// programs (-o -, --analyze=jsonl), the command's output goes to standard error
    #[arg(help_heading = ENDS, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The same, with what there is more to know.
fn needs() -> String {
    format!(
        "Recording needs root, or a program with file capabilities:\n  {SETCAP}\n\
         The last two are for the executables of other users' processes and for tracefs; --netns \
         also needs cap_sys_admin. Once it records, tcprec drops the privileges it no longer \
         needs. `tcprec doctor` says what this kernel and your privileges allow.\n\n{EXAMPLES}"
    )
}

/// tcpdump's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    In,
    Out,
    Inout,
}

impl Record {
    /// Records until something ends it. The exit code is the command's, if
    /// there is one.
    ///
    /// # Errors
    /// What keeps it from recording, with the remedy.
    pub fn run(self) -> Result<u8, Failure> {
        if self.read.is_some() {
            return Err(Failure::Usage(
                "to read files use `tcprec analyze` or `tcprec print`".to_owned(),
            ));
        }
        if self.list {
            return list(&self.namespaces).map(|()| 0);
        }
        self.outputs.check()?;
        if self.follow_forks && self.wanted().is_all() {
            return Err(Failure::Usage(
                "--follow-forks needs --pid, --comm, --uid or --cgroup".to_owned(),
            ));
        }
        let rotation = self.outputs.rotation()?;
        kernel::set_verbose(self.libbpf_log);
        let recording = self.recording()?;
        let outputs = self.outputs;
        let shares_terminal =
            !recording.command.is_empty() || outputs.writes_lines() && io::stdout().is_terminal();
        let mut teller = Teller::new(outputs.files(), shares_terminal);
        for path in outputs.fifos() {
            let path = path.display();
            teller.say(&format!(
                "{path} is a FIFO: recording begins when a reader opens it"
            ));
        }
        let open = |ts_ns| outputs.open(rotation.as_ref(), ts_ns);
        match recorder::record(&recording, open, &mut teller) {
            Ok(summary) => {
                teller.ended(&summary);
                if summary.failures.is_empty() {
                    return Ok(summary.status.map_or(0, exit_code));
                }
                let failures = summary.failures.iter().map(ToString::to_string);
                Err(Failure::Failed(failures.collect::<Vec<_>>().join("; ")))
            }
            // As a shell: 127 not found, 126 found but not run.
            Err(ref error @ RecordError::Command { ref source, .. }) => {
                teller.say(&error.to_string());
                Ok(if source.kind() == io::ErrorKind::NotFound {
                    127
                } else {
                    126
                })
            }
            Err(error @ (RecordError::Usage(_) | RecordError::Rights(_))) => {
                Err(Failure::Usage(error.to_string()))
            }
            Err(error) => Err(Failure::Failed(error.to_string())),
        }
    }
}

impl Record {
    /// What is recorded without any option.
    ///
    /// # Errors
    /// None that depends on more than this program.
    pub(crate) fn without_options() -> Result<Recording, Failure> {
        let command = Self::augment_args(clap::Command::new("record"));
        let matches = command.try_get_matches_from(["record"]);
        let defaults = matches.and_then(|matches| Self::from_arg_matches(&matches));
        defaults
            .map_err(|error| Failure::Usage(error.to_string()))?
            .recording()
    }

    fn recording(&self) -> Result<Recording, Failure> {
        Ok(Recording {
            interfaces: self.interfaces.clone(),
            namespaces: self.namespaces.clone(),
            hook: self.hook,
            event_hooks: self.events,
            transport: self.transport,
            snap: self.snap,
            buffer_bytes: self.buffer_kib.unwrap_or(self.buffer),
            filter: self.filter.expression()?,
            direction: match self.direction {
                Way::In => Some(Direction::In),
                Way::Out => Some(Direction::Out),
                Way::Inout => None,
            },
            wanted: self.wanted(),
            packet_limit: self.count.map(NonZeroU64::get),
            is_series: self.outputs.is_series(),
            is_packet_buffered: self.outputs.is_packet_buffered(),
            takes_stdout: self.outputs.takes_stdout(),
            duration: self.duration,
            command: self.command.clone(),
        })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            pids: self.pids.clone(),
            comms: self.comms.clone(),
            uids: self.uids.clone(),
            cgroups: self.cgroups.clone(),
            follow_forks: self.follow_forks,
        }
    }
}

/// As a shell tells it: the code, or 128 and the signal.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn list(namespaces: &[String]) -> Result<(), Failure> {
    let mut text = String::new();
    let devices =
        interfaces::list(namespaces).map_err(|error| Failure::Usage(error.to_string()))?;
    for (device, name) in devices {
        let note = match device.layer {
            Ok(_) => "",
            Err(_) => " (cannot be recorded: unknown link header)",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}.{name}{note}", device.index);
    }
    let _ = writeln!(text, "any (all of these)");
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
