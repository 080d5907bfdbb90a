//! Scripts that make connections in a namespace, and tell whose they are.

use std::fs;
use std::process::Command;

use crate::netns::Namespace;
use crate::process::Process;
use crate::world::World;

/// What scripts can use.
const ACTORS: &str = include_str!("actors.py");

/// A script at work.
pub(crate) struct Script(Process);

impl Script {
    /// Starts a script; it can use what `actors.py` has.
    pub(crate) fn start(world: &World, host: &Namespace, script: &str) -> Self {
        fs::write(world.file("actors.py"), ACTORS).expect("a file");
        let mut command = Command::new("python3");
        command.args(["-c", &format!("from actors import *\n{script}")]);
        // Where Python finds the module.
        command.current_dir(world.folder());
        Self(world.start(host, command))
    }

    /// Runs a script to its end; gives what it told.
    pub(crate) fn run(world: &World, host: &Namespace, script: &str) -> Vec<Told> {
        Self::start(world, host, script).finish()
    }

    /// Waits for its end; gives what it told.
    pub(crate) fn finish(self) -> Vec<Told> {
        let ended = self.0.finish().expect_code(0);
        assert_eq!(ended.errors, "", "what a script complains of");
        let told = ended.output.lines().map(Told::parse).collect::<Vec<_>>();
        assert!(!told.is_empty(), "a script tells of something");
        told
    }
}

/// A connection as its makers tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) client_port: u16,
    pub(crate) client: u32,
    pub(crate) server: u32,
    /// The thread of the server that did it.
    pub(crate) thread: u32,
}

impl Told {
    fn parse(line: &str) -> Self {
        let numbers = line.split(' ').map(str::parse);
        let numbers: Vec<u32> = numbers.collect::<Result<_, _>>().expect("numbers");
        let [port, client, server, thread] = numbers[..] else {
            panic!("four numbers: {line}");
        };
        Self {
            client_port: u16::try_from(port).expect("a port"),
            client,
            server,
            thread,
        }
    }
}
