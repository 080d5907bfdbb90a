//! What ends a recording or comes in its way: whatever it is, the file is
//! readable, it says how it ended, and one message says why.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize as _;
use serde_json::Value;
use tcprec_shared::record::EventKind;

use crate::keeper;
use crate::process::{Ended, Process, wait_until};
use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::records;
use crate::report::{Ends, Report};
use crate::shim::Shim;
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
///
/// `TCPREC_LAB_KILLS` says how often; each round tells its moment if it fails.
pub(crate) fn killed_at_any_moment() {
    let kills = env::var("TCPREC_LAB_KILLS").ok();
    let kills: usize = kills.map_or(12, |kills| kills.parse().expect("a number of kills"));
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    under_load(&world, || {
        for round in 0..kills {
            let extension = ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"][round % 4];
            let stem = format!("round-{round}-of");
            let capture = world.file(&format!("{stem}.{extension}"));
            let output = capture.display().to_string();
            // Also between two files of a series.
            let size = if round / 4 % 2 == 0 { "1G" } else { "200k" };
            let mut command = Command::new(TCPREC);
            command.args(["record", "-i", "lo", "-s", "0", "-C", size, "-o", &output]);
            let recorder = world.start(&world.server, command);
            // Also before there is anything: a third of them as it starts.
            let moment = Duration::from_micros(random_below(if round % 3 == 0 {
                300_000
            } else {
                2_000_000
            }));
            thread::sleep(moment);
            recorder.signal(Signal::SIGKILL);
            recorder.finish();
            let what = format!("{extension}, killed after {moment:?}");
            let Ok(file) = fs::metadata(&capture) else {
                continue;
            };
            let stem = world.file(&stem).display().to_string();
            let arguments = ["analyze", "--format", "jsonl", &stem];
            let ended = tcprec(&world, &world.server, &arguments);
            if file.len() == 0 {
                assert!(ended.errors.contains("an empty file"), "{what}");
                continue;
            }
            let report = Report::parse(&ended.expect_code(0).output);
            let capture = report.of_kind("capture").next().expect("a capture");
            // Between two files the last one says that it goes on elsewhere.
            let ending = capture["ending"].as_str().unwrap_or_default();
            assert!(
                ["abrupt", "cut", "continued"].contains(&ending),
                "{what}: {ending}"
            );
        }
    });
}

/// A number below another one, not twice the same: of the time.
fn random_below(limit: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(Instant::now()) % limit
}

pub(crate) fn ended_by_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let world = World::without_cable();
        let _nginx = Nginx::start(&world, &world.server);
        let capture = world.file("capture.jsonl.zst");
        let output = capture.display().to_string();
        let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", &output]);
        under_load(&world, || recorder.signal(signal));
        let ended = recorder.finish();
        assert!(ended.errors.contains("none lost"), "{}", ended.errors);
        assert_eq!(ending(&world, &capture), "complete", "{signal}");
    }
}

/// A reader that has enough is no failure; another output has its end.
pub(crate) fn reader_gone() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.pcapng").display().to_string();
    let script = format!(
        "{TCPREC} record -i lo -o - -o {capture} | head -c 20000 | wc -c; exit ${{PIPESTATUS[0]}}"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let mut process = world.start(&world.server, command);
    under_load(&world, || {
        wait_until("the recorder has ended", || process.has_ended());
    });
    let ended = process.finish().expect_code(0);
    assert_eq!(ended.output, "20000\n");
    assert_eq!(ending(&world, Path::new(&capture)), "complete");
}

/// A full disk ends its output, which is told at once. What was written to it is
/// whole, without an end; another output has all and its end.
pub(crate) fn full_disk() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    for extension in ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"] {
        let [saved, other] = ["saved", "other"].map(|stem| {
            world
                .file(&format!("{stem}.{extension}"))
                .display()
                .to_string()
        });
        let more = format!("-o {other}");
        let process = on_small_disk(&world, "100k", extension, &more, &saved);
        under_load(&world, || {
            wait_until("it is told", || {
                process.errors().contains("continues without")
            });
        });
        let shell = Pid::from_raw(i32::try_from(process.pid()).expect("a process id"));
        let recorder = keeper::children()[&shell][0];
        kill(recorder, Signal::SIGTERM).expect("ending the recorder");
        let errors = process.finish().expect_code(1).errors;
        let lines: Vec<_> = errors.lines().collect();
        let [_, at_once, sum, last] = lines[..] else {
            panic!("{extension}: {errors}");
        };
        for line in [at_once, last] {
            let is_failure = line.contains("cannot write") && line.contains("No space left");
            assert!(is_failure, "{extension}: {errors}");
        }
        assert!(
            at_once.contains("continues without it"),
            "{extension}: {errors}"
        );
        assert!(sum.contains("none lost"), "{extension}: {errors}");
        assert!(sum.contains("interrupted"), "{extension}: {errors}");
        assert_eq!(told(last), held(&world, &saved), "{extension}: {errors}");
        assert_eq!(told(sum), held(&world, &other), "{extension}: {errors}");
        let expected = if extension == "pcapng.zst" {
            "cut"
        } else {
            "abrupt"
        };
        assert_eq!(ending(&world, Path::new(&saved)), expected, "{extension}");
        assert_eq!(ending(&world, Path::new(&other)), "complete", "{extension}");
    }
}

