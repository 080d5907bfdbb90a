//! What `tcprec record` is asked for by its options.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::records;
use crate::report::{Ends, Owner};
use crate::traffic::some_of_everything;
use crate::web::{Nginx, Traffic};
use crate::world::World;

const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// Recorded while the command runs; its exit code is passed on, its owner known.
pub(crate) fn command() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let script = "echo $$; curl --silent --output /dev/null http://127.0.0.1/item/1; exit 7";
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let arguments = ["record", "-i", "lo", "-o", output, "--", "sh", "-c", script];
    let ended = tcprec(&world, &world.server, &arguments).expect_code(7);
    let shell: u32 = ended
        .output
        .trim()
        .parse()
        .expect("the shell's process id, and nothing more");
    let report = analyze(&world, &capture);
    let [connection] = report.of_kind("conn").collect::<Vec<_>>()[..] else {
        panic!("one connection was made: {report:#?}");
    };
    let client = Owner::of(connection, "orig").expect("an owner");
    assert_eq!(
        (client.comm.as_str(), client.provenance.as_str()),
        ("curl", "connect")
    );
    assert_ne!(client.pid, shell, "{client:?}");
    let server = Owner::of(connection, "resp").expect("an owner");
    assert_eq!(
        (server.comm.as_str(), server.provenance.as_str()),
        ("nginx", "accept")
    );
    assert_eq!(report.of_kind("http").count(), 1);
    drop(nginx);
}

pub(crate) fn to_standard_output() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", "-"]);
    let mut traffic = some_of_everything(&world, &world.server, LOOPBACK);
    traffic.join_log(&nginx);
    world.settle();
    let written = recorder.stop().output;
    let records = records::parse(&written);
    assert_eq!(
        records.first().map(|record| &record["type"]),
        Some(&"capture".into())
    );
    assert_eq!(
        records.last().map(|record| &record["type"]),
        Some(&"end".into())
    );
    let capture = world.file("written");
    fs::write(&capture, written).expect("writing a file");
    analyze(&world, &capture).expect(&traffic, Ends::Both);
}

/// What the command says stands beside what programs read.
pub(crate) fn command_to_standard_output() {
    let world = World::without_cable();
    for output in [&["-o", "-"][..], &["--analyze=jsonl"]] {
        let command = ["--", "echo", "said"];
        let arguments = [&["record", "-i", "lo"], output, &command].concat();
        let ended = tcprec(&world, &world.server, &arguments).expect_code(0);
        assert!(!records::parse(&ended.output).is_empty());
        assert!(ended.errors.contains("said\n"), "{}", ended.errors);
    }
}

/// One that cannot be run leaves what was there; one that turns out to be no program
/// leaves a capture that says so.
pub(crate) fn no_command() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let program = world.file("program");
    let folder = world.folder().to_str().expect("a path in UTF-8").to_owned();
    fs::write(&capture, "what was there").expect("a file");
    fs::write(&program, "no program").expect("a file");
    let program = program.to_str().expect("a path in UTF-8");
    let run = |command: &str, code| {
        let expected = match code {
            127 => format!("command not found: {command}"),
            _ => format!("cannot run {command}"),
        };
        let arguments = ["record", "-i", "lo", "-o", output, "--", command];
        let ended = tcprec(&world, &world.server, &arguments).expect_code(code);
        let last = ended.errors.lines().last().unwrap_or_default();
        assert!(last.contains(&expected), "{}", ended.errors);
    };
    for (command, code) in [("tcprec-never", 127), (program, 126), (&folder, 126)] {
        run(command, code);
        let is_there = fs::read(&capture).expect("a file") == b"what was there";
        assert!(is_there, "{command}");
    }
    fs::set_permissions(program, Permissions::from_mode(0o700)).expect("the rights of a file");
    run(program, 126);
    let report = analyze(&world, &capture);
    let ended = report.of_kind("capture").next().expect("a capture");
    assert_eq!(ended["ending"], "failed");
}

