//! Recordings of some processes only: all of their packets, and no others.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::netns::Namespace;
use crate::process::{AS_PID, wait_until};
use crate::recorder::{Recorder, TCPREC};
use crate::records;
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

/// A connection of a shell's own, and one of a program that a shell starts.
const SHELL: &str = "exec 3<>/dev/tcp/10.77.0.2/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 \
                     && cat <&3 >/dev/null";

/// Recorders of what differs in options only, and the packets of each.
fn recorded(host: fn(&World) -> &Namespace, options: &[&[&str]]) -> Vec<Vec<String>> {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let mut recorders = Vec::new();
    let mut files = Vec::new();
    for (number, options) in options.iter().enumerate() {
        let file = world.file(&format!("{number}.jsonl"));
        let output = file.to_str().expect("a path in UTF-8");
        let arguments = [&["-i", "eth0", "-o", output][..], options].concat();
        recorders.push(Recorder::start(&world, host(&world), &arguments));
        files.push(file);
    }
    some_of_everything(&world, &world.client, World::SERVER).join_log(&nginx);
    world
        .run(&world.client, "bash", &["-c", SHELL])
        .expect_code(0);
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    files.iter().map(|file| packets(file)).collect()
}

/// The bytes of all packets, sorted.
fn packets(path: &Path) -> Vec<String> {
    let mut packets = packets_in_order(path);
    packets.sort();
    packets
}

fn packets_in_order(path: &Path) -> Vec<String> {
    let records = records::read(path);
    let packets = records::of_type(&records, "packet");
    packets
        .iter()
        .map(|packet| packet["data"].as_str().expect("base64").to_owned())
        .collect()
}

/// Two kinds of clients: what each sent and received, from the first SYN on.
pub(crate) fn by_name() {
    let found = recorded(
        |world| &world.client,
        &[
            &[],
            &["--comm", "curl"],
            &["--comm", "bash"],
            &["--comm", "bash", "--comm", "curl", "--uid", "0"],
            &["--comm", "curl", "--uid", "12345"],
        ],
    );
    let [all, curl, bash, both, none] = &found[..] else {
        panic!("five recordings");
    };
    assert!(!curl.is_empty() && !bash.is_empty());
    let mut together = [&curl[..], &bash[..]].concat();
    together.sort();
    // A refused connection is its client's too.
    assert_eq!(*all, together);
    assert_eq!(all, both);
    assert!(none.is_empty());
}

/// A server's connections, from the SYN on that comes before any process
/// knows of it.
pub(crate) fn of_a_listener() {
    let found = recorded(
        |world| &world.server,
        &[&["port 80"], &["--comm", "nginx"], &["--comm", "curl"]],
    );
    let [all, nginx, curl] = &found[..] else {
        panic!("three recordings");
    };
    assert!(!all.is_empty());
    assert_eq!(all, nginx);
    assert!(curl.is_empty());
}

/// What a process starts is followed, over fork and exec.
pub(crate) fn followed() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let script = "true; curl --silent --output /dev/null http://10.77.0.2/item/1; true";
    // A name of its own: any shell would do, and there may be others.
    let shell = world.copy("/bin/sh", "tcprec-shell");
    let shell = shell.to_str().expect("a path in UTF-8");
    let mut counts = Vec::new();
    for options in [&["--follow-forks"][..], &[]] {
        let file = world.file("followed.jsonl");
        let output = file.to_str().expect("a path in UTF-8");
        let arguments = [
            &["-i", "eth0", "-o", output, "--comm", "tcprec-shell"][..],
            options,
        ]
        .concat();
        let recorder = Recorder::start(&world, &world.client, &arguments);
        world
            .run(&world.client, shell, &["-c", script])
            .expect_code(0);
        world.settle();
        recorder.stop();
        counts.push(packets(&file).len());
    }
    // Three to begin, a request, an answer, and the end, with what acknowledges.
    assert!(counts[0] >= 8, "{counts:?}");
    assert_eq!(counts[1], 0);
    drop(nginx);
}

/// Two listeners of one server, of which one closes, and another process's on the same
/// port; then a connection to the one that is left.
const LISTENERS: &str = "
import os, socket, sys

def name(comm):
    with open('/proc/self/comm', 'w') as file:
        file.write(comm)

def listen(address):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address, 8080))
    listener.listen()
    return listener

name('lab-server')
left, closed = listen('10.77.0.2'), listen('10.77.0.2')
closed.close()
if not os.fork():
    name('lab-other')
    listen('127.0.0.1').close()
    os._exit(0)
