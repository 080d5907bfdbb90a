//! Interfaces that come, go, return and move while they are recorded.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::netns::Namespace;
use crate::process::{Process, wait_until};
use crate::recorder::{Recorder, TCPREC, analyze, convert, tcprec};
use crate::records::{self, of_type};
use crate::report::Ends;
use crate::shim::Shim;
use crate::traffic::some_of_everything;
use crate::web::Nginx;
use crate::world::World;

const HOOKS: [&str; 2] = ["tcx", "socket-filter"];

/// Recording goes on when an interface of the same name returns.
pub(crate) fn returns() {
    for hook in HOOKS {
        let world = World::new();
        let nginx = Nginx::start(&world, &world.server);
        let capture = world.file(&format!("{hook}.jsonl.zst"));
        let output = capture.display().to_string();
        let recorder = Recorder::start(
            &world,
            &world.client,
            &["-i", "eth0", "--hook", hook, "-o", &output],
        );
        let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
        world.settle();
        let mut first = None;
        for times in [1, 2] {
            world.client.ip("link delete eth0");
            let is_told = |what| recorder.errors().matches(what).count() == times;
            wait_until("the loss of the interface is told", || {
                is_told("eth0 is gone")
            });
            world.lay_cable();
            wait_until("its return is told", || is_told("recording on eth0 too"));
            let first = *first.get_or_insert_with(|| lasting_descriptors(recorder.pid()));
            wait_until("what is gone is let go of", || {
                open_descriptors(recorder.pid()) <= first
            });
        }
        let again = some_of_everything(&world, &world.client, World::SERVER);
        traffic.connections.extend(again.connections);
        traffic.join_log(&nginx);
        world.settle();
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Client);
        // It is recorded as before: tcx alone knows the sockets of packets.
        let records = world.file("capture.jsonl");
        convert(&world, &capture, &records);
        let records = records::read(&records);
        let latest = of_type(&records, "interface").len() - 1;
        let packets = of_type(&records, "packet").into_iter();
        let mut of_latest = packets.filter(|packet| packet["interface"] == latest);
        let knows_sockets = of_latest.any(|packet| packet["cookie"].is_number());
        assert_eq!(knows_sockets, hook == "tcx");
    }
}

/// How many descriptors a process holds, but for those that it opens for a moment.
fn lasting_descriptors(pid: u32) -> usize {
    let looks = (0..10).map(|_| {
        thread::sleep(Duration::from_millis(5));
        open_descriptors(pid)
    });
    looks.min().unwrap_or_default()
}

fn open_descriptors(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    open.expect("the descriptors of a process").count()
}

/// With `-i any` an interface that comes later is recorded too.
pub(crate) fn comes() {
    let world = World::without_cable();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.pcapng.zst");
    let output = capture.display().to_string();
    // Named, or the events would be those of the whole machine.
    let netns = world.client.path();
    let arguments = ["-i", "any", "--netns", &netns, "-o", &output];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    world.lay_cable();
    wait_until("the new interface is told", || {
        recorder.errors().contains("recording on eth0 too")
    });
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Client);
}

/// One that comes is recorded long before a second has passed: what is sent meanwhile is
/// not. The recorder's seconds are long here, so that none passes because the machine is
/// busy.
pub(crate) fn are_noticed_soon() {
    const COUNT: usize = 3;
    const SECOND: Duration = Duration::from_secs(20);
    let world = World::without_cable();
    let shim = Shim::new(&world);
    let output = world.file("capture.jsonl").display().to_string();
    // In a namespace that is entered, as in the recorder's own.
    let netns = world.client.path();
    for arguments in [&["-i", "any"][..], &["-i", "any", "--netns", &netns]] {
        let mut command = Command::new(TCPREC);
        command.arg("record").args(arguments).args(["-o", &output]);
        shim.slow_down(&mut command, 20);
        let recorder = Recorder::ready(world.start(&world.client, command));
        let took = (0..COUNT).map(|number| {
            world
                .client
                .ip(&format!("link add dev soon{number} type veth"));
            let begun = Instant::now();
            let told = format!("recording on soon{number} too");
            wait_until(&told, || recorder.errors().contains(&told));
            world.client.ip(&format!("link delete soon{number}"));
            begun.elapsed()
        });
        let mut took: Vec<_> = took.collect();
        took.sort();
        // For one of them a second may just have been over.
        assert!(took[COUNT / 2] < SECOND / 2, "{took:?}");
        recorder.stop();
    }
}

