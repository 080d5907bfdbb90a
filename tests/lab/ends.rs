//! How a recording begins and ends, in good order or not, and what stays of it.

use std::fs;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use libbpf_rs::query::ProgInfoIter;

use crate::netns::Namespace;
use crate::process::wait_until;
use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::report::{Ends, Report};
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// A namespace that `ip netns` knows, as long as this lives.
pub(crate) struct Named(String);

impl Named {
    pub(crate) fn new() -> Self {
        // One for each test, which run at the same time.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let named = Self(format!("tcprec-lab-{}-{number}", process::id()));
        named.ip_netns("add");
        named
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    fn ip_netns(&self, verb: &str) {
        let status = Command::new("ip").args(["netns", verb, &self.0]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "ip netns {verb} {}",
            self.0
        );
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.ip_netns("delete");
    }
}

/// `ip netns exec` mounts another /sys, without the folders of the kernel's tracing.
pub(crate) fn named_namespace() {
    let named = Named::new();
    let mut world = World::without_cable();
    world.server = Namespace::named(&named.0);
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl.zst");
    let mut command = Command::new("ip");
    command
        .args([
            "netns", "exec", &named.0, TCPREC, "record", "-i", "lo", "-o",
        ])
        .arg(&capture);
    let recorder = Recorder::ready(world.start(&world.client, command));
    let mut traffic = some_of_everything(&world, &world.server, LOOPBACK);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Both);
}

/// The ids of the BPF programs that a process holds.
pub(crate) fn programs_of(pid: u32) -> Vec<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the descriptors of a process");
    let texts = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let id = |text: String| {
        text.lines()
            .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    texts.filter_map(id).collect()
}

pub(crate) fn expect_gone(programs: &[u32]) {
    assert!(!programs.is_empty(), "a recorder has BPF programs");
    // The kernel frees them a little after their last user.
    wait_until("the BPF programs are gone", || {
        !ProgInfoIter::default().any(|program| programs.contains(&program.id))
    });
}

pub(crate) fn nothing_is_left() {
    for hook in ["tcx", "socket-filter"] {
        let world = World::without_cable();
        let recorder = Recorder::start(
            &world,
            &world.server,
            &["-i", "lo", "-o", "-", "--hook", hook],
        );
        let programs = programs_of(recorder.pid());
        recorder.stop();
        expect_gone(&programs);
    }
}

/// Killed without warning: the kernel is clean, and the capture good up to some
/// moment shortly before; that it ended abruptly is told.
pub(crate) fn killed() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let captures = ["a.jsonl", "a.jsonl.zst", "a.pcapng", "a.pcapng.zst"]
        .map(|name| world.file(name).display().to_string());
    let mut arguments = vec!["-i", "lo"];
    arguments.extend(captures.iter().flat_map(|path| ["-o", path]));
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let programs = programs_of(recorder.pid());
    let mut traffic = some_of_everything(&world, &world.server, LOOPBACK);
    traffic.join_log(&nginx);
    world.settle();
    let report = |path: &str| {
        let ended = tcprec(
            &world,
            &world.server,
            &["analyze", "--format", "jsonl", path],
        );
        Report::parse(&ended.expect_code(0).output)
    };
    for capture in &captures {
        wait_until("what was recorded is in the file", || {
            report(capture).of_kind("http").count() == traffic.requests()
        });
    }
    recorder.kill();
    expect_gone(&programs);
    for capture in &captures {
        let report = report(capture);
        report.expect(&traffic, Ends::Both);
        // A compressed pcapng file is one zstd frame, whose end is missing.
        let expected = if capture.ends_with(".pcapng.zst") {
            "cut"
        } else {
            "abrupt"
        };
        let ending = report.of_kind("capture").map(|capture| &capture["ending"]);
        assert_eq!(ending.collect::<Vec<_>>(), [expected], "{capture}");
    }
}
