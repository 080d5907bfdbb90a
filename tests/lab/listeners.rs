//! Recordings of some of the processes that listen: on other addresses of a port, with
//! one listener for several, with one that another process made.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::netns::Namespace;
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, analyze};
use crate::records;
use crate::report::Owner;
use crate::world::World;

/// What the scripts have in common.
const ACTORS: &str = "
import os, resource, select, socket, sys

def name(comm):
    with open('/proc/self/comm', 'w') as file:
        file.write(comm)

def listen(address='10.77.0.2', port=8080):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    return listener

def serve(listener, count):
    for _ in range(count):
        end, _ = listener.accept()
        end.recv(1000)
        end.sendall(b'HTTP/1.0 204 No Content\\r\\n\\r\\n')
        end.close()

def ready():
    print('ready', file=sys.stderr, flush=True)
";

fn start(world: &World, host: &Namespace, script: &str) -> Process {
    start_with(world, host, script, &[])
}

fn start_with(world: &World, host: &Namespace, script: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{ACTORS}\n{script}")]);
    command.args(arguments);
    let process = world.start(host, command);
    wait_until("the script is ready", || process.errors().contains("ready"));
    process
}

fn ask(world: &World, address: &str) {
    ask_from(world, &world.client, &format!("{address}:8080"));
}

fn ask_from(world: &World, host: &Namespace, address: &str) {
    let url = format!("http://{address}/");
    world.run(host, "curl", &["--silent", &url]).expect_code(0);
}

/// Two recordings at once: of what is told by the first options, and by the second.
struct Two<'a> {
    world: &'a World,
    recorders: [Recorder; 2],
}

impl<'a> Two<'a> {
    fn start(world: &'a World, host: &Namespace, options: [&[&str]; 2]) -> Self {
        let start = |(number, options): (usize, &[&str])| {
            let output = world.file(&format!("{number}.jsonl")).display().to_string();
            let arguments = [&["-o", &output][..], options].concat();
            Recorder::start(world, host, &arguments)
        };
        let [first, second] = options;
        Self {
            world,
            recorders: [start((0, first)), start((1, second))],
        }
    }

    /// The packets of both, by the client's ports.
    fn stop(self) -> [Connections; 2] {
        self.world.settle();
        for recorder in self.recorders {
            recorder.stop();
        }
        ["0.jsonl", "1.jsonl"].map(|name| connections(&self.world.file(name)))
    }
}

/// The packets of each connection, those of each end together, its SYN first, by the client's
/// port.
type Connections = BTreeMap<u64, Vec<Value>>;

fn connections(path: &Path) -> Connections {
    const SYN: u64 = 2;
    let records = records::read(path);
    let mut connections = Connections::new();
    for packet in records::of_type(&records, "packet") {
        let ports = ["src", "dst"].map(|end| packet["kernel"][end]["port"].as_u64());
        // Clients have the higher ones.
        let port = ports.into_iter().flatten().max().expect("a port");
        let mut packet = packet.clone();
        // Two recordings see it one after the other.
        packet["ts_ns"] = Value::Null;
        connections.entry(port).or_default().push(packet);
    }
    // What is sent at once on two CPUs comes to the one recorder in this order and to the
    // other in that.
    for packets in connections.values_mut() {
        packets.sort_by_key(|packet| {
            let has_syn = packet["kernel"]["flags"].as_u64().expect("flags") & SYN > 0;
            (
                packet["direction"].to_string(),
                !has_syn,
                packet.to_string(),
            )
        });
    }
    connections
}

