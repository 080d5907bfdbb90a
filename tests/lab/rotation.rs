//! Recordings that go on in another file: nothing is lost between them, each
//! stands alone, and together they are one capture.

use std::fs;
use std::path::PathBuf;

use crate::netns::Namespace;
use crate::owners::Script;
use crate::process::wait_until;
use crate::recorder::{Recorder, analyze, tcprec};
use crate::records;
use crate::report::{Ends, Owner, Report};
use crate::traffic::some_of_everything;
use crate::web::{Nginx, Traffic};
use crate::world::World;

const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// The files of a series in the order they were written. A recorder that is killed as it
/// begins one leaves it empty.
fn files(world: &World, stem: &str, extension: &str) -> Vec<PathBuf> {
    let is_begun = |path: &PathBuf| fs::metadata(path).expect("a file").len() > 0;
    let mut files: Vec<_> = (names(world, stem, extension).into_iter())
        .filter(is_begun)
        .map(|path| (sequence(&analyze(world, &path)), path))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// These files, in no order; the newest may be empty yet.
fn names(world: &World, stem: &str, extension: &str) -> Vec<PathBuf> {
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let middle = name
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_suffix(extension));
        middle.is_some_and(|middle| middle.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let folder = fs::read_dir(world.folder()).expect("the folder");
    let paths = folder.map(|entry| entry.expect("a file").path());
    paths.filter(is_part).collect()
}

fn capture(report: &Report, field: &str) -> serde_json::Value {
    let capture = report.of_kind("capture").next();
    capture.map_or(serde_json::Value::Null, |capture| capture[field].clone())
}

fn number(report: &Report, field: &str) -> u64 {
    capture(report, field).as_u64().unwrap_or(u64::MAX)
}

fn sequence(report: &Report) -> u64 {
    number(report, "sequence")
}

/// Connections that last over several files, and such that do not.
fn much_of_everything(world: &World, host: &Namespace) -> Traffic {
    let mut traffic = some_of_everything(world, host, LOOPBACK);
    let targets: Vec<_> = (0..400).map(|item| format!("/item/{item}")).collect();
    for server in LOOPBACK {
        traffic.fetch(world, host, server, &targets);
    }
    traffic
}

/// In each format: what was done is in the files together, to the last; and in
/// each file alone all that it has is whole, with its owners.
pub(crate) fn by_size() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let extensions = [".jsonl", ".jsonl.zst", ".pcapng", ".pcapng.zst"];
    let outputs =
        extensions.map(|extension| world.file(&format!("cap{extension}")).display().to_string());
    let mut arguments = vec!["-i", "lo", "-C", "10k"];
    arguments.extend(outputs.iter().flat_map(|path| ["-o", path]));
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let mut traffic = much_of_everything(&world, &world.server);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    for extension in extensions {
        let parts = files(&world, "cap", extension);
        let [others @ .., last] = &parts[..] else {
            panic!("no file with {extension}");
        };
        assert!(!others.is_empty(), "one file with {extension}");
        let mut packets = 0;
        for part in &parts {
            let report = analyze(&world, part);
            let expected = if part == last {
                "complete"
            } else {
                "continued"
            };
            assert_eq!(capture(&report, "ending"), expected, "{}", part.display());
            packets += number(&report, "packets");
            for connection in report.of_kind("conn") {
                let served = connection["id.resp_p"] == 80;
                let owners = [("orig", "curl"), ("resp", "nginx")];
                for (end, comm) in owners.iter().take(if served { 2 } else { 1 }) {
                    let owner = Owner::of(connection, end).map(|owner| owner.comm);
                    assert_eq!(owner.as_deref(), Some(*comm), "{end} of {connection}");
                }
            }
        }
        // All files at once, away from those of other formats.
        let folder = world.file(&format!("all{extension}"));
        fs::create_dir(&folder).expect("a folder");
        for part in &parts {
            let name = part.file_name().expect("a name");
            fs::rename(part, folder.join(name)).expect("another place for a file");
        }
        let report = analyze(&world, &folder.join("cap"));
        report.expect(&traffic, Ends::Both);
        assert_eq!(number(&report, "files"), parts.len() as u64);
        assert_eq!(number(&report, "packets"), packets);
        assert_eq!(capture(&report, "ending"), "complete");
        for field in ["missing_files", "unfinished_files"] {
            assert_eq!(number(&report, field), 0, "{field}");
        }
        let totals = capture(&report, "totals");
        assert_eq!(totals["recorded_packets"], packets);
        assert_eq!(totals["recorded_events"], {
            number(&report, "events") + number(&report, "scanned_sockets")
        });
    }
}

