//! Owners under load: of nearly every packet the right ones, of none a wrong one,
//! however busy others are meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::owners::{Script, ends_of};
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, analyze, convert};
use crate::records;
use crate::web::{Nginx, PORT, Traffic};
use crate::world::World;

/// So many recordings are made at most, until one has all events.
const ATTEMPTS: u32 = 4;

/// Where nginx listens for requests over connections that stay, and over new ones.
const KEPT: u16 = 82;
const NEW: u16 = 83;
/// Where iperf3 listens, as it does by itself.
const IPERF: u16 = 5201;
/// In the place of a client's port that nobody tells.
const ANY: u16 = 0;
/// The share of ends whose owner must be told.
const SHARE: f64 = 0.999;

/// Who made and who served the connections: by both ports, the processes that
/// may be it. A port that was used again may have several.
#[derive(Default)]
struct Truth {
    ends: BTreeMap<(u16, u16), [BTreeSet<u32>; 2]>,
    /// The processes of nginx that serve, and by its ports the wrk that asks there.
    workers: BTreeSet<u32>,
    clients: BTreeMap<u16, u32>,
}

impl Truth {
    fn add(&mut self, ports: (u16, u16), client: u32, server: u32) {
        let [clients, servers] = self.ends.entry(ports).or_default();
        clients.insert(client);
        servers.insert(server);
    }

    /// Takes a connection that the server sent nothing on: where wrk ended before it
    /// was answered, no log tells the worker, though its port may stand there for a
    /// connection before. It may be a worker that answered on other ports alone.
    fn unanswered(&mut self, ports: (u16, u16)) {
        if let Some(client) = self.clients.get(&ports.1) {
            let [clients, servers] = self.ends.entry(ports).or_default();
            clients.insert(*client);
            servers.extend(&self.workers);
        }
    }

    /// Who may own the end at `from` of a connection with `to`.
    fn of(&self, from: u16, to: u16) -> &BTreeSet<u32> {
        let places = [
            ((from, to), 0),
            ((to, from), 1),
            ((ANY, to), 0),
            ((ANY, from), 1),
        ];
        let found = places
            .iter()
            .find_map(|(ports, end)| Some(&self.ends.get(ports)?[*end]));
        found.unwrap_or_else(|| panic!("a connection that nobody made: {from} and {to}"))
    }
}

/// How often an owner was right, missing or only guessed; of the latter those
/// apart where nobody could know better yet.
#[derive(Debug, Default)]
struct Score {
    right: u32,
    none: u32,
    guessed: u32,
    early: u32,
}

impl Score {
    /// Adds what is said of an end, before or after it was accepted; a wrong owner
    /// fails the test.
    fn add(
        &mut self,
        end: &str,
        is_early: bool,
        owner: Option<(u32, &str)>,
        expected: &BTreeSet<u32>,
    ) {
        match owner {
            None => self.none += 1,
            Some((_, "guess")) if is_early => self.early += 1,
            Some((_, "guess")) => self.guessed += 1,
            Some((pid, _)) if expected.contains(&pid) => self.right += 1,
            Some((pid, how)) => panic!("{pid} {how} is not the owner: {expected:?} ({end})"),
        }
    }

    // The figure is shown with --nocapture.
    #[allow(clippy::print_stdout)]
    fn expect(&self, what: &str) {
        let all = self.right + self.none + self.guessed;
        let share = f64::from(self.right) / f64::from(all);
        println!("{what}: {:.3} % of {all} ends: {self:?}", share * 100.0);
        assert!(share >= SHARE, "{what}: {self:?}");
    }
}

/// Programs that only keep the processors busy, so that interrupts come while
/// they run.
fn bystanders(world: &World) -> Vec<Process> {
    let start = |_| {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        world.start(&world.server, command)
    };
    (0..3).map(start).collect()
}

/// Runs a client to its end; gives its process id.
fn run(world: &World, program: &str, arguments: &[&str]) -> u32 {
    world
        .run(&world.server, program, arguments)
        .expect_code(0)
        .pid
}

