//! What happens to the recorder that cannot be had for real: a disk that fails, a
//! step of the clock. A library that is preloaded into it does it (`shim.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::World;

/// The library, built for one test.
#[derive(Debug)]
pub(crate) struct Shim(PathBuf);

impl Shim {
    pub(crate) fn new(world: &World) -> Self {
        let library = world.file("shim.so").display().to_string();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/shim.c");
        let arguments = ["-shared", "-fPIC", "-Wall", "-o", &library, source, "-ldl"];
        world.run(&world.server, "cc", &arguments).expect_code(0);
        Self(library.into())
    }

    /// Writes to a file whose path ends so fail behind so many bytes.
    pub(crate) fn fail(&self, command: &mut Command, ending: &str, after_bytes: u64) {
        command
            .env("LD_PRELOAD", &self.0)
            .env("SHIM_FAIL", ending)
            .env("SHIM_AFTER", after_bytes.to_string());
    }

    /// It cannot wait for its rings any more when a file comes to be.
    pub(crate) fn fail_polls(&self, command: &mut Command, file: &Path) {
        command.env("LD_PRELOAD", &self.0).env("SHIM_POLL", file);
    }

    /// It cannot give up its rights.
    pub(crate) fn keep_rights(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.0).env("SHIM_RIGHTS", "1");
    }

    /// Time passes so many times more slowly for it.
    pub(crate) fn slow_down(&self, command: &mut Command, times: u32) {
        command
            .env("LD_PRELOAD", &self.0)
            .env("SHIM_SLOW", times.to_string());
    }

    /// The wall clock goes back by an hour when a file comes to be.
    pub(crate) fn step(&self, command: &mut Command, file: &Path) {
        command.env("LD_PRELOAD", &self.0).env("SHIM_STEP", file);
    }
}
