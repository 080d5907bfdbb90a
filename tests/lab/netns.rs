//! Network namespaces without names: each lives as long as a descriptor or a
//! process holds it, so that nothing is left behind however the tests end.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::panic;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, with nothing but its loopback interface, which is up.
    pub(crate) fn new() -> Self {
        let namespace = Self(on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            File::open("/proc/thread-self/ns/net").expect("the new network namespace")
        }));
        namespace.prepare();
        namespace
    }

    /// The one that `ip netns` knows by a name.
    pub(crate) fn named(name: &str) -> Self {
        let namespace =
            Self(File::open(format!("/run/netns/{name}")).expect("the named network namespace"));
        namespace.prepare();
        namespace
    }

    fn prepare(&self) {
        self.ip("link set lo up");
        // Else a client's port may be used again a second later, over the loopback
        // interface: tests tell connections by it.
        self.enter(|| fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "0"))
            .expect("a setting of the namespace");
    }

    /// Runs something inside; processes that it starts stay inside.
    pub(crate) fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("entering the network namespace");
            run()
        })
    }

    /// Runs `ip` inside, with arguments as one would type them.
    pub(crate) fn ip(&self, arguments: &str) {
        let output = self
            .enter(|| Command::new("ip").args(arguments.split(' ')).output())
            .expect("running ip");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {errors}");
    }

    /// A path by which programs can name it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The number by which records name it.
    pub(crate) fn inode(&self) -> u64 {
        self.0.metadata().expect("the namespace's inode").ino()
    }

    /// The TCP sockets inside.
    pub(crate) fn sockets(&self) -> Vec<Socket> {
        self.enter(|| {
            ["tcp", "tcp6"]
                .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")))
                .into_iter()
                .flat_map(|text| Socket::parse_table(&text.expect("the table of sockets")))
                .collect()
        })
    }

    /// Whether a process listens on a port, in one or both families.
    pub(crate) fn listeners(&self, port: u16) -> usize {
        let is_listener = |socket: &&Socket| socket.is_listening() && socket.local_port == port;
        self.sockets().iter().filter(is_listener).count()
    }
}

/// A row of `/proc/net/tcp`.
#[derive(Debug)]
pub(crate) struct Socket {
    local_port: u16,
    state: u8,
}

impl Socket {
    // The states' numbers are those of linux/tcp_states.h.
    const TIME_WAIT: u8 = 6;
    const LISTEN: u8 = 10;

    fn parse_table(text: &str) -> Vec<Self> {
        let parse = |line: &str| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?.rsplit(':').next()?;
            Some(Self {
                local_port: u16::from_str_radix(local, 16).ok()?,
                state: u8::from_str_radix(fields.nth(1)?, 16).ok()?,
            })
        };
        text.lines().skip(1).filter_map(parse).collect()
    }

    fn is_listening(&self) -> bool {
        self.state == Self::LISTEN
    }

    /// Whether its connection is over, and its ports are kept for a while.
    pub(crate) fn is_in_time_wait(&self) -> bool {
        self.state == Self::TIME_WAIT
    }

    /// Whether packets of it may still come.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.state, Self::LISTEN | Self::TIME_WAIT)
    }
}

/// A namespace is entered by a thread of its own, since a thread that a test
/// runs on must stay where it is.
fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}