/// What another process serves on the same port of another address is not recorded.
pub(crate) fn at_another_address() {
    let world = World::new();
    world.server.ip("address add 10.77.0.3/24 dev eth0");
    let wanted = "name('lab-wanted')\nlistener = listen()\nready()\nserve(listener, 3)";
    let other = "listener = listen('10.77.0.3')\nready()\nserve(listener, 3)";
    let servers = [wanted, other].map(|script| start(&world, &world.server, script));
    let both = Two::start(
        &world,
        &world.server,
        [
            &["-i", "eth0", "host 10.77.0.2 and port 8080"],
            &["-i", "eth0", "--comm", "lab-wanted"],
        ],
    );
    for _ in 0..3 {
        ask(&world, "10.77.0.2");
        ask(&world, "10.77.0.3");
    }
    for server in servers {
        server.finish().expect_code(0);
    }
    let [expected, found] = both.stop();
    assert_eq!(expected.len(), 3);
    assert_eq!(expected, found);
}

/// Of several processes with one listener: what another one takes ends there.
pub(crate) fn of_several_processes() {
    let world = World::new();
    let script = "
listener = listen()
to_child, from_child = socket.socketpair()
if not os.fork():
    name('lab-other')
    for _ in range(3):
        from_child.recv(1)
        serve(listener, 1)
        from_child.send(b'.')
    os._exit(0)
name('lab-wanted')
ready()
for _ in range(3):
    to_child.send(b'.')
    to_child.recv(1)
    serve(listener, 1)
";
    let server = start(&world, &world.server, script);
    let both = Two::start(
        &world,
        &world.server,
        [
            &["-i", "eth0", "port 8080"],
            &["-i", "eth0", "--comm", "lab-wanted"],
        ],
    );
    for _ in 0..6 {
        ask(&world, "10.77.0.2");
    }
    server.finish().expect_code(0);
    let [all, found] = both.stop();
    assert_eq!(all.len(), 6);
    let mut whole = 0;
    for (port, packets) in all {
        let recorded = found.get(&port);
        if recorded == Some(&packets) {
            whole += 1;
            continue;
        }
        // Before it is accepted it may be any process's.
        let is_of_server = |packet: &&Value| packet["direction"] == "out";
        let after = recorded.into_iter().flatten().filter(is_of_server);
        let after: Vec<_> = after
            .skip(1)
            .filter(|it| it["kernel"]["flags"] != 16)
            .collect();
        assert!(after.is_empty(), "{after:?}");
    }
    assert_eq!(whole, 3);
}

/// A listener that a process got from another is known when its program starts.
pub(crate) fn got_before_the_program() {
    let [all, found] = got_from_another(
        "
go = sys.argv[1]
if not os.fork():
    os.set_inheritable(listener.fileno(), True)
    os.dup2(listener.fileno(), 3)
    serve = 'serve(socket.socket(fileno=3), 3)'
    os.execl(go, go, '-c', sys.argv[2] + 'ready();' + serve)
os.wait()
",
    );
    assert_eq!(all, found);
}

/// Or else as soon as the process waits for connections, in accept or for several sockets
/// at once.
pub(crate) fn got_without_a_program() {
    // A call that does not wait has certainly begun.
    let accept = "
    listener.setblocking(False)
    try:
        listener.accept()
    except BlockingIOError:
        listener.setblocking(True)
";
    let epoll = "
    several = select.epoll()
    several.register(listener)
";
    for wait in [accept, epoll] {
        let [all, found] = got_by_a_child(wait);
        assert_eq!(all, found, "{wait}");
    }
}

/// One that waits in another way is known from the first connection on that it takes.
pub(crate) fn got_and_selected() {
    let [all, found] = got_by_a_child("");
    let whole = all
        .iter()
        .filter(|(port, packets)| found.get(port) == Some(packets));
    assert_eq!(whole.count(), 2);
    assert_eq!(found.len(), 3);
}

/// A child that takes a name, does something, and then takes what comes.
fn got_by_a_child(wait: &str) -> [Connections; 2] {
    got_from_another(&format!(
        "
if not os.fork():
    name('lab-wanted')
{wait}
    ready()
    for _ in range(3):
        select.select([listener], [], [])
        serve(listener, 1)
    os._exit(0)
os.wait()
"
    ))
}