/// The oldest file makes room; what the files that are left say of themselves
/// is true.
pub(crate) fn ring() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let output = world.file("cap.jsonl").display().to_string();
    let arguments = ["-i", "lo", "-C", "100k", "-W", "3", "-o", &output];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    much_of_everything(&world, &world.server);
    world.settle();
    let errors = recorder.stop().errors;
    let parts = files(&world, "cap", ".jsonl");
    assert_eq!(parts.len(), 3);
    let bytes = |part: &PathBuf| fs::metadata(part).expect("a file").len();
    let kilobytes = parts.iter().map(bytes).sum::<u64>() / 1000;
    // Three digits, rounded.
    let expected =
        [kilobytes, kilobytes + 1].map(|kilobytes| format!("the last 3 kept ({kilobytes} kB)"));
    assert!(
        expected.iter().any(|expected| errors.contains(expected)),
        "{expected:?}: {errors}"
    );
    for part in &parts {
        // A file is looked at before each record, and written 128 KiB at once.
        assert!(bytes(part) < 300_000, "{}", part.display());
    }
    let report = analyze(&world, &world.file("cap"));
    assert_eq!(capture(&report, "ending"), "complete");
    let written = number(&report, "missing_files") + 3;
    assert!(written > 3, "{written} files");
    let last = analyze(&world, &parts[2]);
    assert_eq!(sequence(&last) + 1, written);
}

/// Killed and begun again, it goes on in the same ring: what was there stays, and is read
/// with what came later, until it is the oldest.
pub(crate) fn begun_again() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    let cap = world.file("cap");
    let output = world.file("cap.jsonl.zst").display().to_string();
    let start = || {
        let arguments = ["-i", "lo", "-C", "8k", "-W", "6", "-o", &output];
        Recorder::start(&world, &world.server, &arguments)
    };
    let fetch = |requests| {
        let targets: Vec<_> = (0..requests).map(|item| format!("/item/{item}")).collect();
        Traffic::default().fetch(&world, &world.server, LOOPBACK[0], &targets);
        world.settle();
    };
    let requests = || analyze(&world, &cap).of_kind("http").count();
    let contents = || {
        let files = files(&world, "cap", ".jsonl.zst").into_iter();
        let contents = files.map(|path| (fs::read(&path).expect("a file"), path));
        contents.collect::<Vec<_>>()
    };
    let recorder = start();
    fetch(100);
    wait_until("all is written", || {
        // What is written at this moment may be there in part.
        let arguments = ["analyze", "--format", "jsonl", &cap.display().to_string()];
        let report = Report::parse(&tcprec(&world, &world.server, &arguments).output);
        report.of_kind("http").count() == 100
    });
    recorder.kill();
    let left = contents();
    assert!(left.len() > 1, "{} files", left.len());
    let newest = left.last().expect("a file").1.display().to_string();

    let recorder = start();
    fetch(50);
    let errors = recorder.stop().errors;
    let told = format!("continuing behind {newest}, left by an earlier recording");
    assert!(errors.contains(&told), "{errors}");
    let now = contents();
    assert!(left.iter().all(|file| now.contains(file)), "{now:?}");
    assert_eq!(requests(), 150);
    let report = analyze(&world, &cap);
    assert_eq!(capture(&report, "several_recordings"), true);
    assert_eq!(number(&report, "missing_files"), 0);

    let recorder = start();
    fetch(1000);
    recorder.stop();
    let now = contents();
    assert_eq!(now.len(), 6);
    assert!(!left.iter().any(|file| now.contains(file)));
}

