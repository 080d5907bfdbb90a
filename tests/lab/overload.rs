//! More than the recorder can take: what it misses it counts, exactly. What
//! there was to see is told by the kernel's own count of the interface.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::process::Process;
use crate::recorder::{Recorder, convert};
use crate::records::{self, of_type};
use crate::world::World;

/// Connections made, one after the other, each with a flood of small packets.
const CONNECTIONS: usize = 20;
/// How often a message goes to and fro in each.
const ROUNDS: usize = 500;

/// Sends many small packets over the loopback interface.
fn flood(world: &World) {
    flood_with(world, b"x");
}

/// The same, with this in each.
fn flood_with(world: &World, message: &[u8]) {
    world.server.enter(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let address = listener.local_addr().expect("an address");
        for _ in 0..CONNECTIONS {
            let mut here = TcpStream::connect(address).expect("a connection");
            let (mut there, _) = listener.accept().expect("the other end");
            let mut message = message.to_vec();
            for _ in 0..ROUNDS {
                here.write_all(&message).expect("writing");
                there.read_exact(&mut message).expect("reading");
                there.write_all(&message).expect("writing");
                here.read_exact(&mut message).expect("reading");
            }
        }
    });
    world.settle();
}

/// The same while the recorder stands still: what a fast one might take of a ring
/// of a few packets depends on the machine.
fn flood_unread(world: &World, recorder: &Recorder) {
    recorder.pause();
    flood(world);
    recorder.go_on();
}

/// How many packets the loopback interface has sent.
fn sent_packets(world: &World) -> u64 {
    let table = world
        .server
        .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))
        .expect("the table of interfaces");
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    // Eight columns of what was received come first.
    let column = line.and_then(|line| line.split_whitespace().nth(9));
    column.expect("a count").parse().expect("a number")
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_nanos()).expect("before 2262")
}

