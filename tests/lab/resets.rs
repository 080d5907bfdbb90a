//! Resets, and whose they are.

use serde_json::Value;

use crate::owners::Scene;
use crate::records;

/// The events of resets that were sent.
fn sent(scene: &Scene) -> Vec<Value> {
    let records = records::read(&scene.capture);
    let resets = records::of_type(&records, "reset").into_iter();
    let sent = resets.filter(|it| it["direction"] == "out");
    sent.cloned().collect()
}

/// Connections that end by a reset, from either side, before or after they
/// were accepted.
pub(crate) fn of_either_end() {
    let scene = Scene::new();
    let script = "
listener = listen()
def abort(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    end.close()
def serve_two():
    abort(listener.accept()[0])
    end, _ = listener.accept()
    select.select([end], [], [])
    end.close()
server = child(serve_two)
end = socket.create_connection((LOCAL, port_of(listener)))
tell(port_of(end), os.getpid(), server)
select.select([end], [], [])
end.close()
end = socket.create_connection((LOCAL, port_of(listener)))
tell(port_of(end), os.getpid(), server)
abort(end)
wait_for([server])
";
    scene.expect(script, "connect", "accept");
    let resets: Vec<_> = (scene.report().of_kind("conn"))
        .map(|connection| connection["conn_state"].clone())
        .collect();
    assert_eq!(resets, ["RSTR", "RSTO"]);
}

/// A process resets what another one uses: here one that still holds it, as `ss -K` may at any
/// time. The finding says who did it, and whose it was, also where all was done and said.
pub(crate) fn of_another_process() {
    let scene = Scene::new();
    let script = "
listener = listen()
end = socket.create_connection((LOCAL, port_of(listener)))
held, _ = listener.accept()
worker = child(lambda: held.recv(1))
tell(port_of(end), os.getpid(), worker)
end.sendall(b'?')
wait_for([worker])
held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
held.close()
select.select([end], [], [])
end.close()
";
    let told = scene.record(script);
    let report = scene.report();
    let [reset] = report.of_kind("finding").collect::<Vec<_>>()[..] else {
        panic!("one finding");
    };
    assert_eq!(reset["finding"], "reset");
    assert_eq!(reset["acting_pid"], told[0].client, "{reset}");
    assert_eq!(reset["resp_pid"], told[0].server, "{reset}");
}

/// A firewall resets a connection in the name of its server, which knows nothing of it.
pub(crate) fn of_a_firewall() {
    let scene = Scene::new();
    let script = "
import subprocess
listener = listen()
end = socket.create_connection((LOCAL, port_of(listener)))
served, _ = listener.accept()
tell(port_of(end), os.getpid(), os.getpid())
rules = '''
    add table ip t
    add chain ip t c { type filter hook input priority 0; }
    add rule ip t c tcp dport %d reject with tcp reset'''
subprocess.run(['nft', rules % port_of(listener)], check=True)
end.sendall(b'?')
try:
    end.recv(1)
except ConnectionResetError:
    pass
subprocess.run(['nft', 'delete table ip t'], check=True)
time.sleep(0.05)  # No socket lives for so long that has sent a reset.
";
    let told = scene.record(script);
    let report = scene.report();
    let [reset] = report.of_kind("finding").collect::<Vec<_>>()[..] else {
        panic!("one finding");
    };
    assert_eq!(reset["finding"], "reset");
    assert_eq!(reset["foreign"], true, "{reset}");
    assert_eq!(
        (reset["end"].as_str(), &reset["resp_pid"]),
        (Some("resp"), &told[0].server.into())
    );
}

/// What comes for connections in TIME-WAIT is reset by the kernel, whoever runs then.
///
/// An end whose FIN is not acknowledged yet is still a socket; and one that is closed before
/// its reset has come sends a FIN, which is reset too.
pub(crate) fn after_the_end() {
    const SCRIPT: &str = "
import os, select, socket, sys, time
listener = socket.create_server(('127.0.0.1', 0), backlog=400)
pid = os.fork()
if not pid:
    mine = [socket.create_connection(listener.getsockname()) for _ in range(300)]
    for end in mine:
        end.close()
    os._exit(0)
ends = [listener.accept()[0] for _ in range(300)]
os.wait()
print(flush=True)
sys.stdin.readline()
while ' 04 ' in open('/proc/net/tcp').read():  # FIN-WAIT-1
    time.sleep(0.01)
for end in ends:
    end.sendall(b'late')
    reset = select.poll()
    reset.register(end, select.POLLERR)
    reset.poll()
";
    let scene = Scene::new();
    let recorder = scene.recorder();
    let script = format!("echo | python3 -c \"{SCRIPT}\"");
    let world = &scene.world;
    world
        .run(&world.server, "bash", &["-c", &script])
        .expect_code(0);
    world.settle();
    recorder.stop();
    let sent = sent(&scene);
    assert_eq!(sent.len(), 300);
    let named = sent.iter().filter(|it| !it["process"].is_null()).count();
    assert_eq!(named, 0, "{:?}", sent[0]);
}

/// What comes for a connection that the host has forgotten is reset by the listener.
pub(crate) fn of_a_listener() {
    let scene = Scene::new();
    let script = "
TCP_REPAIR = 19
listener = listen()
end = socket.create_connection((LOCAL, port_of(listener)))
other, _ = listener.accept()
tell(port_of(end), os.getpid(), os.getpid())
other.setsockopt(socket.SOL_TCP, TCP_REPAIR, 1)
other.close()
end.sendall(b'?')
try:
    end.recv(1)
except ConnectionResetError:
    pass
";
    let told = scene.record(script);
    let [reset] = &sent(&scene)[..] else {
        panic!("one reset: {:?}", sent(&scene));
    };
    assert_eq!(reset["remote"]["port"], told[0].client_port);
    assert_eq!(reset["netns"], scene.world.server.inode());
}