/// With 96 bytes of a packet a short request and its status are still there.
pub(crate) fn short_snap_length() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        &world.client,
        &["-i", "eth0", "-s", "96", "-o", output],
    );
    let mut traffic = Traffic::default();
    let targets = ["/item/1", "/missing", "/big"].map(str::to_owned);
    traffic.fetch(&world, &world.client, World::SERVER[0], &targets);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Client);
    let records = records::read(&capture);
    let mut wire_bytes = 0;
    for packet in records::of_type(&records, "packet") {
        wire_bytes += packet["wire_bytes"].as_u64().expect("a length");
        let characters = packet["data"]
            .as_str()
            .expect("the bytes of a packet")
            .len();
        assert!(characters <= 96 / 3 * 4, "more than 96 bytes: {packet}");
    }
    let end = records.last().expect("a last record");
    assert_eq!(end["wire_bytes"], wire_bytes, "{end}");
}

pub(crate) fn packet_count() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        &world.server,
        &["-i", "lo", "-c", "5", "-o", output],
    );
    // More is waiting by then than is wanted: that is neither recorded nor lost.
    recorder.pause();
    some_of_everything(&world, &world.server, LOOPBACK).join_log(&nginx);
    recorder.go_on();
    let ended = recorder.finish();
    assert!(
        !ended.errors.contains("unaccounted for"),
        "{}",
        ended.errors
    );
    let records = records::read(&capture);
    assert_eq!(records::of_type(&records, "packet").len(), 5);
}

pub(crate) fn duration() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    Recorder::start(
        &world,
        &world.server,
        &["-i", "lo", "--duration", "1s", "-o", output],
    )
    .finish();
    let records = records::read(&capture);
    assert_eq!(records::of_type(&records, "packet").len(), 0);
    assert_eq!(records::of_type(&records, "end").len(), 1);
    // A command may end earlier.
    let arguments = ["-i", "lo", "--duration", "1h", "-o", output, "--", "true"];
    Recorder::start(&world, &world.server, &arguments).finish();
    let records = records::read(&capture);
    let ends = records::of_type(&records, "end");
    assert_eq!(ends[0]["reason"], "the command ended");
}

/// A change of a tcx row waits for an RCU grace period: what passes the other interfaces
/// meanwhile, at the beginning and at the end, is no part of the recording.
pub(crate) fn duration_on_many_interfaces() {
    let world = World::without_cable();
    for number in 0..60 {
        let pair = format!("link add many{number} type veth peer name more{number}");
        world.server.ip(&pair);
    }
    let mut traffic = Command::new("python3");
    traffic.args(["-c", CHATTER]);
    let _traffic = world.start(&world.server, traffic);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "any", "--duration", "1s", "-o", output];
    let begun = Instant::now();
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let attached = begun.elapsed();
    // Not 120 names.
    let errors = recorder.errors();
    assert!(errors.contains(" and 105 more (tcx)"), "{errors}");
    recorder.finish();
    let records = records::read(&capture);
    let times = records::of_type(&records, "packet").into_iter();
    let times: Vec<_> = times.filter_map(|it| it["ts_ns"].as_i64()).collect();
    let first_and_last = times.first().zip(times.last()).expect("packets");
    let recorded = Duration::from_nanos(first_and_last.1.abs_diff(*first_and_last.0));
    // A busy machine may be late by a little.
    let longest = Duration::from_millis(1300) + attached / 3;
    assert!(
        recorded < longest,
        "{recorded:?}, of {attached:?} to attach"
    );
}

/// A byte on loopback, ten times a second.
const CHATTER: &str = "
import socket, time
listener = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(listener.getsockname())
other = listener.accept()[0]
while True:
    one.send(b'x')
    other.recv(1)
    time.sleep(0.1)
";

