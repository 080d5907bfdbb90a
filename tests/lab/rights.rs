//! What the recorder may do, and what others may do with its files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::process::wait_until;
use crate::recorder::{Recorder, TCPREC, analyze};
use crate::records;
use crate::report::Ends;
use crate::shim::Shim;
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

const NOBODY: u32 = 65534;
/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE and CAP_BPF by their numbers
/// (linux/capability.h).
const KEPT: u64 = 1 << 12 | 1 << 13 | 1 << 19 | 1 << 39;

/// A field of a `status` file of /proc.
pub(crate) fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default()
        .trim_start_matches(':')
        .trim()
        .to_owned()
}

fn capabilities(status: &str, set: &str) -> u64 {
    u64::from_str_radix(&field(status, set), 16).expect("a set of capabilities")
}

/// Root of a rootless container may nothing that recording needs. It is told where to go.
pub(crate) fn in_a_user_namespace() {
    let world = World::without_cable();
    let arguments = ["--map-root-user", TCPREC, "record", "-i", "lo", "--print"];
    let ended = world.run(&world.server, "unshare", &arguments);
    let errors = ended.expect_code(1).errors;
    assert!(errors.contains("--netns PID"), "{errors}");
}

/// Nor without sysfs, as in a chroot: what to do is told.
pub(crate) fn without_sysfs() {
    const SCRIPT: &str = "mount -t tmpfs none /sys && exec \"$0\" \"$@\"";
    let world = World::without_cable();
    for command in [&["record", "-i", "lo", "--print"][..], &["top"]] {
        let arguments = ["--mount", "sh", "-c", SCRIPT, TCPREC];
        let arguments = [&arguments[..], command].concat();
        let ended = world.run(&world.server, "unshare", &arguments);
        let errors = ended.expect_code(1).errors;
        assert!(errors.contains("mount -t sysfs"), "{errors}");
    }
}

/// A command does not run on alone when the recording fails as it begins.
pub(crate) fn not_given_up() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl").display().to_string();
    let watched = world.file("watched").display().to_string();
    fs::write(&watched, "").expect("a file");
    let mut command = Command::new(TCPREC);
    command.args(["record", "-i", "lo", "-o", &capture, "--"]);
    command.args(["tail", "-f", &watched]);
    Shim::new(&world).keep_rights(&mut command);
    let ended = world.start(&world.server, command).finish().expect_code(1);
    let expected = "cannot drop privileges";
    assert!(ended.errors.contains(expected), "{}", ended.errors);
    let runs = |process: &fs::DirEntry| {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&watched)
    };
    wait_until("the command has ended", || {
        let processes = fs::read_dir("/proc").expect("the processes");
        !processes.flatten().any(|process| runs(&process))
    });
    let records = records::read(Path::new(&capture));
    assert_eq!(records.last().expect("a record")["reason"], "failed");
}

/// No thread keeps more than it needs; the command has all that the user has.
pub(crate) fn given_up() {
    let world = World::without_cable();
    let capture = world.file("capture.jsonl").display().to_string();
    let seen = world.file("seen");
    // Until all threads were looked at, or the test has failed and its folder is gone.
    let script = format!(
        "cat /proc/self/status; while [ -d {} ] && [ ! -e {} ]; do sleep 0.05; done",
        world.folder().display(),
        seen.display()
    );
    let recorder = Recorder::start(
        &world,
        &world.server,
        &["-i", "lo", "-o", &capture, "--", "sh", "-c", &script],
    );
    let mut threads = 0;
    wait_until("all threads work", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", recorder.pid())).expect("the threads");
        threads = tasks.count();
        threads > 2
    });
    let own = fs::read_to_string("/proc/self/status").expect("an own status");
    let tasks = fs::read_dir(format!("/proc/{}/task", recorder.pid())).expect("the threads");
    for task in tasks {
        let path = task.expect("a thread").path().join("status");
        let status = fs::read_to_string(path).expect("its status");
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(
                capabilities(&status, set),
                KEPT & capabilities(&own, "CapEff"),
                "{set}"
            );
        }
        assert_eq!(capabilities(&status, "CapInh"), 0);
        assert_eq!(field(&status, "NoNewPrivs"), "1");
    }
    fs::write(&seen, "").expect("a file");
    let ended = recorder.finish();
    assert_eq!(
        capabilities(&ended.output, "CapEff"),
        capabilities(&own, "CapEff")
    );
    assert_eq!(field(&ended.output, "NoNewPrivs"), "0");
}