/// It ends by itself, after as many files as it may write, though nothing happens.
pub(crate) fn by_time() {
    let world = World::without_cable();
    let output = world.file("cap-%s.jsonl.zst").display().to_string();
    let arguments = ["-i", "lo", "-G", "1", "-W", "3", "-o", &output];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let ended = recorder.finish();
    assert!(
        ended.errors.contains("all files written"),
        "{}",
        ended.errors
    );
    let report = analyze(&world, &world.file("cap"));
    assert_eq!(number(&report, "files"), 3);
    assert_eq!(number(&report, "missing_files"), 0);
    assert_eq!(capture(&report, "ending"), "complete");
}

/// Aborts connections at either end, also before they are accepted; one stays open.
const ABORT: &str = "
abort = struct.pack('ii', 1, 0)
listener = listen()
def ends():
    asked = socket.create_connection((LOCAL, port_of(listener)))
    return asked, listener.accept()[0]
for number in range(60):
    for end in ends():
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
        end.close()
    # What is not read makes an abort of a close.
    asked, served = ends()
    served.sendall(b'unread')
    select.select([asked], [], [])
    asked.close()
    served.close()
    gone = socket.create_connection((LOCAL, port_of(listener)))
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
    gone.close()
    listener.accept()[0].close()
asked, served = ends()
tell(port_of(asked), os.getpid(), os.getpid())
pause()
";

/// What is closed stands at the head of no later file, whatever the kernel tells of it
/// after its end.
pub(crate) fn closed_sockets() {
    let world = World::without_cable();
    let output = world.file("cap.jsonl").display().to_string();
    let arguments = ["-i", "lo", "-G", "1", "-o", &output];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let script = Script::start(&world, &world.server, ABORT);
    wait_until("all is aborted", || world.file("ready").exists());
    // Events may be on their way when the next one begins.
    let after_next = names(&world, "cap", ".jsonl").len() + 1;
    let after_next = world.file(&format!("cap.{after_next}.jsonl"));
    wait_until("two more files began", || after_next.exists());
    recorder.stop();
    fs::write(world.file("go"), "").expect("a file");
    script.finish();
    let parts = files(&world, "cap", ".jsonl");
    let records = records::read(parts.last().expect("a file"));
    let scan = records::of_type(&records, "scan");
    let states: Vec<_> = scan.iter().map(|it| &it["new_state"]).collect();
    assert_eq!(states, ["listen", "established", "established"]);
}

/// Many connections that stay open, and messages on one of them.
const MANY_OPEN: &str = "
listener = listen()
ends = []
for _ in range(150):
    ends.append(socket.create_connection((LOCAL, port_of(listener))))
    ends.append(listener.accept()[0])
for _ in range(1000):
    ends[0].sendall(b'a message')
    ends[1].recv(16)
tell(port_of(ends[0]), os.getpid(), os.getpid())
";

/// However many sockets are open, and so stand at the head of each file, half of a
/// file at least is what happened since.
pub(crate) fn many_sockets() {
    let world = World::without_cable();
    let output = world.file("cap.jsonl").display().to_string();
    let arguments = ["-i", "lo", "-C", "20k", "-o", &output];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    Script::run(&world, &world.server, MANY_OPEN);
    world.settle();
    recorder.stop();
    let parts = files(&world, "cap", ".jsonl");
    let [_, whole @ .., _] = &parts[..] else {
        panic!("{} files", parts.len());
    };
    assert!(whole.len() > 3, "{whole:?}");
    for part in whole {
        let text = fs::read_to_string(part).expect("a file");
        let is_scan = |line: &&str| line.starts_with(r#"{"type":"scan""#);
        let head = text.lines().filter(is_scan).map(str::len).sum::<usize>();
        assert!(2 * head < text.len(), "{}: {head}", part.display());
    }
}

pub(crate) fn misuse() {
    let world = World::without_cable();
    let output = world.file("cap.jsonl").display().to_string();
    for (arguments, expected) in [
        (&["-W", "3", "-o", &output][..], "-C or -G"),
        (&["-C", "1", "-o", "-"], "standard output"),
        (&["-G", "1", "-o", "%!.jsonl"], "%!.jsonl"),
        (&["-C", "1T", "-o", &output], "unit"),
    ] {
        let arguments = [&["record", "-i", "lo"], arguments].concat();
        let ended = tcprec(&world, &world.server, &arguments).expect_code(2);
        assert!(ended.errors.contains(expected), "{}", ended.errors);
    }
}
