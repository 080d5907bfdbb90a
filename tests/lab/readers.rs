//! Programs of others read what we write.

use std::path::PathBuf;

use crate::recorder::Recorder;
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

/// A recording of the client's side, in the formats that the names tell.
fn record<const N: usize>(names: [&str; N]) -> (World, [String; N]) {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let outputs = names
        .map(|name| world.file(name))
        .map(|path: PathBuf| path.display().to_string());
    let mut arguments = vec!["-i", "eth0"];
    arguments.extend(outputs.iter().flat_map(|path| ["-o", path]));
    let recorder = Recorder::start(&world, &world.client, &arguments);
    some_of_everything(&world, &world.client, World::SERVER).join_log(&nginx);
    world.settle();
    recorder.stop();
    (world, outputs)
}

/// Without a warning; every packet has its owner as a comment.
pub(crate) fn tshark() {
    let (world, outputs) = record(["capture.pcapng", "capture.pcapng.zst"]);
    for output in &outputs {
        let fields = [
            "-T",
            "fields",
            "-e",
            "frame.comment",
            "-e",
            "http.request.uri",
        ];
        let arguments = [&["-n", "-r", output, "-Y", "tcp"], &fields[..]].concat();
        let ended = world
            .run(&world.client, "tshark", &arguments)
            .expect_code(0);
        let warnings: Vec<_> = ended
            .errors
            .lines()
            .filter(|line| !line.starts_with("Running as user"))
            .collect();
        assert!(warnings.is_empty(), "{output}: {warnings:?}");
        assert!(
            ended.output.contains("/item/2"),
            "{output}: {}",
            ended.output
        );
        for line in ended.output.lines() {
            assert!(
                line.contains("pid=") && line.contains("comm=curl"),
                "{output}: {line}"
            );
        }
    }
}

pub(crate) fn tcpdump() {
    let (world, [output]) = record(["capture.pcapng"]);
    let ended = world
        .run(&world.client, "tcpdump", &["-n", "-r", &output])
        .expect_code(0);
    let packets = ended
        .output
        .lines()
        .filter(|line| line.contains("Flags ["))
        .count();
    assert!(packets > 0, "{}", ended.output);
    let ended = world
        .run(&world.client, "tshark", &["-n", "-r", &output, "-Y", "tcp"])
        .expect_code(0);
    assert_eq!(packets, ended.output.lines().count());
}

pub(crate) fn jq() {
    let (world, [plain, compressed]) = record(["capture.jsonl", "capture.jsonl.zst"]);
    let count = |program: &str| {
        let script = format!(
            "set -e; {program} | jq -r 'select(.type == \"packet\") | .wire_bytes' | wc -l"
        );
        let ended = world
            .run(&world.client, "sh", &["-c", &script])
            .expect_code(0);
        assert_eq!(ended.errors, "");
        ended.output.trim().parse::<u64>().expect("a count")
    };
    let packets = count(&format!("cat {plain}"));
    assert!(packets > 0);
    assert_eq!(count(&format!("zstdcat {compressed}")), packets);
}