/// Three connections to a listener that a script made while it is recorded: all of it,
/// and what is of processes with the name `lab-wanted`.
fn got_from_another(script: &str) -> [Connections; 2] {
    let world = World::new();
    let both = Two::start(
        &world,
        &world.server,
        [
            &["-i", "eth0", "port 8080"],
            &["-i", "eth0", "--comm", "lab-wanted"],
        ],
    );
    let wanted = world.file("lab-wanted");
    let python = world.run(
        &world.server,
        "python3",
        &["-c", "import sys; print(sys.executable)"],
    );
    symlink(python.expect_code(0).output.trim(), &wanted).expect("a link");
    let script = format!("listener = listen()\n{script}");
    let arguments = [wanted.to_str().expect("a path in UTF-8"), ACTORS];
    let server = start_with(&world, &world.server, &script, &arguments);
    for _ in 0..3 {
        ask(&world, "10.77.0.2");
    }
    server.finish().expect_code(0);
    let both = both.stop();
    assert_eq!(both[0].len(), 3);
    both
}

/// More listeners than are usual.
pub(crate) fn many() {
    const COUNT: usize = 1500;
    let world = World::new();
    let script = format!(
        "
resource.setrlimit(resource.RLIMIT_NOFILE, (4000, 4000))
listeners = [listen('', 10000 + number) for number in range({COUNT})]
ready()
for listener in listeners:
    serve(listener, 1)
"
    );
    let server = start(&world, &world.server, &script);
    let pid = server.pid().to_string();
    let both = Two::start(
        &world,
        &world.server,
        [&["-i", "eth0"], &["-i", "eth0", "--pid", &pid]],
    );
    let script = format!(
        "
for number in range({COUNT}):
    end = socket.create_connection(('10.77.0.2', 10000 + number))
    end.sendall(b'?')
    end.recv(100)
    end.close()
"
    );
    let client = start(&world, &world.client, &format!("ready()\n{script}"));
    client.finish().expect_code(0);
    server.finish().expect_code(0);
    let [all, found] = both.stop();
    assert!(all.len() > COUNT / 2);
    assert_eq!(all, found);
}

/// A namespace whose interfaces are not recorded, as a container's, on the server's host.
fn container(world: &World) -> Namespace {
    let container = Namespace::new();
    let to_container = format!(
        "link add veth0 type veth peer name eth0 netns {}",
        container.path()
    );
    world.server.ip(&to_container);
    world.server.ip("link set veth0 up");
    world.server.ip("address add 10.78.0.1/24 dev veth0");
    container.ip("link set eth0 up");
    container.ip("address add 10.78.0.2/24 dev eth0");
    container
}

/// A process in a container talks with others on its host: at its own address from the
/// SYN on, else from when it accepted or was connected.
pub(crate) fn with_its_host() {
    let world = World::new();
    let container = container(&world);
    let serve = |host, name, address, port| {
        let listen = format!("name('{name}')\nlistener = listen('{address}', {port})");
        start(
            &world,
            host,
            &format!("{listen}\nready()\nserve(listener, 1)"),
        )
    };
    let servers = [
        serve(&container, "lab-wanted", "10.78.0.2", 8080),
        serve(&container, "lab-wanted", "", 8081),
        serve(&world.server, "lab-other", "10.78.0.1", 8082),
    ];
    let both = Two::start(
        &world,
        &world.server,
        [&["-i", "veth0"], &["-i", "any", "--comm", "lab-wanted"]],
    );
    for address in ["10.78.0.2:8080", "10.78.0.2:8081"] {
        ask_from(&world, &world.server, address);
    }
    let client = "name('lab-wanted')
end = socket.create_connection(('10.78.0.1', 8082))
end.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
end.recv(1000)
ready()";
    start(&world, &container, client).finish().expect_code(0);
    for server in servers {
        server.finish().expect_code(0);
    }
    let [expected, found] = both.stop();
    let packets = |all: &Connections, port: u64| {
        let is_its = |packet: &&Value| {
            let ports = ["src", "dst"].map(|end| packet["kernel"][end]["port"].as_u64());
            ports.contains(&Some(port))
        };
        let its = all.values().flatten().filter(is_its);
        its.map(|packet| packet["data"].to_string())
            .collect::<Vec<_>>()
    };
    let [expected, found] =
        [expected, found].map(|all| [8080, 8081, 8082].map(|port| packets(&all, port)));
    assert_eq!(found[0], expected[0]);
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.iter().all(|packet| expected.contains(packet)));
        // The handshake, and what comes meanwhile.
        let missing = expected.len() - found.len();
        assert!(missing <= 5, "{missing} of {}", expected.len());
    }
}