/// Those that are deleted while a recording begins are no reason not to begin it.
pub(crate) fn vanish_at_the_start() {
    let world = World::without_cable();
    let script = "while :; do for n in 1 2 3 4 5 6 7 8; do ip link add brief$n type veth; done; \
                  for n in 1 2 3 4 5 6 7 8; do ip link delete brief$n; done; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let others = world.start(&world.client, command);
    for hook in HOOKS {
        for _ in 0..6 {
            let arguments = ["-i", "any", "--hook", hook, "--duration", "0.1", "-o", "-"];
            Recorder::start(&world, &world.client, &arguments).finish();
        }
    }
    others.stop();
}

/// One that another replaces between two looks is told and recorded, though it
/// has the same name and the same number.
pub(crate) fn is_replaced() {
    for hook in HOOKS {
        let world = World::without_cable();
        let cable = format!(
            "ip link add eth0 index 77 type veth peer name eth0 netns {}",
            world.server.path()
        );
        let lay_cable = |before: &str| {
            let script = format!("{before} {cable}");
            let laid = world.run(&world.client, "sh", &["-c", &script]);
            laid.expect_code(0);
            world.give_addresses();
        };
        lay_cable("");
        let nginx = Nginx::start(&world, &world.server);
        let capture = world.file("capture.jsonl");
        let output = capture.display().to_string();
        let arguments = ["-i", "eth0", "--hook", hook, "-o", &output];
        let recorder = Recorder::start(&world, &world.client, &arguments);
        lay_cable("ip link delete eth0;");
        for told in ["eth0 is gone", "recording on eth0 too"] {
            wait_until(told, || recorder.errors().contains(told));
        }
        let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
        traffic.join_log(&nginx);
        world.settle();
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Client);
    }
}

/// One that is in another network namespace for a while is not recorded there.
pub(crate) fn moves() {
    for hook in HOOKS {
        let world = World::new();
        let elsewhere = Namespace::new();
        let nginx = Nginx::start(&world, &world.server);
        let capture = world.file("capture.jsonl");
        let output = capture.display().to_string();
        let arguments = ["-i", "eth0", "--hook", hook, "-o", &output];
        let recorder = Recorder::start(&world, &world.client, &arguments);
        let carry = |from: &Namespace, to: &Namespace, told| {
            from.ip(&format!("link set eth0 netns {}", to.path()));
            wait_until(told, || recorder.errors().contains(told));
            to.ip("link set eth0 up");
            to.ip("address add 10.77.0.1/24 dev eth0");
            to.ip("address add fd77::1/64 dev eth0 nodad");
        };
        carry(&world.client, &elsewhere, "eth0 is gone");
        let outside = some_of_everything(&world, &elsewhere, World::SERVER);
        world.settle();
        carry(&elsewhere, &world.client, "recording on eth0 too");
        let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
        let count = traffic.connections.len();
        traffic.connections.extend(outside.connections);
        traffic.join_log(&nginx);
        traffic.connections.truncate(count);
        world.settle();
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Client);
    }
}

/// One that was asked for by its number stays when all are looked at.
pub(crate) fn by_number() {
    let world = World::without_cable();
    let output = world.file("capture.jsonl").display().to_string();
    let arguments = ["-i", "1", "--duration", "2.5", "-o", &output];
    let ended = Recorder::start(&world, &world.client, &arguments).finish();
    assert!(!ended.errors.contains("is gone"), "{}", ended.errors);
}

/// So is another name that it has (altname in ip-link(8)).
pub(crate) fn by_another_name() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    world.client.ip("link property add dev eth0 altname enp0s3");
    let capture = world.file("capture.jsonl");
    let output = capture.display().to_string();
    let recorder = Recorder::start(&world, &world.client, &["-i", "enp0s3", "-o", &output]);
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    let ended = recorder.stop();
    assert!(ended.errors.contains("on eth0 "), "{}", ended.errors);
    analyze(&world, &capture).expect(&traffic, Ends::Client);
}

/// A device that says that its packets begin with the header of InfiniBand (ARPHRD 32).
const INFINIBAND: &str = "
import fcntl, struct, time
TUNSETIFF, TUNSETLINK, IFF_TUN = 0x400454ca, 0x400454cd, 1
device = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH', b'ib0', IFF_TUN))
fcntl.ioctl(device, TUNSETLINK, 32)
time.sleep(100)
";

