//! `tcprec top`: what it counts, held against the wire and against what programs
//! say of themselves; and how it behaves on a terminal and in a pipe.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, read, write};
use serde_json::Value;

use crate::ends::{expect_gone, programs_of};
use crate::netns::Namespace;
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, TCPREC, tcprec};
use crate::records;
use crate::rights::field;
use crate::traffic::some_of_everything;
use crate::web::{Nginx, PORT};
use crate::world::World;

/// The program, once it counts: then it has given up its rights.
pub(crate) fn counting(world: &World, host: &Namespace, arguments: &[&str]) -> Process {
    let mut command = Command::new(TCPREC);
    command.arg("top").args(arguments);
    let mut top = world.start(host, command);
    wait_until("tcprec top counts", || {
        assert!(!top.has_ended(), "{}", top.errors());
        counts(top.pid())
    });
    top
}

fn counts(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "NoNewPrivs") == "1"
}

/// What is counted of each process.
const COUNTS: [&str; 7] = [
    "connects",
    "accepts",
    "sent_packets",
    "sent_bytes",
    "received_packets",
    "received_bytes",
    "retransmits",
];

/// What was counted for each process, over all intervals.
#[derive(Debug, Default)]
pub(crate) struct Counted(BTreeMap<u64, BTreeMap<&'static str, u64>>);

impl Counted {
    /// What the program says when it is stopped.
    pub(crate) fn by(top: Process) -> Self {
        let output = top.stop().expect_code(0).output;
        let mut counted = Self::default();
        for line in records::parse(&output) {
            let Some(pid) = line["pid"].as_u64() else {
                continue;
            };
            let process = counted.0.entry(pid).or_default();
            for name in COUNTS {
                let count = line[name].as_u64().expect("a count");
                *process.entry(name).or_default() += count;
            }
        }
        counted
    }

    pub(crate) fn of(&self, pid: u32, names: &[&str]) -> Vec<u64> {
        let process = self.0.get(&u64::from(pid));
        let count = |name: &&str| process.and_then(|process| process.get(*name)).copied();
        names.iter().map(|name| count(name).unwrap_or(0)).collect()
    }

    fn of_all(&self, pids: &[u32], name: &str) -> u64 {
        pids.iter().map(|pid| self.of(*pid, &[name])[0]).sum()
    }
}

/// What the packets of a capture hold whose `end` (`src` or `dst`) has a port:
/// packets as on the wire, and payload.
fn wire(records: &[Value], end: &str, port: u16) -> (u64, u64) {
    let mut sum = (0, 0);
    for packet in records::of_type(records, "packet") {
        let kernel = &packet["kernel"];
        if kernel[end]["port"] != port {
            continue;
        }
        let payload = kernel["payload_bytes"].as_u64().expect("a length");
        let is_ipv6 = kernel["src"]["addr"]
            .as_str()
            .is_some_and(|addr| addr.contains(':'));
        // An MTU of 1500 bytes without the headers and TCP's timestamps. The
        // kernel cuts larger segments only at the very end.
        let segment = if is_ipv6 { 1428 } else { 1448 };
        sum.0 += payload.div_ceil(segment).max(1);
        sum.1 += payload;
    }
    sum
}

/// Each connection, packet and byte of nginx and of each curl.
pub(crate) fn against_the_wire() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.server, &["-i", "eth0", "-o", output]);
    let top = counting(&world, &world.server, &["-d", "0.2"]);
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    let counted = Counted::by(top);
    let records = records::read(&capture);

    let mut accepted = BTreeMap::<u32, u64>::new();
    for connection in &traffic.connections {
        let (sent, received) = match connection.client {
            Some(client) => (
                wire(&records, "src", client.port()).1,
                wire(&records, "dst", client.port()).1,
            ),
            None => (0, 0),
        };
        assert_eq!(
            counted.of(
                connection.curl,
                &["connects", "accepts", "sent_bytes", "received_bytes"]
            ),
            [1, 0, sent, received],
            "{connection:?}"
        );
        if let Some(worker) = connection.worker {
            *accepted.entry(worker).or_default() += 1;
        }
    }
    for (worker, connections) in &accepted {
        assert_eq!(
            counted.of(*worker, &["connects", "accepts"]),
            [0, *connections]
        );
    }
    // The handshake is that of the process that listens.
    let mut all: Vec<_> = accepted.into_keys().collect();
    all.push(nginx.master());
    let (packets, bytes) = wire(&records, "dst", PORT);
    assert_eq!(counted.of_all(&all, "received_packets"), packets);
    assert_eq!(counted.of_all(&all, "received_bytes"), bytes);
    let (packets, bytes) = wire(&records, "src", PORT);
    assert_eq!(counted.of_all(&all, "sent_packets"), packets);
    assert_eq!(counted.of_all(&all, "sent_bytes"), bytes);
}

