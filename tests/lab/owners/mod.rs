//! Who owns which end, in all the ways that processes come by sockets: held
//! against what scripts say that they did.

mod bystanders;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::process::wait_until;
use crate::recorder::{Recorder, analyze};
use crate::records;
use crate::report::{Owner, Report};
use crate::world::World;

pub(crate) use self::bystanders::{held_by_bystanders, of_a_kernel_worker, read_after_the_end};
pub(crate) use self::script::{Script, Told};

/// A recording of one host's loopback interface.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) capture: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let world = World::without_cable();
        let capture = world.file("capture.jsonl");
        Self { world, capture }
    }

    pub(crate) fn recorder(&self) -> Recorder {
        let output = self.capture.to_str().expect("a path in UTF-8");
        Recorder::start(&self.world, &self.world.server, &["-i", "lo", "-o", output])
    }

    /// Runs a script under the recorder's eyes.
    pub(crate) fn record(&self, script: &str) -> Vec<Told> {
        let recorder = self.recorder();
        let told = Script::run(&self.world, &self.world.server, script);
        self.world.settle();
        recorder.stop();
        told
    }

    pub(crate) fn report(&self) -> Report {
        analyze(&self.world, &self.capture)
    }

    /// Records a script and expects of all its connections that both ends are
    /// known, and how.
    pub(crate) fn expect(&self, script: &str, client: &str, server: &str) -> Vec<Told> {
        let told = self.record(script);
        expect(&self.report(), &told, [client, server]);
        told
    }
}

/// The process and the provenance of both ends.
pub(crate) type Ends = [Option<(u32, String)>; 2];

/// Who owns both ends of a connection of the report.
pub(crate) fn ends_of(connection: &Value) -> Ends {
    ["orig", "resp"].map(|end| {
        let owner = Owner::of(connection, end)?;
        Some((owner.pid, owner.provenance))
    })
}

/// Of each connection both ends, by the client's port.
fn found(report: &Report) -> BTreeMap<u64, Ends> {
    let connections = report.of_kind("conn");
    connections
        .map(|connection| {
            let port = connection["id.orig_p"].as_u64().expect("a port");
            (port, ends_of(connection))
        })
        .collect()
}

/// Each connection is there with the right owners, and no other is.
fn expect(report: &Report, told: &[Told], provenances: [&str; 2]) {
    let expected: BTreeMap<_, Ends> = told
        .iter()
        .map(|told| {
            let [client, server] = [told.client, told.server];
            let of = |pid: u32, how: &str| (pid != 0).then(|| (pid, how.to_owned()));
            let [asked, served] = provenances;
            (
                u64::from(told.client_port),
                [of(client, asked), of(server, served)],
            )
        })
        .collect();
    assert_eq!(found(report), expected);
}

pub(crate) fn blocking_and_not() {
    let scene = Scene::new();
    let script = "
listener = listen()
server = child(lambda: [serve(listener.accept()[0]) for _ in range(2)])
ask(port_of(listener))
end = socket.socket()
end.setblocking(False)
end.connect_ex((LOCAL, port_of(listener)))
select.select([], [end], [])
end.setblocking(True)
hear(end)
";
    scene.expect(script, "connect", "accept");
}

/// Nobody listens: refused at once, also where the caller does not wait, or
/// leaves the choice of its port to the kernel.
pub(crate) fn refused() {
    let scene = Scene::new();
    let script = "
listener = listen()
closed = port_of(listener)
listener.close()
for blocking in (True, False):
    end = socket.socket()
    end.bind((LOCAL, 0))
    end.setblocking(blocking)
    end.connect_ex((LOCAL, closed))
    tell(port_of(end), os.getpid())
    end.close()
";
    scene.expect(script, "connect", "none");
    let scene = Scene::new();
    let script = "
listener = listen()
closed = port_of(listener)
listener.close()
socket.socket().connect_ex((LOCAL, closed))
tell(0, os.getpid())
";
    let told = scene.record(script);
    let found: Vec<_> = found(&scene.report()).into_values().collect();
    assert_eq!(
        found,
        [[Some((told[0].client, "connect".to_owned())), None]]
    );
}

