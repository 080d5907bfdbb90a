//! How a recording begins and ends, in good order or not, and what stays of it.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use libbpf_rs::query::ProgInfoIter;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::keeper;
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
        let named = Self(keeper::name(&number.to_string()));
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
    let is_over = |row: &&Value| row["conn_state"] == "SF" || row["conn_state"] == "REJ";
    for capture in &captures {
        wait_until("what was recorded is in the file", || {
            let over = report(capture).of_kind("conn").filter(is_over).count();
            over == traffic.connections.len()
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

/// The processes below one, their parents before them.
fn below(pid: Pid) -> Vec<Pid> {
    let mut children = keeper::children();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.split_off(1)
}

/// Tests that are killed leave nothing that they started, whichever of their
/// processes it is: the one that was started, its child, or the tests themselves.
pub(crate) fn tests_killed() {
    let comm = |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    for which in 0..3 {
        let world = World::without_cable();
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args(["--exact", "traffic::a_thousand_requests_in_every_format"]);
        let process = world.start(&world.server, keeper::anew(command));
        let own = Pid::from_raw(i32::try_from(process.pid()).expect("a process id"));
        let mut all = Vec::new();
        wait_until("the test runs", || {
            all = below(own);
            let comms: Vec<_> = all.iter().map(comm).collect();
            let count = |name: &str| comms.iter().filter(|comm| comm.trim() == name).count();
            // nginx's master and its workers.
            count("tcprec") > 0 && count("nginx") > 2
        });
        let is_this_program = |pid: &&Pid| comm(pid) == comm(&own);
        let tests = all[1..].iter().find(is_this_program);
        let tests = *tests.expect("the process of the tests");
        let victim = [own, all[0], tests][which];
        kill(victim, Signal::SIGKILL).expect("killing");
        wait_until("all are gone", || {
            all.iter().all(|pid| comm(pid).is_empty())
        });
        let prefix = format!("tcprec-lab-{tests}-");
        let is_left = || {
            let entries = fs::read_dir(env::temp_dir()).expect("the folder for such folders");
            let mut names = entries.flatten().map(|entry| entry.file_name());
            names.any(|name| name.to_string_lossy().starts_with(&prefix))
        };
        wait_until("its files are gone", || !is_left());
        drop(process);
    }
}