/// Says how often its kernel sent something again (linux/tcp.h, struct tcp_info).
const SENDER: &str = "
import socket, struct, sys, time, os
connection = socket.create_connection(('10.77.0.2', 8080))
open(sys.argv[1] + '/connected', 'w').close()
while not os.path.exists(sys.argv[1] + '/go'):
    time.sleep(0.01)
connection.sendall(b'x' * 100)
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
print(struct.unpack_from('I', info, 100)[0])
";
const RECEIVER: &str = "
import socket
connection, _ = socket.create_server(('', 8080)).accept()
while connection.recv(1000):
    pass
";

/// As many as TCP itself counts, and none for an attempt that sends nothing.
///
/// What sends again is a timer, over whatever task runs. Kernels are known that
/// run no tracing program over some of their tasks (those of init, in some virtual
/// machines), and do not count it either: then one is missing, and another
/// recording has to show that it is not always so.
pub(crate) fn retransmissions() {
    const ATTEMPTS: u32 = 4;
    let is_exact = |_| {
        let [counted, told] = sent_again();
        assert!(counted <= told, "{counted} counted, {told} sent again");
        counted == told
    };
    assert!((0..ATTEMPTS).any(is_exact), "some were missed each time");
}

/// What is counted and what the sender's kernel says of a connection whose peer
/// is away for a while, and then the way to it as well.
fn sent_again() -> [u64; 2] {
    let world = World::new();
    let start = |host, script| {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(world.folder());
        world.start(host, command)
    };
    let receiver = start(&world.server, RECEIVER);
    wait_until("the server listens", || world.server.listeners(8080) == 1);
    let top = counting(&world, &world.client, &["-d", "0.1"]);
    let sender = start(&world.client, SENDER);
    wait_until("they are connected", || world.file("connected").exists());
    // Nobody takes what is sent to the server now.
    world.server.ip("address del 10.77.0.2/24 dev eth0");
    fs::write(world.file("go"), "").expect("a file");
    let tries_again = || {
        let before = timeouts(&world.client);
        wait_until("it tries again", || timeouts(&world.client) > before);
    };
    tries_again();
    world.client.ip("route del 10.77.0.0/24 dev eth0");
    tries_again();
    world
        .client
        .ip("route add 10.77.0.0/24 dev eth0 src 10.77.0.1");
    world.server.ip("address add 10.77.0.2/24 dev eth0");
    let sender = sender.finish().expect_code(0);
    receiver.finish().expect_code(0);
    world.settle();
    let counted = Counted::by(top);
    let told: u64 = sender.output.trim().parse().expect("a count");
    assert!(told > 0);
    [counted.of(sender.pid, &["retransmits"])[0], told]
}

/// How often TCP's retransmission timer ran out on a host.
fn timeouts(host: &Namespace) -> u64 {
    let table = host
        .enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))
        .expect("the counters of TCP");
    // A line of names, and one of numbers.
    let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let mut words = || lines.next().unwrap_or_default().split(' ');
    let found = words()
        .zip(words())
        .find(|(name, _)| *name == "TCPTimeouts");
    let (_, count) = found.expect("the counter of timeouts");
    count.parse().expect("a number")
}

/// Each line is JSON; a reader that has enough ends it, and nothing is said.
pub(crate) fn into_a_pipe() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let script = format!(
        "{TCPREC} top -d 0.1 | head -n 1; echo ${{PIPESTATUS[0]}} >&2; \
         {TCPREC} top -d 0.1 -n 3 -r 1 --sort packets --pid {}",
        std::process::id()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let mut process = world.start(&world.server, command);
    wait_until("both have ended", || {
        some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
        process.has_ended()
    });
    let ended = process.finish().expect_code(0);
    assert_eq!(ended.errors, "0\n");
    for line in records::parse(&ended.output) {
        let interval_ns = line["interval_ns"].as_u64().expect("an interval");
        // One that comes late makes the next one short.
        assert!(interval_ns > 0, "{line}");
        for name in COUNTS {
            assert!(line[name].is_u64(), "{line}");
        }
    }
}