/// Nobody answers: the kernel gives up, or the process does.
pub(crate) fn unanswered() {
    let world = World::new();
    // Comes out at the other end of the cable, where nobody has this address.
    world
        .client
        .ip("neighbour add 10.77.0.9 lladdr 02:00:00:00:00:09 dev eth0");
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "-o", output]);
    let script = "
TCP_USER_TIMEOUT = 18  # linux/tcp.h; milliseconds
def knock(end, patience):
    end.bind(('10.77.0.1', 0))
    end.settimeout(patience)
    try:
        end.connect(('10.77.0.9', 80))
    except OSError:
        tell(port_of(end), os.getpid())
    end.close()
end = socket.socket()
end.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 500)
knock(end, None)
knock(socket.socket(), 0.1)
";
    let told = Script::run(&world, &world.client, script);
    assert_eq!(told.len(), 2);
    world.settle();
    recorder.stop();
    let report = analyze(&world, &capture);
    expect(&report, &told, ["connect", "none"]);
    for connection in report.of_kind("conn") {
        assert_eq!(connection["conn_state"], "S0", "{connection}");
    }
}

/// Several workers accept from one listener that their parent made.
pub(crate) fn workers() {
    let scene = Scene::new();
    let script = "
listener = listen()
def work():
    for _ in range(10):
        end, _ = listener.accept()
        serve(end)
        end.close()
workers = [child(work) for _ in range(4)]
for _ in range(40):
    ask(port_of(listener))
wait_for(workers)
";
    let told = scene.expect(script, "connect", "accept");
    assert_eq!(servers(&told), 4, "each worker served ten: {told:?}");
}

fn servers(told: &[Told]) -> usize {
    let servers: BTreeSet<_> = told.iter().map(|told| told.server).collect();
    servers.len()
}

/// Several processes have each a listener on the same port.
pub(crate) fn listeners_on_one_port() {
    let scene = Scene::new();
    let script = "
def serve_all(listener):
    while True:
        end, _ = listener.accept()
        serve(end)
        end.close()
# Keeps the port, and does not listen.
keeper = socket.socket()
keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
keeper.bind((LOCAL, 0))
port = port_of(keeper)
servers = [child(lambda: serve_all(listen(port=port, share=True))) for _ in range(3)]
while open('/proc/self/net/tcp').read().count(' 0A ') < 3:
    time.sleep(0.01)
for _ in range(40):
    ask(port)
for server in servers:
    os.kill(server, 9)
";
    let told = scene.expect(script, "connect", "accept");
    // Which of them is asked is the kernel's choice, by a hash of the ports.
    assert!(servers(&told) > 1, "several processes served: {told:?}");
}

/// A thread accepts: the owner is the process, and the thread is told.
pub(crate) fn threads() {
    let scene = Scene::new();
    let script = "
listener = listen()
def work():
    serve(listener.accept()[0])
def serve_in_threads():
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
server = child(serve_in_threads)
for _ in range(3):
    ask(port_of(listener))
wait_for([server])
";
    let told = scene.expect(script, "connect", "accept");
    let records = records::read(&scene.capture);
    let accepts = records::of_type(&records, "accept").into_iter();
    let threads: BTreeMap<_, _> = accepts
        .map(|accept| (accept["remote"]["port"].as_u64(), accept["tid"].as_u64()))
        .collect();
    let expected = told
        .iter()
        .map(|told| (Some(told.client_port.into()), Some(told.thread.into())));
    assert_eq!(threads, expected.collect());
}

/// IPv6 sockets that carry IPv4, at both ends.
pub(crate) fn mapped_addresses() {
    let scene = Scene::new();
    let script = "
listener = listen(addr='::', family=socket.AF_INET6)
server = child(lambda: [serve(listener.accept()[0]) for _ in range(3)])
ask(port_of(listener))
ask(port_of(listener), '::ffff:127.0.0.1', socket.AF_INET6)
ask(port_of(listener), '::1', socket.AF_INET6)
wait_for([server])
";
    scene.expect(script, "connect", "accept");
}

