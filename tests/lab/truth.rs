//! What is found where packets are lost on the way, ports run out and a client
//! dawdles: what the test made happen, as long as it lasted, and nothing else.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::report::Report;
use crate::tun::TunCable;
use crate::world::World;

/// The segment with this in it is lost twice, so that the server waits for its
/// retransmission timeout. More comes behind it: the client sees that it lacks.
const TWICE: &[u8] = b"lost twice";
/// Stands once in each kilobyte of a body: some of the segments are lost once.
const HOLE: &[u8] = b"a hole";
/// So many of them: more than an initial window (RFC 6928), and not all that
/// is on the way, so that duplicate ACKs tell of the loss.
const HOLES: usize = 12;
/// Nobody hears what is sent to this port.
const DEAF_PORT: u16 = 9;

/// How exactly the cable's times are told on a machine that has other things to do.
const TOLERANCE: f64 = 0.25;

/// So many scenes are played at most, until one shows the timeout of the loss and no other.
const ATTEMPTS: u32 = 5;
/// The kernel's shortest timeout is longer (TCP_RTO_MIN); duplicate ACKs are faster.
const TIMEOUT: Duration = Duration::from_millis(150);

/// Answers with a body of 300 kB, 12 kB or 10 bytes, for what is lost of it.
const SERVER: &str = "
import socket, threading

bodies = {
    '/holes': b'a hole'.ljust(3000, b'.') * 100,
    '/twice': b'.' * 8000 + b'lost twice' + b'.' * 4000,
}

def web(client):
    lines = client.makefile('rb')
    while line := lines.readline():
        while lines.readline().strip():
            pass
        body = bodies.get(line.split()[1].decode(), b'.' * 10)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)
    lines.close()
    client.close()

listener = socket.create_server(('', 8080))
while True:
    client, _ = listener.accept()
    threading.Thread(target=web, args=[client], daemon=True).start()
";

/// Asks for all of it, then for one that is fine, from few ports. Says between which times
/// it took to send the request that it dawdled over.
const CLIENT: &str = "
import errno, socket, time

def use_ports(range):
    with open('/proc/sys/net/ipv4/ip_local_port_range', 'w') as file:
        file.write(range)

def connect(port, patience=None):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.settimeout(patience)
    client.connect(('10.77.0.2', port))
    return client

def ask(*parts):
    client = connect(8080)
    times = []
    for part in parts:
        if times:
            time.sleep(1.3)
        times.append(time.monotonic())
        client.sendall(part)
        times.append(time.monotonic())
    client.shutdown(socket.SHUT_WR)
    while client.recv(100_000):
        pass
    client.close()
    return times

use_ports('40000 49999')
rest = b' HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n'
for path in [b'/fine', b'/twice', b'/holes', b'/fine']:
    ask(b'GET ' + path + rest)
times = ask(b'GET /dawdled', rest)
print(times[2] - times[1], times[3] - times[0])
try:
    connect(9, 3.5)
except TimeoutError:
    print('unanswered')
use_ports('50000 50001')
held = [connect(8080), connect(8080)]
try:
    connect(8080)
except OSError as error:
    print(errno.errorcode[error.errno])
for client in held:
    client.shutdown(socket.SHUT_WR)
    client.recv(1)
    client.close()
";

/// What was lost, by what is in it: when each time.
#[derive(Debug, Default)]
struct Lost {
    twice: Vec<Instant>,
    /// When that came through.
    repaired: Option<Instant>,
    /// The segments with holes, by sequence number.
    holes: HashMap<u32, Instant>,
    /// How often each segment came along here and when at last, by the port that it went
    /// to and its sequence number; those that take none are not among them.
    sent: HashMap<(u16, u32), (u64, Instant)>,
    /// Another timeout than that for what was lost twice: on a busy machine an answer may
    /// come late.
    has_other_timeout: bool,
}

impl Lost {
    /// Whether an IPv4 packet is carried on.
    fn passes(&mut self, packet: &[u8]) -> bool {
        const TCP: u8 = 6;
        const FIN_SYN: u8 = 3;
        if packet.first() != Some(&0x45) || packet.get(9) != Some(&TCP) {
            return true;
        }
        let word = |at: usize| packet.get(at..at + 4).and_then(|it| it.first_chunk::<4>());
        let port = |at: usize| packet.get(at..at + 2).and_then(|it| it.first_chunk::<2>());
        if port(22).is_some_and(|port| u16::from_be_bytes(*port) == DEAF_PORT) {
            return false;
        }
        let has = |what: &[u8]| packet.windows(what.len()).any(|bytes| bytes == what);
        let number = word(24).map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let headers = 20 + usize::from(packet.get(32).map_or(0, |byte| byte >> 4)) * 4;
        let is_fin_syn = packet.get(33).is_some_and(|flags| flags & FIN_SYN != 0);
        if let Some(to) = port(22).filter(|_| is_fin_syn || packet.len() > headers) {
            let to = u16::from_be_bytes(*to);
            let now = Instant::now();
            let (times, last) = self.sent.entry((to, number)).or_insert((0, now));
            self.has_other_timeout |= last.elapsed() >= TIMEOUT && !has(TWICE);
            *times += 1;
            *last = now;
        }
        if has(TWICE) {
            if self.twice.len() < 2 {
                self.twice.push(Instant::now());
                return false;
            }
            self.repaired.get_or_insert_with(Instant::now);
        }
        if has(HOLE) && self.holes.len() < HOLES && !self.holes.contains_key(&number) {
            self.holes.insert(number, Instant::now());
            return false;
        }
        true
    }

    /// How many segments were sent again to this port.
    fn sent_again(&self, port: u16) -> u64 {
        let to_port = self.sent.iter().filter(|((to, _), _)| *to == port);
        to_port.map(|(_, (times, _))| times - 1).sum()
    }

