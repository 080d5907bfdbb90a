//! Analysis while recording: it says what an analysis of the file says.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::process::wait_until;
use crate::recorder::{Recorder, tcprec};
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

/// Each format of the report, byte for byte: the live one and that of the file.
pub(crate) fn is_replay() {
    for format in ["text", "jsonl", "json"] {
        for name in ["capture.jsonl.zst", "capture.pcapng"] {
            let world = World::new();
            let nginx = Nginx::start(&world, &world.server);
            let capture = world.file(name);
            let output = capture.to_str().expect("a path in UTF-8");
            let analyze = format!("--analyze={format}");
            let recorder = Recorder::start(
                &world,
                &world.client,
                &["-i", "eth0", "-o", output, &analyze],
            );
            let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
            traffic.join_log(&nginx);
            world.settle();
            let live = recorder.stop().output;
            let arguments = ["analyze", "--format", format, output];
            let replayed = tcprec(&world, &world.client, &arguments).expect_code(0);
            assert!(live.contains("GET"), "{live}");
            assert_eq!(live, replayed.output, "{format} of {name}");
        }
    }
}

/// What is found is told while the recording goes on, once.
pub(crate) fn findings_at_once() {
    let world = World::new();
    let recorder = Recorder::start(&world, &world.client, &["-i", "eth0", "--analyze"]);
    let mut refused = Command::new("curl");
    refused.args(["--silent", "http://10.77.0.2:81/"]);
    for _ in 0..2 {
        let mut again = Command::new("curl");
        again.args(refused.get_args());
        world.start(&world.client, again).finish().expect_code(7);
    }
    let told = |errors: &str| errors.matches("was refused by 10.77.0.2:81").count();
    wait_until("the refusal is told", || told(&recorder.errors()) > 0);
    let red = world.file("\x1b[31mred");
    symlink("/usr/bin/curl", &red).expect("a link");
    let mut of_red = Command::new(&red);
    of_red.args(["--silent", "http://10.77.0.2:82/"]);
    world.start(&world.client, of_red).finish().expect_code(7);
    wait_until("that of a strange name is told", || {
        recorder.errors().contains("10.77.0.2:82")
    });
    let ended = recorder.stop();
    assert!(!ended.errors.contains('\x1b'), "{:?}", ended.errors);
    assert_eq!(told(&ended.errors), 1, "{}", ended.errors);
    assert_eq!(told(&ended.output), 1, "{}", ended.output);
    assert!(
        ended.output.contains("(2 times, of several processes)"),
        "{}",
        ended.output
    );
}

/// A condition selects the same in both.
pub(crate) fn condition() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl.zst");
    let output = capture.to_str().expect("a path in UTF-8");
    let wanted = [
        "--where",
        "status == 404 or process == curl and state == REJ",
    ];
    let recorder = Recorder::start(
        &world,
        &world.client,
        &[
            "-i",
            "eth0",
            "-o",
            output,
            "--analyze",
            wanted[0],
            wanted[1],
        ],
    );
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    let live = recorder.stop().output;
    let arguments = ["analyze", wanted[0], wanted[1], output];
    let replayed = tcprec(&world, &world.client, &arguments).expect_code(0);
    assert_eq!(live, replayed.output);
    for part in [
        "HTTP requests: 2 (all with 404)",
        "Connections: 2 (all refused)",
    ] {
        assert!(live.contains(part), "{part}: {live}");
    }
}

/// The standard output is for one thing.
pub(crate) fn misuse() {
    let world = World::new();
    for arguments in [
        &["record", "-o", "-", "--analyze"][..],
        &["record", "--print", "--analyze=jsonl"],
        &["record", "--analyze=xml", "--print"],
        &["record", "--print", "--where", "status"],
        &["record", "--analyze", "--where", "stat"],
    ] {
        tcprec(&world, &world.client, arguments).expect_code(2);
    }
}
