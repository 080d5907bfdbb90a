//! Which signals end a recording, and which do not; and ids of processes that the kernel
//! does not know.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::process::wait_until;
use crate::recorder::{Recorder, TCPREC, tcprec};
use crate::records;
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

/// With Ctrl-\\ it ends as with Ctrl-C; what tcpdump is asked for figures with does no
/// harm.
pub(crate) fn others() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let output = world.file("capture.jsonl").display().to_string();
    let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", &output]);
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        recorder.signal(signal);
    }
    some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]).join_log(&nginx);
    world.settle();
    recorder.signal(Signal::SIGQUIT);
    let ended = recorder.finish();
    assert!(ended.errors.contains("none lost"), "{}", ended.errors);
    assert!(!ended.errors.contains(": 0 packets"), "{}", ended.errors);
}

/// Told twice together, as by `timeout -s INT`, it ends in good order.
pub(crate) fn twice_together() {
    let world = World::without_cable();
    let _nginx = Nginx::start(&world, &world.server);
    for round in 0..5 {
        let capture = world.file(&format!("{round}.jsonl"));
        let output = capture.display().to_string();
        let recorder = Recorder::start(&world, &world.server, &["-i", "lo", "-o", &output]);
        some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
        // Both wait; two of the same would be one.
        recorder.pause();
        recorder.signal(Signal::SIGINT);
        recorder.signal(Signal::SIGTERM);
        recorder.go_on();
        let ended = recorder.finish();
        assert!(ended.errors.contains("none lost"), "{}", ended.errors);
        let records = records::read(&capture);
        assert_eq!(records.last().expect("a record")["type"], "end");
    }
}

/// Started by nohup it goes on when the terminal is closed.
pub(crate) fn without_a_terminal() {
    let world = World::without_cable();
    let output = world.file("capture.jsonl").display().to_string();
    let script = format!(
        "trap '' HUP; {TCPREC} record -i lo -o {output} -- \
         sh -c 'kill -HUP $PPID; sleep 0.3; echo it went on'"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let ended = world.start(&world.server, command).finish().expect_code(0);
    assert_eq!(ended.output, "it went on\n");
}

/// In a pid namespace a number is another process than the kernel's.
pub(crate) fn in_a_pid_namespace() {
    let world = World::without_cable();
    for command in ["record -i lo -o -", "top -n 1"] {
        let script = format!("{TCPREC} {command} --pid 1");
        let arguments = ["--pid", "--fork", "--mount-proc", "bash", "-c", &script];
        let ended = world
            .run(&world.server, "unshare", &arguments)
            .expect_code(2);
        assert!(ended.errors.contains("pid namespace"), "{}", ended.errors);
    }
    let known = ["top", "-n", "1", "-d", "0.1", "--pid", "1"];
    tcprec(&world, &world.server, &known).expect_code(0);
    // The processes outside are not seen, nor which sockets they had before.
    let mut within = vec!["--pid", "--fork", "--mount-proc", TCPREC, "doctor"];
    let doctor = world.run(&world.server, "unshare", &within).expect_code(1);
    assert!(doctor.output.contains("--pid=host"), "{}", doctor.output);
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    within.splice(4.., ["record", "--duration", "0.1", "-o", &output]);
    let recorded = world.run(&world.server, "unshare", &within).expect_code(0);
    assert!(
        recorded.errors.contains("without iter/task_file"),
        "{}",
        recorded.errors
    );
    let missing = &records::read(&capture)[0]["missing_hooks"];
    assert_eq!(missing[0]["hook"], "iter/task_file");
}

/// A terminal that was stopped (Ctrl-S) holds nothing up but what is told there.
pub(crate) fn a_stopped_terminal() {
    const SCRIPT: &str = "
import os, pty, signal, socket, subprocess, sys, termios, threading, time
tcprec, output = sys.argv[1:]
master, slave = pty.openpty()
recorder = subprocess.Popen([tcprec, 'record', '-i', 'lo', '-o', output], stderr=slave)
told = b''
while b'\\n' not in told.partition(b'recording on')[2]:
    told += os.read(master, 1000)
termios.tcflow(slave, termios.TCOOFF)
time.sleep(2.5)
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(20):
    socket.create_connection(listener.getsockname()).close()
time.sleep(1.5)
recorder.send_signal(signal.SIGINT)
def is_ended():
    with open(output) as file:
        return '\"end\"' in file.read()
while not is_ended():
    time.sleep(0.01)
termios.tcflow(slave, termios.TCOON)
def drain():
    while True:
        os.read(master, 1000)
threading.Thread(target=drain, daemon=True).start()
print(recorder.wait())
";
    let world = World::without_cable();
    let output = world.file("capture.jsonl");
    let arguments = ["-c", SCRIPT, TCPREC, output.to_str().expect("UTF-8")];
    let ended = world.run(&world.server, "python3", &arguments);
    assert_eq!(ended.expect_code(0).output, "0\n");
    let records = records::read(&output);
    let connects = records::of_type(&records, "connect");
    assert_eq!(connects.len(), 20);
    assert!(records::of_type(&records, "packet").len() >= 20 * 5);
}

/// A FIFO that nobody reads yet: the user is told what is waited for.
pub(crate) fn a_fifo_without_a_reader() {
    let world = World::without_cable();
    let fifo = world.file("capture.jsonl");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let fifo = fifo.display().to_string();
    let mut command = Command::new(TCPREC);
    command.args(["record", "-i", "lo", "-o", &fifo]);
    let recorder = world.start(&world.server, command);
    wait_until("it is told", || recorder.errors().contains("is a FIFO"));
    let mut command = Command::new("cat");
    command.arg(&fifo);
    let reader = world.start(&world.server, command);
    Recorder::ready(recorder).stop();
    let read = records::parse(&reader.finish().expect_code(0).output);
    assert_eq!(read.last().expect("a record")["type"], "end");
}