/// Over two interfaces of one host: each connection is told once, with the
/// owners of the ends that are on the host.
pub(crate) fn several_interfaces() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.pcapng.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        &world.server,
        &["-i", "lo", "-i", "eth0", "-o", output],
    );
    let mut inside = some_of_everything(&world, &world.server, LOOPBACK);
    let mut outside = some_of_everything(&world, &world.client, World::SERVER);
    let count = inside.connections.len();
    inside.connections.append(&mut outside.connections);
    inside.join_log(&nginx);
    outside.connections = inside.connections.split_off(count);
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    report.expect_all(&[(&inside, Ends::Both), (&outside, Ends::Server)]);
}

/// What is printed live is what is printed from the file, but for owners that
/// became known only later: those follow two spaces.
pub(crate) fn printing() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "lo", "-o", output, "--print", "-X"];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    some_of_everything(&world, &world.server, LOOPBACK).join_log(&nginx);
    world.settle();
    let live = recorder.stop().output;
    let replayed = tcprec(&world, &world.server, &["print", "-X", output])
        .expect_code(0)
        .output;
    assert!(live.contains("curl"), "{live}");
    assert!(live.contains("\n\t0x0010:  "), "{live}");
    let without_owners = |text: &str| -> Vec<String> {
        // The lines of bytes begin with a tab.
        let is_of_record = |line: &str| !line.starts_with('\t');
        let cut = |line: &str| match line.split_once("  ") {
            Some((record, _)) if is_of_record(line) => record.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(cut).collect()
    };
    assert_eq!(without_owners(&live), without_owners(&replayed));
}

/// Figures stand on a line of their own, and not where lines go on behind them.
pub(crate) fn figures_on_a_terminal() {
    const SCRIPT: &str = "
import os, pty, subprocess, sys
master, slave = pty.openpty()
recorder = subprocess.Popen(sys.argv[1:], stdout=slave, stderr=slave)
os.close(slave)
try:
    while told := os.read(master, 1000):
        sys.stdout.buffer.write(told)
except OSError:
    # All have closed it.
    pass
sys.exit(recorder.wait())
";
    let world = World::without_cable();
    let output = world.file("capture.jsonl").display().to_string();
    for (arguments, has_figures) in [
        (&["-o", &output, "--duration", "2.5"][..], true),
        (&["--analyze", "--duration", "2.5"], true),
        (&["--print", "--duration", "2.5"], false),
        (&["-o", "-", "--duration", "2.5"], false),
        (&["-o", &output, "--", "sleep", "2.5"], false),
    ] {
        let record = ["-c", SCRIPT, TCPREC, "record", "-i", "lo"];
        let arguments = [&record[..], arguments].concat();
        let ended = world.run(&world.server, "python3", &arguments);
        let told = ended.expect_code(0).output;
        let mut figures = told.split("events  0 lost\x1b[K").skip(1).peekable();
        assert_eq!(figures.peek().is_some(), has_figures, "{told}");
        assert!(figures.all(|behind| behind.starts_with('\r')), "{told}");
    }
}