/// Its memory holds what users sent.
pub(crate) fn no_core_dump() {
    let world = World::without_cable();
    let folder = world.folder().display();
    let script =
        format!("ulimit -c unlimited; cd {folder}; exec {TCPREC} record -i lo -o capture.jsonl");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let recorder = Recorder::ready(world.start(&world.server, command));
    wait_until("it has given up its rights", || {
        let status = fs::read_to_string(format!("/proc/{}/status", recorder.pid()));
        field(&status.expect("its status"), "NoNewPrivs") == "1"
    });
    recorder.signal(Signal::SIGABRT);
    let status = recorder.finish_anyhow().status;
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    assert!(!status.core_dumped());
}

/// Not root, but a program with these capabilities records all the same.
pub(crate) fn file_capabilities() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let program = world.copy(TCPREC, "tcprec");
    // The ids of the accept tracepoints are in tracefs; where that is not
    // mounted, to open one of its own takes this as well.
    let tracefs = if Path::new("/sys/kernel/tracing/events").exists() {
        ""
    } else {
        "cap_sys_admin,"
    };
    let program_path = program.display().to_string();
    let give = |more: &str| {
        let needed = "cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw,cap_dac_read_search";
        let set = format!("{tracefs}{needed}{more}=ep");
        world
            .run(&world.server, "setcap", &[&set, &program_path])
            .expect_code(0);
    };
    give(",cap_sys_ptrace");
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.folder(), everyone).expect("a folder for all");
    let folder = world.file("theirs");
    fs::create_dir(&folder).expect("a folder");
    chown(&folder, Some(NOBODY), Some(NOBODY)).expect("a folder of nobody");
    let capture = folder.join("capture.jsonl.zst");
    let start = |capture: &Path| {
        let mut command = Command::new(&program);
        let arguments = ["record", "-i", "lo", "-C", "100", "-o"].map(OsStr::new);
        command.args(arguments).arg(capture).uid(NOBODY).gid(NOBODY);
        Recorder::ready(world.start(&world.server, command))
    };
    let recorder = start(&capture);
    let mut traffic = some_of_everything(&world, &world.server, ["127.0.0.1", "::1"]);
    traffic.join_log(&nginx);
    world.settle();
    let errors = recorder.stop().errors;
    assert!(!errors.contains("without"), "a hook is missing: {errors}");
    expect_hidden(&capture);
    analyze(&world, &capture).expect(&traffic, Ends::Both);

    give("");
    let errors = start(&folder.join("less.jsonl")).stop().errors;
    assert!(errors.contains("without /proc/PID/exe: "), "{errors}");
}

fn expect_hidden(path: &Path) {
    let mode = fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

/// In every format, in a series, and where a file was there before.
pub(crate) fn files_are_hidden() {
    let world = World::without_cable();
    let names = ["cap.jsonl", "cap.jsonl.zst", "cap.pcapng", "cap.pcapng.zst"];
    let outputs = names.map(|name| world.file(name).display().to_string());
    fs::write(&outputs[0], "").expect("a file that was there before");
    let everyone = fs::Permissions::from_mode(0o666);
    fs::set_permissions(&outputs[0], everyone).expect("a file for all");
    let mut arguments = vec!["-i", "lo", "-G", "1", "-W", "2"];
    arguments.extend(outputs.iter().flat_map(|path| ["-o", path]));
    Recorder::start(&world, &world.server, &arguments).finish();
    let folder = fs::read_dir(world.folder()).expect("the folder");
    let files = folder.map(|entry| entry.expect("a file").path());
    let captures = files.filter(|path| path.to_string_lossy().contains("/cap."));
    assert_eq!(captures.inspect(|path| expect_hidden(path)).count(), 8);
}