/// A shell whose recorder writes to a disk of that size; what it wrote there is copied to
/// `saved`.
fn on_small_disk(world: &World, size: &str, extension: &str, more: &str, saved: &str) -> Process {
    let mount = world.file("mount").display().to_string();
    // In a mount namespace of its own: nothing is left of the mount.
    let script = format!(
        "mkdir -p {mount}; mount -t tmpfs -o size={size} tmpfs {mount}; \
         {TCPREC} record -i lo -s 0 -o {mount}/small.{extension} {more}; code=$?; \
         cp {mount}/small.{extension} {saved}; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    world.start(&world.server, command)
}

/// A full disk ends the recording where there is no other output: what did not get
/// into the file is lost.
pub(crate) fn full_disk_alone() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    for extension in ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"] {
        let saved = world.file(&format!("saved.{extension}"));
        let saved = saved.to_str().expect("a path in UTF-8");
        let process = on_small_disk(&world, "300k", extension, "", saved);
        let errors = until_it_fails(&world, process).errors;
        let lines: Vec<_> = errors.lines().collect();
        let [_, sum, last] = lines[..] else {
            panic!("{extension}: {errors}");
        };
        let held = held(&world, saved);
        assert_eq!(told(sum), held, "{extension}: {errors}");
        assert_eq!(told(last), held, "{extension}: {errors}");
        assert!(!sum.contains("none lost"), "{extension}: {errors}");
    }
}

/// How many packets and events a message tells of.
fn told(message: &str) -> [u64; 2] {
    let before = |noun| {
        let mut words = message.split([' ', ';']).map(|word| word.replace(',', ""));
        let mut last = String::new();
        words.find_map(|word| {
            let number = std::mem::replace(&mut last, word);
            last.starts_with(noun)
                .then(|| number.parse().ok())
                .flatten()
        })
    };
    ["packet", "event"].map(|noun| before(noun).unwrap_or_else(|| panic!("{message}")))
}

/// How many packets and events a file holds, those among them that tell of sockets
/// from before.
fn held(world: &World, capture: &str) -> [u64; 2] {
    let records = world.file("held.jsonl").display().to_string();
    // A file that was cut is read up to there, and says so.
    tcprec(world, &world.server, &["convert", capture, &records]);
    let records = records::read(Path::new(&records));
    let is_event = |record: &&Value| EventKind::deserialize(&record["type"]).is_ok();
    let packets = records::of_type(&records, "packet").len();
    let events = records.iter().filter(is_event).count();
    [packets as u64, events as u64]
}

/// What a disk refuses, whatever for: one message, a readable file without an
/// end, and another output that has one.
pub(crate) fn refused_writes() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let shim = Shim::new(&world);
    for extension in ["jsonl", "jsonl.zst", "pcapng", "pcapng.zst"] {
        let [failing, other] = ["failing", "other"].map(|stem| {
            world
                .file(&format!("{stem}.{extension}"))
                .display()
                .to_string()
        });
        let mut command = Command::new(TCPREC);
        let arguments = [
            "record", "-i", "lo", "-s", "0", "-o", &failing, "-o", &other,
        ];
        command.args(arguments);
        shim.fail(&mut command, &format!("/failing.{extension}"), 50_000);
        let process = world.start(&world.server, command);
        under_load(&world, || {
            wait_until("it is told", || {
                process.errors().contains("continues without")
            });
        });
        process.signal(Signal::SIGINT);
        expect_failure(&process.finish().expect_code(1), "Input/output error");
        let expected = if extension == "pcapng.zst" {
            "cut"
        } else {
            "abrupt"
        };
        assert_eq!(ending(&world, Path::new(&failing)), expected, "{extension}");
        assert_eq!(ending(&world, Path::new(&other)), "complete", "{extension}");
    }
}

/// A limit on the size of files is no reason to be killed by SIGXFSZ.
pub(crate) fn limited_file_size() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl").display().to_string();
    let script = format!("ulimit -f 100; exec {TCPREC} record -i lo -s 0 -o {capture}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let process = world.start(&world.server, command);
    expect_failure(&until_it_fails(&world, process), "File too large");
    assert_eq!(ending(&world, Path::new(&capture)), "abrupt");
}

/// A device that is blocked from the first byte on keeps its rights.
pub(crate) fn full_device() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    symlink("/dev/full", &capture).expect("a link");
    let mode = || fs::metadata("/dev/full").expect("/dev/full").permissions();
    let before = mode();
    let mut command = Command::new(TCPREC);
    command.args(["record", "-i", "lo", "-o"]).arg(&capture);
    let process = world.start(&world.server, command);
    expect_failure(&until_it_fails(&world, process), "No space left");
    assert_eq!(mode(), before);
}

