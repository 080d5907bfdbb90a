//! Two hosts with a cable between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::keeper;
use crate::netns::Namespace;
use crate::process::{Ended, Process, wait_until};

/// Two hosts, each a network namespace with an interface `eth0` and a loopback
/// interface, and a folder for files.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    folder: TempDir,
}

impl World {
    /// The server's addresses on `eth0`; the client's end in 1.
    pub(crate) const SERVER: [&str; 2] = ["10.77.0.2", "fd77::2"];

    /// Both hosts, with a cable (a veth pair) and addresses of both families.
    pub(crate) fn new() -> Self {
        let world = Self::without_cable();
        world.lay_cable();
        world
    }

    /// A cable between both hosts, which have none.
    pub(crate) fn lay_cable(&self) {
        let Self { client, server, .. } = self;
        client.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}",
            server.path()
        ));
        self.give_addresses();
    }

    /// Both hosts, with nothing between them.
    pub(crate) fn without_cable() -> Self {
        Self {
            client: Namespace::new(),
            server: Namespace::new(),
            folder: TempDir::with_prefix(keeper::name("")).expect("a temporary folder"),
        }
    }

    /// Addresses for `eth0` on both hosts, whatever kind of device it is.
    pub(crate) fn give_addresses(&self) {
        for (host, number) in [(&self.client, 1), (&self.server, 2)] {
            host.ip("link set eth0 up");
            host.ip(&format!("address add 10.77.0.{number}/24 dev eth0"));
            // Without the second in which the kernel asks whether another host has the address.
            host.ip(&format!("address add fd77::{number}/64 dev eth0 nodad"));
        }
    }

    /// The folder for files of this test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A copy of a program. Another process makes it: what this one starts meanwhile, for
    /// other tests, would hold it open for a moment, and nobody can run what is written to.
    pub(crate) fn copy(&self, program: &str, name: &str) -> PathBuf {
        let copy = self.file(name);
        let to = copy.to_str().expect("a path in UTF-8");
        self.run(&self.server, "cp", &[program, to]).expect_code(0);
        copy
    }

    /// Starts a program on a host.
    pub(crate) fn start(&self, host: &Namespace, command: Command) -> Process {
        Process::start(command, host, self.folder())
    }

    /// Runs a program on a host to its end.
    pub(crate) fn run(&self, host: &Namespace, program: &str, arguments: &[&str]) -> Ended {
        let mut command = Command::new(program);
        command.args(arguments);
        self.start(host, command).finish()
    }

    /// Waits until no connection can send another packet.
    pub(crate) fn settle(&self) {
        wait_until("all connections are closed", || {
            let sockets = [&self.client, &self.server].map(Namespace::sockets);
            !sockets.iter().flatten().any(crate::netns::Socket::is_busy)
        });
    }
}