fn number(record: &Value, field: &str) -> u64 {
    record[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {record}"))
}

/// What the losses of a capture add up to, when nothing else was in the way.
struct Books {
    records: Vec<Value>,
    /// Lost packets by cause.
    lost: BTreeMap<String, u64>,
}

impl Books {
    /// Reads a capture and holds it against what there was to see.
    fn check(capture: &Path, sent: u64, between_ns: [i64; 2]) -> Self {
        let records = records::read(capture);
        let end = records.last().expect("a last record");
        assert_eq!(end["type"], "end");
        let packets = of_type(&records, "packet").len() as u64;
        let mut lost = BTreeMap::new();
        for loss in of_type(&records, "loss") {
            let text = |field: &str| loss[field].as_str().expect("a word").to_owned();
            let count = number(loss, "count");
            // The kernel tells of a missed program neither where nor when exactly.
            if text("cause") != "recursion" {
                // Of this host: the tests may have some of them only.
                let cpus = libbpf_rs::num_possible_cpus().expect("how many CPUs there are");
                assert!(number(loss, "cpu") < cpus as u64, "{loss}");
            }
            let [first, last] =
                ["first_ns", "last_ns"].map(|field| loss[field].as_i64().expect("a time"));
            assert!(between_ns[0] <= first && last <= between_ns[1], "{loss}");
            assert!(first <= last && (count > 1 || first == last), "{loss}");
            match text("lost").as_str() {
                "packets" => {
                    // Ethernet, IPv4 and TCP headers, as the least.
                    assert!(number(loss, "bytes") >= count * 54, "{loss}");
                    *lost.entry(text("cause")).or_default() += count;
                }
                // Programs that anyone started while the recorder stood still.
                "processes" => {}
                what => panic!("lost {what}: {loss}"),
            }
        }
        let all_lost: u64 = lost.values().sum();
        assert_eq!(packets + all_lost, sent, "recorded + lost = seen; {end}");
        assert_eq!(number(end, "seen_packets"), sent, "{end}");
        assert_eq!(number(end, "recorded_packets"), packets, "{end}");
        assert_eq!(number(end, "lost_packets"), all_lost, "{end}");
        Self { records, lost }
    }

    /// Both ends of each connection of the flood are told from their beginning
    /// to their end, and nothing of it was lost.
    fn expect_all_events(&self, world: &World) {
        let end = self.records.last().expect("a last record");
        assert_eq!(end["lost_events"], 0, "{end}");
        let netns = world.server.inode();
        let count = |kind, state: Option<&str>| {
            let of_kind = of_type(&self.records, kind).into_iter();
            of_kind
                .filter(|event| event["netns"] == netns)
                .filter(|event| state.is_none_or(|state| event["new_state"] == state))
                .count()
        };
        assert_eq!(count("connect", None), CONNECTIONS);
        assert_eq!(count("accept", None), CONNECTIONS);
        assert_eq!(count("state", Some("established")), 2 * CONNECTIONS);
        // The listener's too.
        assert_eq!(count("close", None), 2 * CONNECTIONS + 1);
    }
}

/// A ring that is far too small: packets are lost, but no event.
pub(crate) fn small_buffer() {
    for (hook, transport) in [
        ("tcx", "auto"),
        ("socket-filter", "auto"),
        ("tcx", "ring"),
        ("socket-filter", "ring"),
        ("tcx", "perf"),
        ("socket-filter", "perf"),
    ] {
        let world = World::without_cable();
        let capture = world.file("capture.jsonl");
        let output = capture.display().to_string();
        let began = now_ns();
        let recorder = Recorder::start(
            &world,
            &world.server,
            &[
                "-i",
                "lo",
                "--hook",
                hook,
                "--transport",
                transport,
                "--buffer",
                "1k",
                "-o",
                &output,
            ],
        );
        let before = sent_packets(&world);
        flood_unread(&world, &recorder);
        let ended = recorder.stop();
        assert!(
            !ended.errors.contains("unaccounted for"),
            "{}",
            ended.errors
        );
        assert!(ended.errors.contains("--buffer"), "{}", ended.errors);
        let sent = sent_packets(&world) - before;
        let books = Books::check(&capture, sent, [began, now_ns()]);
        let causes: Vec<_> = books.lost.keys().collect();
        assert_eq!(causes, ["ring_full"], "{hook} {transport}");
        books.expect_all_events(&world);
    }
}

/// The same in pcapng, as Wireshark's own tools read it.
pub(crate) fn losses_in_pcapng() {
    let world = World::without_cable();
    let names = ["capture.pcapng", "capture.pcapng.zst"];
    let outputs = names.map(|name| world.file(name).display().to_string());
    let began = now_ns();
    let recorder = Recorder::start(
        &world,
        &world.server,
        &[
            "-i",
            "lo",
            "--buffer",
            "1k",
            "-o",
            &outputs[0],
            "-o",
            &outputs[1],
        ],
    );
    let before = sent_packets(&world);
    flood_unread(&world, &recorder);
    flood(&world);
    recorder.stop();
    let sent = sent_packets(&world) - before;
    for output in &outputs {
        let back = world.file("back.jsonl");
        convert(&world, Path::new(output), &back);
        let books = Books::check(&back, sent, [began, now_ns()]);
        let lost: u64 = books.lost.values().sum();
        assert!(lost > 0);
        // Each packet tells how many were lost before it; those after the last
        // packet are in the statistics only.
        let fields = ["-T", "fields", "-e", "frame.drop_count"];
        let arguments = [&["-n", "-r", output, "-Y", "tcp"], &fields[..]].concat();
        let shown = world
            .run(&world.server, "tshark", &arguments)
            .expect_code(0);
        let dropped = shown
            .output
            .lines()
            .filter_map(|line| line.parse::<u64>().ok());
        let after: u64 = lost_after_last_packet(&books.records);
        assert_eq!(dropped.sum::<u64>() + after, lost, "{output}");
        // As a file, not as packets: the statistics are no packet.
        if output.ends_with(".zst") {
            continue;
        }
        let as_file = [
            "-X",
            "read_format:MIME Files Format",
            "-V",
            "-n",
            "-r",
            output,
        ];
        let shown = world.run(&world.server, "tshark", &as_file).expect_code(0);
        for (name, count) in [
            ("Number of Received Packets", sent),
            ("Number of Dropped Packets", lost),
            ("Number of Packets Dropped by OS", lost),
        ] {
            assert!(
                shown.output.contains(&format!("{name} = {count}\n")),
                "{name}: {count}"
            );
        }
    }
}

fn lost_after_last_packet(records: &[Value]) -> u64 {
    let tail = records
        .iter()
        .rev()
        .take_while(|record| record["type"] != "packet");
    let losses = tail.filter(|record| record["type"] == "loss" && record["lost"] == "packets");
    losses.map(|loss| number(loss, "count")).sum()
}

/// A pipe into a file, through a program.
struct Pipe {
    path: PathBuf,
    to: PathBuf,
    reader: Process,
}

impl Pipe {
    /// `script` is given the pipe and the file.
    fn new(world: &World, program: &str, arguments: &[&str]) -> Self {
        let path = world.file("pipe.jsonl");
        let to = world.file("capture.jsonl");
        let name = path.display().to_string();
        world.run(&world.server, "mkfifo", &[&name]).expect_code(0);
        let mut command = Command::new(program);
        command.args(arguments).arg(&path).arg(&to);
        Self {
            reader: world.start(&world.server, command),
            path,
            to,
        }
    }

    fn record(&self, world: &World, transport: &str) -> Recorder {
        let output = self.path.display().to_string();
        let arguments = ["-i", "lo", "--buffer", "64k", "--transport", transport];
        let arguments = [&arguments[..], &["-o", &output]].concat();
        Recorder::start(world, &world.server, &arguments)
    }
}

/// Much more waits than the recorder takes at one look, packets and events: all goes
/// to the file in the order of time.
pub(crate) fn much_at_once() {
    for transport in ["auto", "ring", "perf"] {
        let world = World::without_cable();
        let capture = world.file("capture.jsonl");
        let output = capture.display().to_string();
        let arguments = ["-i", "lo", "-s", "0", "--buffer", "64M"];
        let arguments = [&arguments[..], &["--transport", transport, "-o", &output]].concat();
        let recorder = Recorder::start(&world, &world.server, &arguments);
        recorder.pause();
        flood_with(&world, &[b'x'; 1000]);
        recorder.go_on();
        recorder.stop();
        let records = records::read(&capture);
        let timed = records
            .iter()
            .filter(|record| record["type"] == "packet" || record["netns"].is_number())
            .filter(|record| record["type"] != "scan");
        let times: Vec<_> = timed
            .filter_map(|record| record["ts_ns"].as_u64())
            .collect();
        let bytes = fs::metadata(&capture).expect("a file").len();
        // What the others may keep is shared by all CPUs that a machine can have.
        let must_be_much = transport == "ring";
        assert!(
            !must_be_much || bytes > 16 << 20,
            "only {bytes} bytes waited"
        );
        let backwards = times.windows(2).position(|pair| pair[0] > pair[1]);
        assert_eq!(backwards, None, "{transport}: of {} records", times.len());
    }
}

/// What reads the recording stands still for a while: the losses have the times
/// of that while.
pub(crate) fn stopped_reader() {
    for transport in ["auto", "ring", "perf"] {
        let world = World::without_cable();
        let pipe = Pipe::new(&world, "cp", &[]);
        let recorder = pipe.record(&world, transport);
        let before = sent_packets(&world);
        let stopped_ns = now_ns();
        pipe.reader.pause();
        flood(&world);
        pipe.reader.go_on();
        recorder.stop();
        let sent = sent_packets(&world) - before;
        pipe.reader.finish().expect_code(0);
        let books = Books::check(&pipe.to, sent, [stopped_ns, now_ns()]);
        let causes: Vec<_> = books.lost.keys().collect();
        assert_eq!(causes, ["ring_full"], "{transport}");
        books.expect_all_events(&world);
    }
}

/// What reads the recording stands still, and the kernel has more to tell of than its ring
/// for that holds.
pub(crate) fn events_wait() {
    const CONNECTIONS: usize = 4500;
    const CONNECT: &str = "\
import socket, sys, time

listener = socket.create_server(('127.0.0.1', 4999))
for number in range(int(sys.argv[1])):
    # A recorder that has no CPU for a while loses them as well.
    if number % 100 == 0:
        time.sleep(0.05)
    client = socket.create_connection(('127.0.0.1', 4999))
    server, _ = listener.accept()
    # Without TIME-WAIT: there are fewer ports.
    linger = bytes([1, 0, 0, 0, 0, 0, 0, 0])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.close()
    server.close()
";
    let world = World::without_cable();
    let pipe = Pipe::new(&world, "cp", &[]);
    let recorder = pipe.record(&world, "auto");
    pipe.reader.pause();
    let count = CONNECTIONS.to_string();
    world
        .run(&world.server, "python3", &["-c", CONNECT, &count])
        .expect_code(0);
    pipe.reader.go_on();
    recorder.stop();
    pipe.reader.finish().expect_code(0);
    let records = records::read(&pipe.to);
    let end = records.last().expect("a last record");
    assert_eq!(end["lost_events"], 0, "{end}");
    for kind in ["connect", "accept"] {
        assert_eq!(of_type(&records, kind).len(), CONNECTIONS, "{kind}");
    }
}

/// What takes the recording is slower than what is to be recorded.
pub(crate) fn slow_output() {
    // However fast this machine is with either: it takes the records of a dozen packets
    // while two hundred come.
    const SLOWLY: &str = "\
import os, sys, time

def sent():
    with open('/proc/self/net/dev') as table:
        return next(int(line.split()[2]) for line in table if 'lo:' in line)

over, pipe, to = sys.argv[1], os.open(sys.argv[2], os.O_RDONLY), open(sys.argv[3], 'wb')
while piece := os.read(pipe, 4096):
    to.write(piece)
    enough = sent() + 200
    while sent() < enough and not os.path.exists(over):
        time.sleep(0.001)
";
    let world = World::without_cable();
    let over = world.file("over").display().to_string();
    let pipe = Pipe::new(&world, "python3", &["-c", SLOWLY, &over]);
    let began = now_ns();
    let recorder = pipe.record(&world, "ring");
    let before = sent_packets(&world);
    flood(&world);
    fs::write(&over, "").expect("a file");
    recorder.stop();
    let sent = sent_packets(&world) - before;
    pipe.reader.finish().expect_code(0);
    let books = Books::check(&pipe.to, sent, [began, now_ns()]);
    let causes: Vec<_> = books.lost.keys().collect();
    assert_eq!(causes, ["ring_full"]);
    books.expect_all_events(&world);
}
