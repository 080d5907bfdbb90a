//! What ends a recording or comes in its way: whatever it is, the file is
//! readable, it says how it ended, and one message says why.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::process::wait_until;
use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::report::{Ends, Report};
use crate::traffic::some_of_everything;
use crate::web::{Nginx, Traffic};
use crate::world::World;

/// Says that it is over when it is dropped, after a failure too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs something while requests are made on the loopback interface.
fn under_load<T>(world: &World, run: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let targets: Vec<_> = (0..50).map(|item| format!("/item/{item}")).collect();
            while !is_over.load(Ordering::Relaxed) {
                let mut traffic = Traffic::default();
                traffic.fetch(world, &world.server, "127.0.0.1", &targets);
                traffic.fetch(world, &world.server, "127.0.0.1", &["/big".to_owned()]);
            }
        });
        let _over = Over(&is_over);
        run()
    })
}

/// How a capture ended, as its report says.
fn ending(world: &World, capture: &Path) -> String {
    let capture = capture.display().to_string();
    let arguments = ["analyze", "--format", "jsonl", &capture];
    let ended = tcprec(world, &world.server, &arguments).expect_code(0);
    let report = Report::parse(&ended.output);
    let capture = report.of_kind("capture").next().expect("a capture");
    capture["ending"].as_str().unwrap_or_default().to_owned()
}

/// Killed at any moment, the file is readable and does not claim to be whole.
pub(crate) fn killed_at_any_moment() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    under_load(&world, || {
        for round in 0..12 {
            let extension = ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"][round % 4];
            let stem = format!("round-{}", char::from(b'a' + round as u8));
            // Also when another file has just begun.
            let size = if round < 6 { "1G" } else { "200k" };
            let capture = world.file(&format!("{stem}.{extension}"));
            let output = capture.display().to_string();
            let recorder = Recorder::start(
                &world,
                &world.server,
                &["-i", "lo", "-s", "0", "-C", size, "-o", &output],
            );
            wait_until("the file has begun", || {
                fs::metadata(&capture).is_ok_and(|metadata| metadata.len() > 0)
            });
            // Anywhere between two flushes.
            thread::sleep(Duration::from_millis(round as u64 * 389 % 1100));
            recorder.kill();
            let ending = ending(&world, &world.file(&stem));
            // Between two files the last one says that it goes on elsewhere.
            assert!(
                ["abrupt", "cut", "continued"].contains(&ending.as_str()),
                "{extension}: {ending}"
            );
        }
    });
}

pub(crate) fn terminated() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl.zst");
    let output = capture.display().to_string();
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", &output]);
    under_load(&world, || recorder.signal(Signal::SIGTERM));
    let ended = recorder.finish();
    assert!(ended.errors.contains("none lost"), "{}", ended.errors);
    assert_eq!(ending(&world, &capture), "complete");
}

/// A full disk ends the recording with one message. What was written before is
/// whole, without an end; another output has its end.
pub(crate) fn full_disk() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    for extension in ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"] {
        let [small, saved, other] = ["small", "saved", "other"].map(|stem| {
            world
                .file(&format!("{stem}.{extension}"))
                .display()
                .to_string()
        });
        let mount = world.file("mount").display().to_string();
        // In a mount namespace of its own: nothing is left of the mount.
        let script = format!(
            "mkdir -p {mount}; mount -t tmpfs -o size=300k tmpfs {mount}; \
             {TCPREC} record -i lo -s 0 -o {mount}/small.{extension} -o {other}; code=$?; \
             cp {mount}/small.{extension} {saved}; exit $code"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let mut process = world.start(&world.server, command);
        under_load(&world, || {
            wait_until("the disk is full", || process.has_ended());
        });
        let ended = process.finish().expect_code(1);
        assert!(
            ended.errors.contains("cannot write") && ended.errors.contains("No space left"),
            "{small}: {}",
            ended.errors
        );
        let expected = if extension == "pcapng.zst" {
            "cut"
        } else {
            "abrupt"
        };
        assert_eq!(ending(&world, Path::new(&saved)), expected, "{extension}");
        assert_eq!(ending(&world, Path::new(&other)), "complete", "{extension}");
    }
}

/// A pipe whose reader stopped: Ctrl-C ends the recording soon, a second one at once.
pub(crate) fn full_pipe() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let fifo = world.file("pipe.jsonl");
    let output = fifo.display().to_string();
    world
        .run(&world.server, "mkfifo", &[&output])
        .expect_code(0);
    // Holds it open, and never reads.
    let _reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("a pipe");
    for signals in [1, 2] {
        let recorder = Recorder::start(
            &world,
            &world.server,
            &["-i", "lo", "-s", "0", "-o", &output],
        );
        under_load(&world, || thread::sleep(Duration::from_secs(3)));
        let began = Instant::now();
        for _ in 0..signals {
            recorder.signal(Signal::SIGINT);
            thread::sleep(Duration::from_millis(300));
        }
        let ended = recorder.finish_anyhow();
        let took = began.elapsed();
        if signals == 1 {
            let ended = ended.expect_code(1);
            assert!(ended.errors.contains("takes nothing"), "{}", ended.errors);
        } else {
            ended.expect_code(130);
            assert!(took < Duration::from_secs(4), "{took:?}");
        }
    }
}

/// Recording goes on when an interface of the same name returns.
pub(crate) fn interface_returns() {
    for hook in ["tcx", "socket-filter"] {
        let world = World::new();
        let nginx = Nginx::start(&world, &world.server);
        let capture = world.file(&format!("{hook}.jsonl.zst"));
        let output = capture.display().to_string();
        let recorder = Recorder::start(
            &world,
            &world.client,
            &["-i", "eth0", "--hook", hook, "-o", &output],
        );
        let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
        world.settle();
        world.client.ip("link delete eth0");
        wait_until("the loss of the interface is told", || {
            recorder.errors().contains("eth0 is gone")
        });
        world.lay_cable();
        wait_until("its return is told", || {
            recorder.errors().contains("recording on eth0 too")
        });
        let again = some_of_everything(&world, &world.client, World::SERVER);
        traffic.connections.extend(again.connections);
        traffic.join_log(&nginx);
        world.settle();
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Client);
    }
}