/// A process in a container, to which its host forwards.
pub(crate) fn in_another_namespace() {
    let world = World::new();
    let container = container(&world);
    container.ip("route add default via 10.78.0.1");
    world.client.ip("route add 10.78.0.0/24 via 10.77.0.2");
    let forward = ["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"];
    world.run(&world.server, "sh", &forward).expect_code(0);
    let script = "name('lab-wanted')\nlistener = listen('')\nready()\nserve(listener, 2)";
    let server = start(&world, &container, script);
    let both = Two::start(
        &world,
        &world.server,
        [
            &["-i", "eth0", "port 8080"],
            &["-i", "any", "--comm", "lab-wanted"],
        ],
    );
    for _ in 0..2 {
        ask(&world, "10.78.0.2");
    }
    server.finish().expect_code(0);
    let [expected, found] = both.stop();
    assert_eq!(expected.len(), 2);
    let records = records::read(&world.file("1.jsonl"));
    let interfaces = records::of_type(&records, "interface");
    let eth0 = interfaces.iter().find(|it| it["name"] == "eth0");
    let eth0 = &eth0.expect("eth0")["id"];
    let bytes = |packets: Vec<Value>| -> Vec<Value> {
        packets
            .into_iter()
            .map(|mut it| it["data"].take())
            .collect()
    };
    let expected: Vec<_> = expected.into_values().flatten().collect();
    // They pass the container's cable, too.
    let found = found.into_values().flatten();
    let found = found
        .filter(|packet| packet["interface"] == *eth0)
        .collect();
    assert_eq!(bytes(expected), bytes(found));
}

/// Packets have another port than the socket that sends them: the sender is known all the
/// same, but for the SYN, which nobody here sent.
pub(crate) fn behind_translation() {
    let world = World::new();
    let rules = "add table ip lab; \
                 add chain ip lab way { type nat hook prerouting priority -100; }; \
                 add rule ip lab way tcp dport 8080 redirect to :8081";
    world.run(&world.server, "nft", &[rules]).expect_code(0);
    let wanted = "name('lab-wanted')\nlistener = listen(port=8081)\nready()\nserve(listener, 2)";
    let other = "name('lab-other')\nlistener = listen()\nready()\nserve(listener, 2)";
    let [wanted, other] = [wanted, other].map(|script| start(&world, &world.server, script));
    let both = Two::start(
        &world,
        &world.server,
        [
            &["-i", "eth0", "port 8080"],
            &["-i", "eth0", "--comm", "lab-wanted"],
        ],
    );
    for _ in 0..2 {
        ask(&world, "10.77.0.2");
    }
    let pid = wanted.pid();
    wanted.finish().expect_code(0);
    other.stop();
    let [all, found] = both.stop();
    assert_eq!(all.len(), 2);
    for (port, packets) in all {
        assert_eq!(found.get(&port).map(Vec::as_slice), packets.get(1..));
    }
    for file in ["0.jsonl", "1.jsonl"] {
        let report = analyze(&world, &world.file(file));
        for connection in report.of_kind("conn") {
            let server = Owner::of(connection, "resp").expect("an owner");
            assert_eq!(server, Owner::new(pid, "lab-wanted", "accept"));
        }
    }
}