os.wait()
print('waiting', file=sys.stderr, flush=True)
end, _ = left.accept()
end.recv(100)
end.sendall(b'HTTP/1.0 204 No Content\\r\\n\\r\\n')
end.close()
";

/// While one socket of a process listens on a port, what comes there is its own,
/// whoever else stops to listen.
pub(crate) fn of_several_listeners() {
    let world = World::new();
    let files = ["all.jsonl", "server.jsonl"].map(|name| world.file(name));
    let recorders = [&["port 8080"][..], &["--comm", "lab-server"]];
    let recorders = [0, 1].map(|at| {
        let output = files[at].to_str().expect("a path in UTF-8");
        let arguments = [&["-i", "eth0", "-o", output][..], recorders[at]].concat();
        Recorder::start(&world, &world.server, &arguments)
    });
    let mut command = Command::new("python3");
    command.args(["-c", LISTENERS]);
    let server = world.start(&world.server, command);
    wait_until("the server waits", || server.errors().contains("waiting"));
    let curl = ["--silent", "http://10.77.0.2:8080/"];
    world.run(&world.client, "curl", &curl).expect_code(0);
    server.finish().expect_code(0);
    world.settle();
    for recorder in recorders {
        recorder.stop();
    }
    let [all, of_server] = files.each_ref().map(|file| packets(file));
    assert!(all.len() >= 8, "{}", all.len());
    assert_eq!(all, of_server);
    let records = records::read(&files[1]);
    let listens = records::of_type(&records, "listen");
    assert_eq!(listens.len(), 2, "{listens:?}");
}

/// A server that makes more connections than there is room for, and ends; then another
/// one on its port.
const MANY: &str = "
import os, socket, sys

def name(comm):
    with open('/proc/self/comm', 'w') as file:
        file.write(comm)

def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('10.77.0.2', 8080))
    listener.listen()
    return listener

name('lab-server')
first = listen()
for _ in range(80_000):
    # Nobody listens there.
    socket.socket().connect_ex(('127.0.0.1', 1))
first.close()
name('lab-other')
second = listen()
open(sys.argv[1], 'w').close()
second.accept()[0].recv(1)
";

/// Once its listener is closed a port is nobody's, however many connections came between.
pub(crate) fn of_a_listener_long_ago() {
    let world = World::new();
    let file = world.file("wanted.jsonl.zst");
    let output = file.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "eth0", "-o", output, "--comm", "lab-server"];
    let recorder = Recorder::start(&world, &world.server, &arguments);
    let ready = world.file("ready");
    let mut command = Command::new("python3");
    command.args(["-c", MANY]).arg(&ready);
    let server = world.start(&world.server, command);
    wait_until("the second one listens", || ready.exists());
    let knock = ["-c", "exec 3<>/dev/tcp/10.77.0.2/8080"];
    world.run(&world.client, "bash", &knock).expect_code(0);
    server.finish().expect_code(0);
    world.settle();
    let ended = recorder.stop();
    assert!(ended.errors.contains(": 0 packets"), "{}", ended.errors);
}

/// A process that goes on without its first thread is still followed.
pub(crate) fn without_the_first_thread() {
    const SCRIPT: &str = "
import ctypes, platform, socket, threading, time

def connect():
    # Until the first thread is a zombie.
    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z':
        time.sleep(0.001)
    socket.create_connection(('10.77.0.2', 80)).close()

threading.Thread(target=connect).start()
exit = {'x86_64': 60, 'aarch64': 93}[platform.machine()]
ctypes.CDLL(None).syscall(exit, 0)
";
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let file = world.file("followed.jsonl");
    let output = file.to_str().expect("a path in UTF-8");
    let shell = world.copy("/bin/sh", "tcprec-shell");
    let arguments = ["-i", "eth0", "-o", output, "--comm", "tcprec-shell"];
    let arguments = [&arguments[..], &["--follow-forks"]].concat();
    let recorder = Recorder::start(&world, &world.client, &arguments);
    let shell = shell.to_str().expect("a path in UTF-8");
    let script = format!("true; python3 -c \"{SCRIPT}\"; true");
    world
        .run(&world.client, shell, &["-c", &script])
        .expect_code(0);
    world.settle();
    recorder.stop();
    assert!(packets(&file).len() >= 6);
    drop(nginx);
}

/// Connects from a port of its own, and resets the connection as it closes it.
const CONNECT: &str = "
import socket, struct, sys

with open('/proc/self/comm', 'w') as file:
    file.write(sys.argv[1])
connection = socket.socket()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
connection.bind(('10.77.0.1', 7999))
connection.connect(('10.77.0.2', 80))
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
connection.close()
";