/// Each misuse ends with exit code 2 and one line that names what is wrong.
pub(crate) fn misuse() {
    let world = World::without_cable();
    let output = world.file("capture.jsonl").display().to_string();
    let foreign = world.file("capture.txt").display().to_string();
    let nowhere = world.file("nowhere/capture.jsonl").display().to_string();
    // The same file by another name.
    let again = world.file("./capture.jsonl").display().to_string();
    // And by a link to it, once it is there.
    let existing = world.file("existing.jsonl").display().to_string();
    let link = world.file("link.jsonl").display().to_string();
    fs::write(&existing, "").expect("a file");
    std::os::unix::fs::symlink(&existing, &link).expect("a link");
    let cases: [(&[&str], &str); 18] = [
        (&["-o", &output, "-o", &again], "capture.jsonl: given twice"),
        (&["-o", &existing, "-o", &link], "link.jsonl: given twice"),
        (&["-o", "-", "--print"], "standard output"),
        (&["-o", &output, "-A"], "--print"),
        (&["-o", &output, "--follow-forks"], "--comm"),
        (&["-o", &output, "--comm", ""], "--comm"),
        (&["-o", &output, "-c", "0"], "at least 1"),
        (&["-o", &output, "--duration", "-5"], "10s"),
        (&["-i", "eth7", "-o", &output], "eth7"),
        (&["-o", &foreign], "capture.txt"),
        (&["-o", &nowhere], "nowhere/capture.jsonl"),
        (&["-o", &output, "--duration", "soon"], "soon"),
        // No process has a number as high (PID_MAX_LIMIT).
        (&["-o", &output, "--pid", "4194305"], "no process 4194305"),
        (
            &["-o", &output, "--cgroup", "/nowhere"],
            "no control group /nowhere",
        ),
        (
            &["-o", &output, "--uid", "tcprec-never"],
            "no user tcprec-never",
        ),
        (&["-nr", &existing], "`tcprec print`"),
        (
            &["-o", &output, "-nnz", "gzip"],
            "tcprec: -z is not supported",
        ),
        (&["-o", &output, "inbound"], "-Q in"),
    ];
    for (arguments, named) in cases {
        let arguments = [&["record", "-i", "lo"], arguments].concat();
        let ended = tcprec(&world, &world.server, &arguments).expect_code(2);
        let first = ended.errors.lines().next().unwrap_or_default();
        assert!(first.contains(named), "{arguments:?}: {}", ended.errors);
    }
    // Behind `--` stands a command, and no value.
    let unknown = ["record", "-i", "lo", "-o", &output, "-Y"];
    let ended = tcprec(&world, &world.server, &unknown).expect_code(2);
    assert!(ended.errors.contains("'-Y'"), "{}", ended.errors);
    assert!(!ended.errors.contains("as a value"), "{}", ended.errors);
    let nobody = ["top", "--pid", "4194305"];
    let ended = tcprec(&world, &world.server, &nobody).expect_code(2);
    assert_eq!(ended.errors, "tcprec: there is no process 4194305\n");
    // As `top -H` and `ps -L` tell it: sockets are of processes.
    thread::scope(|scope| {
        scope.spawn(|| {
            let thread = gettid().to_string();
            for arguments in [&["record", "-o", &output][..], &["top"]] {
                let arguments = [arguments, &["--pid", &thread]].concat();
                let ended = tcprec(&world, &world.server, &arguments).expect_code(2);
                let told = format!("{thread} is a thread of process {}", process::id());
                assert!(ended.errors.contains(&told), "{}", ended.errors);
            }
        });
    });
}

/// Each option stands in a group, and examples at the end.
pub(crate) fn help() {
    let world = World::without_cable();
    for option in ["-h", "--help"] {
        let ended = tcprec(&world, &world.server, &["record", option]).expect_code(0);
        let groups: Vec<_> = ended.output.lines().collect();
        let groups = groups.split(|line| line.is_empty());
        let groups: Vec<_> = groups.filter_map(|lines| lines.first()).collect();
        let ungrouped = ended.output.split("\n\nWhat to record:\n").next();
        let ungrouped = ungrouped.unwrap_or_default().matches(" --").count();
        assert_eq!(ungrouped, 2, "{}", ended.output);
        assert_eq!(groups.last(), Some(&&"Examples:"), "{}", ended.output);
    }
}

pub(crate) fn not_root() {
    const NOBODY: u32 = 65_534;
    let world = World::without_cable();
    // Where nobody may read it.
    let program = world.copy(TCPREC, "tcprec");
    let folder = Command::new("chmod")
        .args(["-R", "a+rx"])
        .arg(world.folder())
        .status();
    assert!(folder.expect("chmod").success());
    let mut command = Command::new(program);
    command
        .args(["record", "-i", "lo", "-o", "-"])
        .uid(NOBODY)
        .gid(NOBODY);
    let ended = world.start(&world.server, command).finish().expect_code(2);
    assert!(ended.errors.contains("root"), "{}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert_eq!(ended.output, "");
}
