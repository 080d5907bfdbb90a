//! Whose the counts of `tcprec top` are: held against what programs say of
//! themselves.

use std::fs;
use std::process::Command;

use crate::process::{AS_PID, wait_until};
use crate::records;
use crate::top::{Counted, counting};
use crate::web::Nginx;
use crate::world::World;

/// Sends over a connection that was there before, sends before it is accepted,
/// and hands a socket on to a child; says which process did which.
const OWNERS: &str = "
import os, socket, sys, time

def child(run):
    pid = os.fork()
    if not pid:
        run()
        os._exit(0)
    return pid

def read(connection, count):
    while count:
        count -= len(connection.recv(count))

folder = sys.argv[1]
listener = socket.create_server(('127.0.0.1', 0))
old = socket.create_connection(listener.getsockname())
old_server, _ = listener.accept()
open(folder + '/begun', 'w').close()
while not os.path.exists(folder + '/go'):
    time.sleep(0.01)

old.sendall(b'x' * 1000)
read(old_server, 1000)

def early():
    connection = socket.create_connection(listener.getsockname())
    connection.sendall(b'x' * 2000)
    open(folder + '/sent', 'w').close()
    read(connection, 500)

def late():
    while not os.path.exists(folder + '/sent'):
        time.sleep(0.01)
    connection, _ = listener.accept()
    read(connection, 2000)
    connection.sendall(b'x' * 500)

pids = [os.getpid(), child(early), child(late)]
os.waitpid(pids[1], 0)
os.waitpid(pids[2], 0)

given = socket.create_connection(listener.getsockname())
kept, _ = listener.accept()
pids.append(child(lambda: given.sendall(b'x' * 700)))
os.waitpid(pids[3], 0)
read(kept, 700)
print(*pids)
";

pub(crate) fn owners() {
    let world = World::without_cable();
    let mut command = Command::new("python3");
    command.args(["-c", OWNERS]).arg(world.folder());
    let script = world.start(&world.server, command);
    wait_until("the script has a connection", || {
        world.file("begun").exists()
    });
    let top = counting(&world, &world.server, &["-d", "0.1"]);
    fs::write(world.file("go"), "").expect("a file");
    let ended = script.finish().expect_code(0);
    world.settle();
    let counted = Counted::by(top);
    let pids = ended.output.split_whitespace();
    let pids: Vec<u32> = pids.map(|pid| pid.parse().expect("a pid")).collect();
    let names = ["connects", "accepts", "sent_bytes", "received_bytes"];
    let found: Vec<_> = pids.iter().map(|pid| counted.of(*pid, &names)).collect();
    let expected = [
        [1, 1, 1000, 1700],
        [1, 0, 2000, 500],
        [0, 1, 500, 2000],
        [0, 0, 700, 0],
    ];
    assert_eq!(found, expected, "{counted:?}");
}

/// A server that holds its listener's lock nearly always (the kernel translates a
/// filter under it), and a client that resets each connection once it has it: a
/// SYN-ACK of the one for a SYN, an ACK and a reset of the other.
const HANDSHAKES: &str = "
import ctypes, os, socket, struct

SO_ATTACH_FILTER = 26
ALL = struct.pack('HBBI', 6, 0, 0, 0xffffffff)
instructions = ctypes.create_string_buffer(ALL * 1000)
program = struct.pack('HP', 1000, ctypes.addressof(instructions))

listener = socket.create_server(('127.0.0.1', 0), backlog=1000)
pid = os.fork()
if not pid:
    for _ in range(500):
        connection = socket.create_connection(listener.getsockname())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        connection.close()
    os._exit(0)
while os.waitpid(pid, os.WNOHANG) == (0, 0):
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
print(os.getpid(), pid)
";

/// The kernel answers for a listener in the client's context here, whoever holds the
/// listener's lock.
pub(crate) fn handshakes() {
    let [server, client] = pids_and_counts(HANDSHAKES, &["connects", "sent_packets"]);
    assert_eq!(server, [0, 500]);
    assert_eq!(client, [500, 1500]);
}

/// Accepts a connection that was reset before.
const RESET: &str = "
import os, socket, struct

listener = socket.create_server(('127.0.0.1', 0))
pid = os.fork()
if not pid:
    connection = socket.create_connection(listener.getsockname())
    connection.sendall(b'x' * 5000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()
    os._exit(0)
os.waitpid(pid, 0)
listener.accept()
print(os.getpid(), pid)
";

pub(crate) fn reset_before_accept() {
    let names = ["accepts", "sent_bytes", "received_bytes"];
    let [server, client] = pids_and_counts(RESET, &names);
    assert_eq!(server, [1, 0, 5000]);
    assert_eq!(client, [0, 5000, 0]);
}

/// What is counted for the two processes of a script, whose pids it tells.
fn pids_and_counts(script: &str, names: &[&str]) -> [Vec<u64>; 2] {
    let world = World::without_cable();
    let top = counting(&world, &world.server, &["-d", "0.1"]);
    let ended = world.run(&world.server, "python3", &["-c", script]);
    let ended = ended.expect_code(0);
    world.settle();
    let counted = Counted::by(top);
    let mut pids = ended.output.split_whitespace();
    [(); 2].map(|()| {
        let pid = pids.next().expect("two pids").parse().expect("a pid");
        counted.of(pid, names)
    })
}

/// A process that starts another program, and another one with its pid.
pub(crate) fn names() {
    const CONNECT: &str = "exec 3<>/dev/tcp/10.77.0.2/80; exec 3>&-";
    const CURL: &str = "curl --silent --output /dev/null http://10.77.0.2/item/1";
    let world = World::new();
    let _nginx = Nginx::start(&world, &world.server);
    let top = counting(&world, &world.client, &["-d", "86400"]);
    let script = format!("{CONNECT}; exec {CURL}");
    let first = world.run(&world.client, "bash", &["-c", &script]);
    let pid = first.expect_code(0).pid;
    let arguments = ["-c", AS_PID, &pid.to_string(), "bash", "-c", CONNECT];
    let second = world.run(&world.client, "python3", &arguments);
    second.expect_code(0);
    world.settle();
    let rows = records::parse(&top.stop().expect_code(0).output);
    let rows = rows.iter().filter(|row| row["pid"] == pid);
    let mut told: Vec<_> = rows
        .map(|row| (row["comm"].as_str(), row["connects"].as_u64()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(Some("bash"), Some(1)), (Some("curl"), Some(2))]);
}