/// Requests over connections that stay and over new ones, from wrk and curl; a
/// server of threads; bulk.
fn make_load(world: &World, nginx: &Nginx) -> Truth {
    let mut truth = Truth::default();
    let url = |port: u16, target: &str| format!("http://127.0.0.1:{port}{target}");
    let wrk = ["-t1", "-c2", "-d1"];
    let kept = url(KEPT, "/item/kept");
    let kept = run(world, "wrk", &[&wrk[..], &[&kept]].concat());
    let close = ["-H", "Connection: close"];
    let new = url(NEW, "/item/new");
    let new = run(
        world,
        "wrk",
        &[&["-t1", "-c1", "-d1"], &close[..], &[&new]].concat(),
    );
    let mut curls = Traffic::default();
    for number in 0..20 {
        let target = format!("/item/curl/{number}");
        curls.fetch(world, &world.server, "127.0.0.1", &[target]);
    }
    let curls: BTreeMap<_, _> = (curls.connections.iter())
        .filter_map(|curl| Some((curl.client?.port(), curl.curl)))
        .collect();

    let threads = "
listener = listen(port=6000)
def serve_many():
    for _ in range(20):
        serve(listener.accept()[0])
def serve_in_threads():
    threads = [threading.Thread(target=serve_many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
server = child(serve_in_threads)
wait_for([child(lambda: [ask(6000) for _ in range(20)]) for _ in range(3)])
wait_for([server])
";
    for told in Script::run(world, &world.server, threads) {
        truth.add((told.client_port, 6000), told.client, told.server);
    }

    let server = iperf3(world);
    let client = run(
        world,
        "iperf3",
        &["-c", "127.0.0.1", "-n", "30M", "-P", "2"],
    );
    truth.add((ANY, IPERF), client, server.pid());
    drop(server);

    // The last lines may be on their way, as those of the requests that wrk did
    // not wait for.
    world.settle();
    truth.clients = BTreeMap::from([(KEPT, kept), (NEW, new)]);
    truth.workers = nginx.served().map(|(_, worker, _)| worker).collect();
    for (port, worker, target) in nginx.served() {
        let (server_port, client) = match &*target {
            "/item/kept" => (KEPT, kept),
            "/item/new" => (NEW, new),
            _ => (PORT, *curls.get(&port).expect("a connection of curl's")),
        };
        truth.add((port, server_port), client, worker);
    }
    truth
}

fn iperf3(world: &World) -> Process {
    let mut command = Command::new("iperf3");
    command.args(["--server", "--one-off"]);
    let server = world.start(&world.server, command);
    wait_until("iperf3 listens", || world.server.listeners(IPERF) > 0);
    server
}

/// When connections were accepted at last, by the client's and the server's port.
fn accepted(records: &[Value]) -> BTreeMap<(u16, u16), i64> {
    let accepts = records::of_type(records, "accept").into_iter();
    let accepts = accepts.map(|accept| {
        let port = |end: &str| {
            let port = accept[end]["port"].as_u64();
            port.and_then(|port| u16::try_from(port).ok())
                .expect("a port")
        };
        let ts_ns = accept["ts_ns"].as_i64().expect("a time");
        ((port("remote"), port("local")), ts_ns)
    });
    accepts.collect()
}

/// Of each packet both ends, as its comment says. The packets before an accept
/// may be written before it, live: then its owner is a guess.
fn packets(
    world: &World,
    capture: &Path,
    truth: &Truth,
    accepted: &BTreeMap<(u16, u16), i64>,
) -> Score {
    let capture = capture.display().to_string();
    let fields = ["frame.time_epoch", "tcp.srcport", "tcp.dstport"];
    let fields = [&fields[..], &["frame.comment"]].concat();
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let arguments = ["-n", "-r", &capture, "-T", "fields"];
    let arguments: Vec<_> = arguments.into_iter().chain(fields).collect();
    let ended = world
        .run(&world.server, "tshark", &arguments)
        .expect_code(0);
    let mut score = Score::default();
    for line in ended.output.lines() {
        let mut words = line.splitn(4, '\t');
        let mut next = || words.next().unwrap_or_default();
        let ts_ns = next().replace('.', "");
        let [from, to] = [next(), next()].map(|port| port.parse().ok());
        let (Some(from), Some(to)) = (from, to) else {
            continue; // an event
        };
        let ts_ns: i64 = ts_ns.parse().expect("nanoseconds");
        let is_early = |ports| accepted.get(&ports).is_some_and(|at| ts_ns < *at);
        let comment = next().split("\\n").next().unwrap_or_default();
        let words: BTreeMap<_, _> = comment
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .collect();
        let owner = |pid: &str, how: &str| Some((words.get(pid)?.parse().ok()?, *words.get(how)?));
        for (owner, [own, other]) in [
            (owner("pid", "owner"), [from, to]),
            (owner("peer_pid", "peer_owner"), [to, from]),
        ] {
            // An own port that connections were accepted on is a server's.
            let is_early = is_early((other, own));
            score.add(line, is_early, owner, truth.of(own, other));
        }
    }
    score
}

pub(crate) fn owners() {
    let is_judged = (0..ATTEMPTS).any(|_| is_judged());
    assert!(is_judged, "events were lost in all {ATTEMPTS} recordings");
}

/// Records the load and judges the owners. False where events were lost: the
/// recorder is built without optimization here, and the bystanders leave it
/// little time. That none of these is named is judged all the same.
fn is_judged() -> bool {
    let world = World::without_cable();
    let ports = format!("listen {KEPT}; listen {NEW};");
    let nginx = Nginx::start_with(&world, &world.server, "", &ports);
    let bystanders = bystanders(&world);
    let [live, capture, replayed] =
        ["live.pcapng", "capture.jsonl", "replayed.pcapng"].map(|name| world.file(name));
    let outputs = [&live, &capture].map(|path| path.display().to_string());
    let [first, second] = &outputs;
    let recorder = Recorder::start(
        &world,
        &world.server,
        &["-i", "lo", "-s", "128", "-o", first, "-o", second],
    );
    let mut truth = make_load(&world, &nginx);
    recorder.stop();
    let pids: BTreeSet<_> = bystanders.iter().map(|one| u64::from(one.pid())).collect();
    drop(bystanders);

    let records = records::read(&capture);
    let end = records.last().expect("a last record");
    for event in &records {
        let pid = event["process"]["pid"].as_u64();
        assert!(!pid.is_some_and(|pid| pids.contains(&pid)), "{event}");
    }
    if end["lost_events"] != 0 {
        return false;
    }

    let report = analyze(&world, &capture);
    let ports = |connection: &Value| {
        ["id.orig_p", "id.resp_p"].map(|field| {
            let port = connection[field].as_u64();
            port.and_then(|port| u16::try_from(port).ok())
                .expect("a port")
        })
    };
    for connection in report.of_kind("conn") {
        let [from, to] = ports(connection);
        if connection["resp_wire_bytes"] == 0 {
            truth.unanswered((from, to));
        }
    }
    let accepted = accepted(&records);
    packets(&world, &live, &truth, &accepted).expect("packets, live");
    convert(&world, &capture, &replayed);
    packets(&world, &replayed, &truth, &BTreeMap::new()).expect("packets, replayed");
    let mut score = Score::default();
    for connection in report.of_kind("conn") {
        let [from, to] = ports(connection);
        let expected = [truth.of(from, to), truth.of(to, from)];
        for (end, expected) in ends_of(connection).iter().zip(expected) {
            let owner = end.as_ref().map(|(pid, how)| (*pid, &**how));
            score.add(&connection.to_string(), false, owner, expected);
        }
    }
    score.expect("connections");
    true
}