/// Sockets that are older than the recording: of several holders, the one that
/// uses it is the owner.
pub(crate) fn from_before() {
    let scene = Scene::new();
    let script = "
listener = listen()
def pair():
    end = socket.create_connection((LOCAL, port_of(listener)))
    return end, listener.accept()[0]
first, second = pair(), pair()
# All hold all of these sockets. The youngest process uses none.
worker = child(lambda: (await_recorder(), serve(first[1])))
child(await_recorder)
pause()
hear(first[0])
other = threading.Thread(target=lambda: serve(second[1]))
other.start()
hear(second[0])
other.join()
";
    let script = Script::start(&scene.world, &scene.world.server, script);
    wait_until("the sockets are there", || {
        scene.world.file("ready").exists()
    });
    let recorder = scene.recorder();
    fs::write(scene.world.file("go"), "").expect("a file");
    let told = script.finish();
    scene.world.settle();
    recorder.stop();
    expect(&scene.report(), &told, ["scan", "scan"]);
}

/// A server that takes connections and gives each to a process of its own:
/// without more, for another program, or over a socket between both.
pub(crate) fn inherited() {
    for script in [
        // A child that goes on with it.
        "
listener = listen()
def serve_by_children():
    for _ in range(3):
        end, _ = listener.accept()
        child(lambda: serve(end))
        end.close()
child(serve_by_children)
for _ in range(3):
    ask(port_of(listener))
",
        // As inetd: a program whose input and output the socket is.
        "
listener = listen()
def run(end):
    os.dup2(end.fileno(), 0)
    os.dup2(end.fileno(), 1)
    os.execlp('sh', 'sh', '-c', 'read -r line; echo $$ 0')
def serve_by_programs():
    for _ in range(3):
        end, _ = listener.accept()
        child(lambda: run(end))
        end.close()
child(serve_by_programs)
for _ in range(3):
    end = socket.create_connection((LOCAL, port_of(listener)))
    end.sendall(b'a line\\n')
    tell(port_of(end), os.getpid(), *map(int, end.recv(32).split()))
    end.close()
",
        // The same, of a program that only sends.
        "
listener = listen()
def run(end):
    os.dup2(end.fileno(), 1)
    os.execlp('sh', 'sh', '-c', 'echo $$ 0')
def serve_by_programs():
    for _ in range(3):
        end, _ = listener.accept()
        child(lambda: run(end))
        end.close()
child(serve_by_programs)
for _ in range(3):
    end = socket.create_connection((LOCAL, port_of(listener)))
    tell(port_of(end), os.getpid(), *map(int, end.recv(32).split()))
    end.close()
",
        // Another process that was there before.
        "
listener = listen()
here, there = socket.socketpair(socket.AF_UNIX)
def work():
    for _ in range(3):
        _, [fd], _, _ = socket.recv_fds(there, 1, 1)
        serve(socket.socket(fileno=fd))
def serve_by_others():
    for _ in range(3):
        end, _ = listener.accept()
        socket.send_fds(here, [b'.'], [end.fileno()])
        end.close()
child(work)
child(serve_by_others)
for _ in range(3):
    ask(port_of(listener))
",
    ] {
        Scene::new().expect(script, "connect", "inherited");
    }
}

/// Processes that are gone as soon as they have connected, and sent a byte or not.
pub(crate) fn gone_at_once() {
    let scene = Scene::new();
    let script = "
listener = listen()
server = child(lambda: [listener.accept() for _ in range(60)])
def knock(number):
    end = socket.create_connection((LOCAL, port_of(listener)))
    if number % 2:
        end.send(b'?')
    tell(port_of(end), os.getpid(), server)
    os._exit(0)
for number in range(60):
    wait_for([child(lambda: knock(number))])
wait_for([server])
";
    scene.expect(script, "connect", "accept");
    for connection in scene.report().of_kind("conn") {
        let client = Owner::of(connection, "orig").expect("an owner");
        assert_eq!(client.comm, "python3", "{connection}");
    }
}

/// A socket that is disconnected and connects again, from another port.
pub(crate) fn used_again() {
    let scene = Scene::new();
    let script = "
import ctypes
listener = listen()
server = child(lambda: [serve(listener.accept()[0]) for _ in range(2)])
end = socket.create_connection((LOCAL, port_of(listener)))
hear(end)
nowhere = struct.pack('H14x', socket.AF_UNSPEC)
assert ctypes.CDLL(None).connect(end.fileno(), nowhere, len(nowhere)) == 0
end.connect((LOCAL, port_of(listener)))
hear(end)
wait_for([server])
";
    scene.expect(script, "connect", "accept");
}