/// What `any` leaves out is told, and stands in the capture; by its name it is refused.
pub(crate) fn of_an_unknown_kind() {
    let world = World::without_cable();
    let mut command = Command::new("python3");
    command.args(["-c", INFINIBAND]);
    let _device = world.start(&world.server, command);
    let record = |arguments: &[&str]| tcprec(&world, &world.server, arguments);
    wait_until("the device is there", || {
        record(&["record", "-D"]).output.contains("ib0 (cannot")
    });
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let ended = record(&["record", "-i", "any", "-o", output, "--", "true"]).expect_code(0);
    let why = "its packets begin with a link header that tcprec does not know (ARPHRD 32)";
    let told = format!("tcprec: without packets of ib0: {why}\n");
    assert!(ended.errors.contains(&told), "{}", ended.errors);
    let captures = records::read(&capture);
    let missing = captures[0]["missing_hooks"]
        .as_array()
        .expect("what is missing");
    assert!(
        missing.iter().any(|it| it["hook"] == "packets of ib0"),
        "{missing:#?}"
    );
    let ended = record(&["record", "-i", "ib0", "-o", output]).expect_code(2);
    assert!(ended.errors.contains(why), "{}", ended.errors);
}

/// Lets all packets of `eth0` pass by a program of the tcx kind; how it is attached is an
/// argument.
const PASS_ALL: &str = "
import ctypes, os, socket, struct, sys
bpf = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
def call(command, *attributes):
    attributes = b''.join(attributes).ljust(128, b'\\\\0')
    fd = libc.syscall(bpf, command, attributes, len(attributes))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd
# BPF_PROG_LOAD of BPF_PROG_TYPE_SCHED_CLS: r0 = TCX_PASS; exit
code = ctypes.create_string_buffer(struct.pack('<BBhi', 0xb7, 0, 0, 0) + struct.pack('<BBhi', 0x95, 0, 0, 0))
license = ctypes.create_string_buffer(b'GPL')
program = call(5, struct.pack('<IIQQ', 3, 2, ctypes.addressof(code), ctypes.addressof(license)))
# BPF_LINK_CREATE of BPF_TCX_INGRESS and BPF_TCX_EGRESS
links = [call(28, struct.pack('<IIII', program, socket.if_nametoindex('eth0'), kind, int(sys.argv[1]))) for kind in (46, 47)]
print('attached', file=sys.stderr, flush=True)
sys.stdin.read()
";