/// Another process's connection between the same ends is not the wanted one's.
pub(crate) fn of_a_port_used_again() {
    let world = World::new();
    let _nginx = Nginx::start(&world, &world.server);
    let names = ["lab-wanted", "lab-other"];
    let files = ["all.jsonl", "wanted.jsonl", "other.jsonl"].map(|name| world.file(name));
    let recorders = [&[][..], &["--comm", names[0]], &["--comm", names[1]]];
    let recorders = [0, 1, 2].map(|at| {
        let output = files[at].to_str().expect("a path in UTF-8");
        let arguments = [&["-i", "eth0", "-o", output][..], recorders[at]].concat();
        Recorder::start(&world, &world.client, &arguments)
    });
    for name in names {
        let connect = ["-c", CONNECT, name];
        let ended = world.run(&world.client, "python3", &connect);
        ended.expect_code(0);
        world.settle();
    }
    for recorder in recorders {
        recorder.stop();
    }
    let [all, wanted, other] = files.each_ref().map(|file| packets_in_order(file));
    // Three to begin, and a reset, as the least.
    assert!(
        wanted.len() >= 4 && other.len() >= 4,
        "{wanted:?} {other:?}"
    );
    assert_eq!(all, [wanted, other].concat());
}

/// A process that has a wanted one's pid later is not wanted.
pub(crate) fn of_a_pid_used_again() {
    let world = World::new();
    let _nginx = Nginx::start(&world, &world.server);
    let mut command = Command::new("sleep");
    command.arg("1000");
    let wanted = world.start(&world.client, command);
    let pid = wanted.pid().to_string();
    let file = world.file("pid.jsonl");
    let output = file.to_str().expect("a path in UTF-8");
    let arguments = ["-i", "eth0", "-o", output, "--pid", &pid];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    wanted.stop();
    let curl = ["curl", "--silent", "http://10.77.0.2/item/1"];
    let arguments = [&["-c", AS_PID, &pid][..], &curl].concat();
    world
        .run(&world.client, "python3", &arguments)
        .expect_code(0);
    world.settle();
    recorder.stop();
    assert!(packets(&file).is_empty());
}

/// Starts processes until there is a recording, which then connect, to a closed port;
/// says how many.
const FORKS: &str = "
import os, socket, sys, time

folder = sys.argv[1]
go, hold = os.pipe()
count = 0
while not os.path.exists(folder + '/recording'):
    if not os.fork():
        os.close(hold)
        os.read(go, 1)
        socket.socket().connect_ex(('127.0.0.1', 1))
        os._exit(0)
    count += 1
    open(folder + '/forking', 'w').close()
    time.sleep(0.002)
os.close(hold)
for _ in range(count):
    os.wait()
print(count)
";

/// Those are followed too that are started while the recording begins.
pub(crate) fn followed_from_the_start() {
    let world = World::without_cable();
    let mut command = Command::new("python3");
    command.args(["-c", FORKS]).arg(world.folder());
    let forks = world.start(&world.client, command);
    wait_until("there are children", || world.file("forking").exists());
    let file = world.file("followed.jsonl");
    let output = file.to_str().expect("a path in UTF-8");
    let pid = forks.pid().to_string();
    let arguments = ["-i", "lo", "-o", output, "--pid", &pid, "--follow-forks"];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    fs::write(world.file("recording"), "").expect("a file");
    let count = forks.finish().expect_code(0).output;
    recorder.stop();
    let records = records::read(&file);
    let connects = records::of_type(&records, "connect").len();
    assert_eq!(connects.to_string(), count.trim());
}

/// Control groups are found also where none is mounted, as under `ip netns exec`.
pub(crate) fn of_a_hidden_control_group() {
    let world = World::without_cable();
    let own = fs::read_to_string("/proc/self/cgroup").expect("the own control groups");
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.expect("the unified hierarchy");
    let output = world.file("capture.jsonl").display().to_string();
    for own in [own.to_owned(), format!("/sys/fs/cgroup{own}")] {
        let record = format!("{TCPREC} record -i lo -o {output} --cgroup {own}");
        let connect = "-- bash -c '! : </dev/tcp/127.0.0.1/1'";
        let script = format!("umount -l /sys/fs/cgroup; exec {record} {connect}");
        let arguments = ["--mount", "sh", "-c", &script];
        world
            .run(&world.server, "unshare", &arguments)
            .expect_code(0);
        let records = records::read(&world.file("capture.jsonl"));
        assert_eq!(records::of_type(&records, "connect").len(), 1);
    }
}