/// A file that somebody removes is told at once, and can be had as long as it is written.
pub(crate) fn removed() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", &output]);
    fs::remove_file(&capture).expect("the capture");
    let told = |errors: &str| {
        Some(
            errors
                .split_once("copied from ")?
                .1
                .lines()
                .next()?
                .to_owned(),
        )
    };
    wait_until("it is told", || told(&recorder.errors()).is_some());
    let path = told(&recorder.errors()).expect("a path");
    let records = fs::read_to_string(path).expect("what was written");
    assert!(records.starts_with(r#"{"type":"capture""#), "{records}");
    let errors = recorder.stop().errors;
    let ends = errors.ends_with("capture.jsonl, which was removed and is lost (interrupted)\n");
    assert!(ends, "{errors}");
}

/// A standard output that is blocked is not the file that is called as it is.
pub(crate) fn full_standard_output() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let other = world.file("-");
    fs::write(&other, "another's").expect("a file");
    let folder = world.folder().display();
    let script = format!("cd {folder}; exec {TCPREC} record -i lo -o - >/dev/full");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let process = world.start(&world.server, command);
    expect_failure(&until_it_fails(&world, process), "No space left");
    let kept = fs::read_to_string(&other).expect("the file");
    assert_eq!(kept, "another's");
}

/// Under load it ends by itself, with exit code 1.
fn until_it_fails(world: &World, mut process: Process) -> Ended {
    under_load(world, || {
        wait_until("the recorder has ended", || process.has_ended());
    });
    process.finish().expect_code(1)
}

/// One line at the end says why.
fn expect_failure(ended: &Ended, why: &str) {
    let errors = &ended.errors;
    let last = errors.lines().last().unwrap_or_default();
    assert!(
        last.contains("cannot write") && last.contains(why),
        "{errors}"
    );
}

/// The recorder cannot read its rings any more: what they hold is in the file, which
/// says that it failed.
pub(crate) fn reading_fails() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let shim = Shim::new(&world);
    let capture = world.file("capture.jsonl.zst");
    let failure = world.file("failure");
    let mut command = Command::new(TCPREC);
    command.args(["record", "-i", "lo", "-o"]).arg(&capture);
    shim.fail_polls(&mut command, &failure);
    let recorder = Recorder::ready(world.start(&world.server, command));
    recorder.pause();
    let mut traffic = some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
    traffic.join_log(&nginx);
    world.settle();
    fs::write(&failure, "").expect("a file");
    recorder.go_on();
    let ended = recorder.finish_anyhow().expect_code(1);
    assert!(ended.errors.contains("Input/output"), "{}", ended.errors);
    assert_eq!(ending(&world, &capture), "failed");
    analyze(&world, &capture).expect(&traffic, Ends::Both);
}

/// The wall clock goes back by an hour: all times go on as they began.
pub(crate) fn clock_step() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let shim = Shim::new(&world);
    let output = world.file("capture.jsonl").display().to_string();
    let step = world.file("step");
    let mut command = Command::new(TCPREC);
    command.args(["record", "-i", "lo", "-G", "2", "-o", &output]);
    shim.step(&mut command, &step);
    let now_ns = || Timestamp::now().as_nanosecond();
    let began_ns = now_ns();
    let recorder = Recorder::ready(world.start(&world.server, command));
    let mut traffic = some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
    fs::write(&step, "").expect("a file");
    wait_until("another file began", || {
        world.file("capture.1.jsonl").exists()
    });
    let again = some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
    traffic.connections.extend(again.connections);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    let ended_ns = now_ns();
    analyze(&world, &world.file("capture")).expect(&traffic, Ends::Both);
    for name in ["capture.jsonl", "capture.1.jsonl"] {
        for record in records::read(&world.file(name)) {
            if let Some(ts_ns) = record["ts_ns"].as_i64() {
                let range = began_ns..ended_ns;
                assert!(range.contains(&ts_ns.into()), "{name}: {record}");
            }
        }
    }
}

/// A pipe whose reader stopped: Ctrl-C ends the recording soon, another one a second
/// later at once.
pub(crate) fn full_pipe() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let fifo = world.file("pipe.jsonl");
    let output = fifo.display().to_string();
    world
        .run(&world.server, "mkfifo", &[&output])
        .expect_code(0);
    // Holds it open, and never reads.
    let reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("a pipe");
    let is_full = || {
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).expect("a poll") == 0
    };
    for is_repeated in [false, true] {
        let mut recorder = Recorder::start(
            &world,
            &world.server,
            &["-i", "lo", "-s", "0", "-o", &output],
        );
        under_load(&world, || wait_until("the pipe is full", is_full));
        recorder.signal(Signal::SIGINT);
        if is_repeated {
            // Two at once may count as one.
            wait_until("the recorder has ended", || {
                let has_ended = recorder.has_ended();
                if !has_ended {
                    recorder.signal(Signal::SIGINT);
                }
                has_ended
            });
            recorder.finish_anyhow().expect_code(130);
        } else {
            let ended = recorder.finish_anyhow().expect_code(1);
            assert!(ended.errors.contains("is blocked"), "{}", ended.errors);
        }
    }
}