/// Attaches such a program on the client; these flags are of linux/bpf.h.
fn pass_all(world: &World, flags: u32) -> Process {
    let held = world.file("held");
    nix::unistd::mkfifo(&held, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let script = format!(
        "exec python3 -c \"{PASS_ALL}\" {flags} <>{}",
        held.display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let other = world.start(&world.client, command);
    wait_until("the other program is attached", || {
        other.errors().contains("attached")
    });
    other
}

/// Behind a program of others that lets all packets pass, attached first, no other of the
/// tcx kind is asked.
pub(crate) fn behind_another_program() {
    let world = World::new();
    let nginx = Nginx::start(&world, &world.server);
    let other = pass_all(&world, 0);
    let output = world.file("capture.jsonl").display().to_string();
    let arguments = ["-i", "eth0", "--hook", "tcx", "-o", &output];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    let ended = recorder.stop();
    assert!(!ended.errors.contains("in front"), "{}", ended.errors);
    other.stop();
    analyze(&world, &world.file("capture.jsonl")).expect(&traffic, Ends::Client);
}

/// One that is attached in front later is told, once.
pub(crate) fn before_another_program() {
    const BPF_F_BEFORE: u32 = 1 << 3;
    for is_elsewhere in [false, true] {
        let world = World::new();
        let output = world.file("capture.jsonl").display().to_string();
        let (host, netns) = if is_elsewhere {
            (
                &world.server,
                vec!["--netns".to_owned(), world.client.path()],
            )
        } else {
            (&world.client, Vec::new())
        };
        let arguments = ["-i", "eth0", "--hook", "tcx", "-o", &output].map(str::to_owned);
        let recorder = Recorder::start(&world, host, &[&arguments[..], &netns].concat());
        let told = "in front of tcprec's at eth0";
        // Two looks without anybody.
        thread::sleep(Duration::from_secs(2));
        assert!(!recorder.errors().contains(told), "{}", recorder.errors());
        let other = pass_all(&world, BPF_F_BEFORE);
        wait_until(told, || recorder.errors().contains(told));
        // Two more looks.
        thread::sleep(Duration::from_secs(2));
        let errors = recorder.stop().errors;
        assert_eq!(errors.matches(told).count(), 1, "{errors}");
        let last = errors.lines().last().expect("a line");
        let unknown = "none lost of what came to tcprec: programs in front of it at eth0";
        assert!(last.contains(unknown), "{last}");
        other.stop();
        assert!(is_behind(&world), "not told in the file");
    }
}

/// Whether the report says that a program stood in front at an interface, also where the
/// capture went through the other format.
fn is_behind(world: &World) -> bool {
    let [capture, there, back] =
        ["capture.jsonl", "there.pcapng", "back.jsonl"].map(|name| world.file(name));
    convert(world, &capture, &there);
    convert(world, &there, &back);
    assert_eq!(records::read(&capture), records::read(&back));
    let report = analyze(world, &capture);
    let capture = report.of_kind("capture").next().expect("a capture");
    let interfaces = capture["interfaces"].as_array().expect("interfaces");
    interfaces
        .iter()
        .any(|interface| interface["behind"] == true)
}

/// Another recorder in front passes on whatever comes: it is no program that is told, and
/// hides none.
pub(crate) fn before_another_recorder() {
    const BPF_F_BEFORE: u32 = 1 << 3;
    let world = World::new();
    let output = world.file("capture.jsonl").display().to_string();
    let start = |output: &str| {
        let arguments = ["-i", "eth0", "--hook", "tcx", "-o", output, "port", "80"];
        Recorder::start(&world, &world.client, &arguments)
    };
    let recorder = start(&output);
    let other = start(&world.file("other.jsonl").display().to_string());
    // Two looks.
    thread::sleep(Duration::from_secs(2));
    assert!(
        !recorder.errors().contains("in front"),
        "{}",
        recorder.errors()
    );
    for mtu in 1400..1410 {
        let third = start(&world.file("third.jsonl").display().to_string());
        // It ends while the others look what has changed.
        world.client.ip(&format!("link set eth0 mtu {mtu}"));
        let ended = third.stop();
        assert!(ended.errors.contains("none lost;"), "{}", ended.errors);
    }
    for other in [&recorder, &other] {
        let errors = other.errors();
        assert!(!errors.contains("in front"), "{errors}");
    }
    let program = pass_all(&world, BPF_F_BEFORE);
    let told = "in front of tcprec's at eth0";
    wait_until(told, || recorder.errors().contains(told));
    wait_until(told, || other.errors().contains(told));
    program.stop();
    recorder.stop();
    other.stop();
    assert!(is_behind(&world), "not told in the file");
}

/// Without free descriptors interfaces cannot be looked at, with a few none be attached
/// to: that is told once, and recording goes on.
pub(crate) fn few_descriptors() {
    let world = World::without_cable();
    let output = world.file("capture.jsonl").display().to_string();
    // With a filter an interface takes four. Named, or whatever happens on the machine would
    // take some for a moment.
    let netns = world.client.path();
    let arguments = ["-i", "any", "--netns", &netns, "-o", &output, "port", "80"];
    let recorder = Recorder::start(&world, &world.client, &arguments);
    let limit = |descriptors: usize| {
        let pid = recorder.pid().to_string();
        let limit = format!("--nofile={descriptors}:");
        let set = world.run(&world.client, "prlimit", &["--pid", &pid, &limit]);
        set.expect_code(0);
    };
    let is_told = |what: &str| wait_until(what, || recorder.errors().contains(what));
    limit(3);
    is_told("cannot watch for interface changes");
    // Two more looks.
    thread::sleep(Duration::from_secs(2));
    let is_open = |fd: &usize| Path::new(&format!("/proc/{}/fd/{fd}", recorder.pid())).exists();
    let mut free = (0..).filter(|fd| !is_open(fd));
    limit(free.nth(3).expect("a free descriptor"));
    world.client.ip("link add late type veth");
    is_told("cannot attach to late");
    limit(1000);
    is_told("recording on late too");
    let errors = recorder.stop().errors;
    for what in ["cannot watch", "cannot attach to late"] {
        assert_eq!(errors.matches(what).count(), 1, "{what}: {errors}");
    }
}

/// More interfaces than a usual process may have descriptors for.
pub(crate) fn many() {
    let world = World::new();
    for number in 0..20 {
        let pair = format!("link add many{number} type veth peer name more{number}");
        world.client.ip(&pair);
    }
    let output = world.file("capture.jsonl").display().to_string();
    let script = format!("ulimit -Sn 60; exec {TCPREC} record -i any -o {output}");
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let recorder = Recorder::ready(world.start(&world.client, command));
    assert!(recorder.errors().contains("(tcx)"), "{}", recorder.errors());
    recorder.stop();
    // A command has the limit that the recorder had.
    let command = "-- sh -c 'ulimit -Sn'";
    let script = format!("ulimit -Sn 60; exec {TCPREC} record -i any -o {output} {command}");
    let ended = world.run(&world.client, "bash", &["-c", &script]);
    let ended = ended.expect_code(0);
    assert_eq!(ended.output, "60\n");
    assert!(ended.errors.contains("(tcx)"), "{}", ended.errors);
}