    /// From the second loss to the repair.
    fn stalled(&self) -> Duration {
        match (self.twice.last(), self.repaired) {
            (Some(lost), Some(repaired)) => repaired.duration_since(*lost),
            _ => panic!("nothing was lost twice and repaired: {self:?}"),
        }
    }
}

pub(crate) fn losses() {
    let is_judged = (0..ATTEMPTS).any(|_| is_judged());
    assert!(
        is_judged,
        "the machine was in the way of all {ATTEMPTS} scenes"
    );
}

/// Plays the scene and judges the reports. False where there were other timeouts, or the
/// client could not tell the one from a way that was as long.
fn is_judged() -> bool {
    let lost = Arc::new(Mutex::new(Lost::default()));
    let world = World::without_cable();
    let losing = Arc::clone(&lost);
    let _cable = TunCable::losing(&world.client, &world.server, move |packet| {
        losing.lock().expect("no panic").passes(packet)
    });
    world.give_addresses();
    // Each segment is a packet, so that each retransmission can be counted.
    world.server.ip("link set eth0 gso_max_segs 1");
    let mut command = Command::new("python3");
    command.args(["-c", SERVER]);
    let server = world.start(&world.server, command);
    wait_until("the server listens", || world.server.listeners(8080) == 1);
    let hosts = [&world.client, &world.server];
    let captures = ["client.jsonl", "server.jsonl"].map(|name| world.file(name));
    let recorders = [0, 1].map(|at| {
        let output = captures[at].to_str().expect("a path in UTF-8");
        Recorder::start(&world, hosts[at], &["-i", "eth0", "-o", output])
    });
    let client = world.run(&world.client, "python3", &["-c", CLIENT]);
    let client = client.expect_code(0);
    let dawdled = client.output.strip_suffix("unanswered\nEADDRNOTAVAIL\n");
    let dawdled = dawdled.expect("nobody answers one, and one has no port");
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    server.stop();
    let lost = lost.lock().expect("no panic");
    if lost.has_other_timeout {
        return false;
    }
    let [at_client, at_server] = captures.map(|capture| analyze(&world, &capture));
    let is_timeout = |finding: &Value| finding["finding"] == "timeout";
    if !at_client.of_kind("finding").any(is_timeout) {
        return false;
    }
    expect_at_client(&at_client, dawdled);
    expect_at_server(&at_server, &lost);
    true
}

/// Findings by word, whose doing they are, and how long they took. (A busy machine
/// may make a server slow, and a client slow to read.)
fn found(report: &Report) -> HashMap<&str, (Option<&str>, f64)> {
    let findings = report.of_kind("finding");
    let findings = findings.filter(|finding| {
        let word = finding["finding"].as_str().expect("a word");
        !["slow_server", "zero_window"].contains(&word)
    });
    let findings = findings.map(|finding| {
        assert_eq!(finding["count"], 1, "{finding}");
        let word = finding["finding"].as_str().expect("a word");
        let seconds = finding["duration"].as_f64().expect("seconds");
        (word, (finding["end"].as_str(), seconds))
    });
    findings.collect()
}

fn expect_words(found: &HashMap<&str, (Option<&str>, f64)>, expected: &[(&str, Option<&str>)]) {
    let mut words: Vec<_> = found.iter().map(|(word, (end, _))| (*word, *end)).collect();
    words.sort_unstable();
    assert_eq!(words, expected, "{found:?}");
}

/// The client cannot know what was lost before it came; it knows that it waited.
/// What fills a hole sooner than the shortest way to the server and back that it saw
/// may have been overtaken: on a busy machine all ways that it saw may be long.
fn expect_at_client(report: &Report, dawdled: &str) {
    let mut found = found(report);
    if let Some((end, _)) = found.remove("retransmissions") {
        assert_eq!(end, Some("resp"));
    }
    let expected = [
        ("no_free_port", Some("orig")),
        ("slow_client", Some("orig")),
        ("timeout", Some("resp")),
        ("unanswered", None),
    ];
    expect_words(&found, &expected);
    let told = found["slow_client"].1;
    let (least, most) = dawdled.trim().split_once(' ').expect("two times");
    let [least, most] = [least, most].map(|text| text.parse().expect("seconds"));
    assert!((least..=most).contains(&told), "{told} of {dawdled}");
}

fn expect_at_server(report: &Report, lost: &Lost) {
    let found = found(report);
    let expected = [
        ("retransmissions", Some("resp")),
        ("slow_client", Some("orig")),
        ("timeout", Some("resp")),
    ];
    expect_words(&found, &expected);
    let stalled = lost.stalled().as_secs_f64();
    let told = found["timeout"].1;
    assert!((told - stalled).abs() < TOLERANCE, "{told} for {stalled}");
    let again = |path: &str| -> &Value {
        let asked = report.of_kind("http").find(|row| row["uri"] == path);
        let number = &asked.expect("a request")["conn_id"];
        let connection = report.of_kind("conn").find(|row| row["conn_id"] == *number);
        connection.expect("its connection")
    };
    // What the wire shows and what the kernel counted are what went along the
    // cable: what was lost, and what a server that was kept waiting sent in vain.
    for (path, at_least) in [("/twice", lost.twice.len()), ("/holes", lost.holes.len())] {
        let connection = again(path);
        let port = connection["id.orig_p"].as_u64().expect("a port");
        let count = lost.sent_again(port.try_into().expect("16 bits"));
        assert!(count >= at_least as u64, "{count} of {at_least} for {path}");
        for field in ["resp_rexmt", "resp_kernel_retransmits"] {
            assert_eq!(connection[field], count, "{field} of {path}: {connection}");
        }
    }
}