/// A terminal of our own, and what was written to it.
struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
    written: String,
}

impl Terminal {
    const COLUMNS: u16 = 60;

    fn new() -> Self {
        let size = Winsize {
            ws_row: 10,
            ws_col: Self::COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        // Who holds our end keeps the terminal alive.
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a flag");
        Self {
            ours: master,
            theirs: slave,
            written: String::new(),
        }
    }

    fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.theirs).expect("its settings");
        settings.local_flags.contains(LocalFlags::ECHO)
    }

    /// Reads until something was written since the last call.
    fn wait_for(&mut self, text: &str) {
        let mut since = String::new();
        wait_until(&format!("{text:?} is shown: {}", self.written), || {
            let mut fds = [PollFd::new(
                std::os::fd::AsFd::as_fd(&self.ours),
                PollFlags::POLLIN,
            )];
            if poll(&mut fds, PollTimeout::from(10u8)).expect("a poll") > 0 {
                let mut bytes = [0; 4096];
                let count = read(&self.ours, &mut bytes).expect("reading the terminal");
                since += &String::from_utf8_lossy(&bytes[..count]);
            }
            since.contains(text)
        });
        self.written += &since;
    }
}

/// The lines fit, keys sort and end it, and everything is as before then.
pub(crate) fn on_a_terminal() {
    for end in ["q", "SIGTERM"] {
        let world = World::without_cable();
        let nginx = Nginx::start(&world, &world.server);
        let mut terminal = Terminal::new();
        assert!(terminal.echoes());
        let mut command = Command::new(TCPREC);
        let stdio = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        command
            .args(["top", "-d", "0.2", "-p", &nginx.master().to_string()])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(stdio(&terminal.theirs))
            .stdout(stdio(&terminal.theirs));
        if end == "q" {
            command.env("NO_COLOR", "1");
        }
        let mut child = command.spawn().expect("tcprec top");
        terminal.wait_for("\x1b[?1049h");
        assert!(!terminal.echoes());
        some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
        terminal.wait_for("nginx");
        write(&terminal.ours, b"p").expect("a key");
        terminal.wait_for("by packets");
        if end == "q" {
            write(&terminal.ours, b"q").expect("a key");
        } else {
            let pid = i32::try_from(child.id()).expect("a pid");
            kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
        }
        terminal.wait_for("\x1b[?1049l");
        assert!(child.wait().expect("its end").success());
        assert!(terminal.echoes());
        assert_eq!(terminal.written.contains("\x1b[7m"), end != "q");
        // A frame begins at the top, and ends with a line at the bottom.
        let places = terminal.written.replace("\x1b[H", "\r\n");
        for line in places.replace("\x1b[10;1H", "\r\n").split("\r\n") {
            let mut text = line.to_owned();
            while let Some(from) = text.find('\x1b') {
                let is_end = |c: char| c.is_ascii_alphabetic();
                let length = text[from..].find(is_end).expect("the end of a sequence");
                text.replace_range(from..=from + length, "");
            }
            let text = text.trim_end_matches('\r');
            assert!(text.len() <= usize::from(Terminal::COLUMNS), "{text:?}");
        }
    }
}

pub(crate) fn killed() {
    let world = World::without_cable();
    let top = counting(&world, &world.server, &[]);
    let programs = programs_of(top.pid());
    top.signal(Signal::SIGKILL);
    top.finish();
    expect_gone(&programs);
}

/// Each misuse ends with exit code 2 and names what is wrong.
pub(crate) fn misuse() {
    let world = World::without_cable();
    for (arguments, named) in [
        (["top", "-d", "0"], "seconds"),
        (["top", "-n", "0"], "0"),
        (["top", "-s", "name"], "bytes"),
    ] {
        let ended = tcprec(&world, &world.server, &arguments).expect_code(2);
        assert!(ended.errors.contains(named), "{}", ended.errors);
    }
}
