//! Who holds a socket, or acts on it, and does not own it.

use std::fs;

use super::{Scene, Script};
use crate::process::wait_until;
use crate::records;

/// A process that holds a socket without using it does not own it, though it
/// is the one that closes it at last.
pub(crate) fn held_by_bystanders() {
    let scene = Scene::new();
    let script = "
listener = listen()
def hold():
    # Until the others are gone, or the test has failed and its folder is gone.
    while os.path.exists('actors.py') and not os.path.exists('gone'):
        time.sleep(0.005)
def serve_one():
    end, _ = listener.accept()
    child(hold)
    serve(end)
server = child(serve_one)
def ask_one():
    end = socket.create_connection((LOCAL, port_of(listener)))
    child(hold)
    hear(end)
client = child(ask_one)
wait_for([server, client])
open('gone', 'w').close()
";
    scene.expect(script, "connect", "accept");
}

/// What is read of a socket after it closed makes it nobody else's.
pub(crate) fn read_after_the_end() {
    let scene = Scene::new();
    let script = "
TCP_CLOSE = 7  # linux/tcp_states.h
def end_of(end):
    while end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
        time.sleep(0.001)
    assert end.recv(16) == b'?'
    end.close()
listener = listen()
for _ in range(3):
    client = socket.create_connection((LOCAL, port_of(listener)))
    server = listener.accept()[0]
    tell(port_of(client), os.getpid(), os.getpid())
    for end in (client, server):
        end.send(b'?')
        end.shutdown(socket.SHUT_WR)
    end_of(client)
    end_of(server)
";
    scene.expect(script, "connect", "accept");
    let records = records::read(&scene.capture);
    assert!(records::of_type(&records, "handover").is_empty());
}

/// A worker of the kernel, which acts for the processes of Multipath TCP, owns nothing.
pub(crate) fn of_a_kernel_worker() {
    let scene = Scene::new();
    let script = "
MPTCP = (socket.AF_INET, socket.SOCK_STREAM, 262)  # IPPROTO_MPTCP of linux/in.h
listener = socket.socket(*MPTCP)
listener.bind((LOCAL, 0))
listener.listen()
client = socket.socket(*MPTCP)
client.connect(listener.getsockname())
server = listener.accept()[0]
pause()
client.sendall(b'?')
server.recv(16)
tell(port_of(client), os.getpid(), os.getpid())
client.close()
server.close()
";
    let script = Script::start(&scene.world, &scene.world.server, script);
    wait_until("the sockets are there", || {
        scene.world.file("ready").exists()
    });
    let recorder = scene.recorder();
    fs::write(scene.world.file("go"), "").expect("a file");
    script.finish();
    scene.world.settle();
    recorder.stop();
    let records = records::read(&scene.capture);
    assert!(!records::of_type(&records, "close").is_empty());
    let processes = records::of_type(&records, "process").into_iter();
    let names: Vec<_> = processes.map(|it| it["comm"].as_str()).collect();
    let is_worker = |name: &Option<&str>| name.is_some_and(|name| name.starts_with("kworker"));
    assert!(!names.iter().any(is_worker), "{names:?}");
}
