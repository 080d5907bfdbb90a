//! Which signals end a recording, and which do not; and ids of processes that the kernel
//! does not know.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::recorder::{Recorder, TCPREC, tcprec};
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
}
