//! Recording other network namespaces than the recorder's own.

use std::collections::BTreeMap;
use std::fs;

use crate::ends::Named;
use crate::netns::Namespace;
use crate::owners::{Script, ends_of};
use crate::process::wait_until;
use crate::recorder::{Recorder, TCPREC, analyze, tcprec};
use crate::records;
use crate::report::Ends;
use crate::traffic::some_of_everything;
use crate::web::{Nginx, Traffic};
use crate::world::World;

const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// Named in each way that there is; the recorder itself is elsewhere.
pub(crate) fn elsewhere() {
    let named = Named::new();
    let mut world = World::without_cable();
    world.server = Namespace::named(named.name());
    let nginx = Nginx::start(&world, &world.server);
    let names = [
        named.name().to_owned(),
        nginx.master().to_string(),
        world.server.path(),
    ];
    let recordings = names.map(|name| {
        let capture = world.file(&format!("{}.jsonl", name.replace('/', "-")));
        let output = capture.display().to_string();
        let arguments = ["--netns", &name, "-i", "lo", "-o", &output];
        (Recorder::start(&world, &world.client, &arguments), capture)
    });
    let mut traffic = some_of_everything(&world, &world.server, LOOPBACK);
    traffic.join_log(&nginx);
    world.settle();
    for (recorder, capture) in recordings {
        recorder.stop();
        analyze(&world, &capture).expect(&traffic, Ends::Both);
    }
    let arguments = ["record", "--netns", "tcprec-never", "--print"];
    let ended = tcprec(&world, &world.client, &arguments).expect_code(2);
    assert!(
        ended.errors.contains("no network namespace tcprec-never"),
        "{}",
        ended.errors
    );
}

/// The same addresses and ports in two namespaces at the same time.
pub(crate) fn same_ends() {
    let world = World::without_cable();
    let elsewhere = Namespace::new();
    let hosts = [&world.client, &world.server];
    let [first, second] = hosts.map(Namespace::path);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(
        &world,
        &elsewhere,
        &[
            "--netns", &first, "--netns", &second, "-i", "lo", "-o", output,
        ],
    );
    let script = "
listener = listen(port=5000)
server = child(lambda: serve(listener.accept()[0]))
end = socket.socket()
end.bind((LOCAL, 4000))
end.connect((LOCAL, 5000))
open(f'connected-{os.getpid()}', 'w').close()
while sum(name.startswith('connected-') for name in os.listdir()) < 2:
    time.sleep(0.005)
hear(end)
wait_for([server])
";
    let scripts = hosts.map(|host| Script::start(&world, host, script));
    let told = scripts.map(Script::finish);
    world.settle();
    recorder.stop();
    let expected: BTreeMap<_, _> = hosts
        .iter()
        .zip(&told)
        .map(|(host, told)| {
            let pids = [told[0].client, told[0].server];
            (Some(host.inode()), pids)
        })
        .collect();
    let report = analyze(&world, &capture);
    let found: BTreeMap<_, _> = report
        .of_kind("conn")
        .map(|connection| {
            let pids = ends_of(connection).map(|end| end.expect("an owner").0);
            (connection["netns"].as_u64(), pids)
        })
        .collect();
    assert_eq!(found, expected);
}

/// Interfaces of the same name are told with their namespaces.
pub(crate) fn told_apart() {
    let world = World::new();
    let [first, second] = [&world.client, &world.server].map(Namespace::path);
    let namespaces = ["--netns", &first, "--netns", &second];
    let recorder = Recorder::start(
        &world,
        &world.client,
        &[&namespaces[..], &["-i", "eth0", "--print"]].concat(),
    );
    let started = format!("recording on eth0 of {first}, eth0 of {second} (");
    assert!(
        recorder.errors().contains(&started),
        "{}",
        recorder.errors()
    );
    world.client.ip("link delete eth0");
    for namespace in [&first, &second] {
        let gone = format!("interface eth0 of {namespace} is gone");
        wait_until(&gone, || recorder.errors().contains(&gone));
    }
    recorder.stop();
    let arguments = [&["record", "-D"], &namespaces[..]].concat();
    let listed = tcprec(&world, &world.client, &arguments)
        .expect_code(0)
        .output;
    assert_eq!(
        listed,
        format!("1.lo of {first}\n1.lo of {second}\nany (all of these)\n")
    );
}

/// From its host, through all interfaces, a container's processes are seen.
pub(crate) fn containers() {
    let world = World::new();
    // All namespaces are looked at: other tests' have the usual addresses.
    for (host, number) in [(&world.client, 1), (&world.server, 2)] {
        host.ip(&format!("address add 10.79.0.{number}/24 dev eth0"));
        host.ip(&format!("address add fd79::{number}/64 dev eth0 nodad"));
    }
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let recorder = Recorder::start(&world, &world.client, &["-i", "any", "-o", output]);
    let mut traffic = some_of_everything(&world, &world.client, ["10.79.0.2", "fd79::2"]);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Both);
}

/// What containers say to each other, past the host's interfaces, is events without packets:
/// it is told how to have these, too.
pub(crate) fn past_the_host() {
    let world = World::new();
    let _nginx = Nginx::start(&world, &world.server);
    let elsewhere = Namespace::new();
    for (interface, is_told) in [("any", true), ("lo", false)] {
        let output = world.file(&format!("{interface}.jsonl"));
        let output = output.to_str().expect("a path in UTF-8");
        let recorder = Recorder::start(&world, &elsewhere, &["-i", interface, "-o", output]);
        let targets = ["/item/1".to_owned()];
        for _ in 0..20 {
            Traffic::default().fetch(&world, &world.client, World::SERVER[0], &targets);
        }
        world.settle();
        let errors = recorder.stop().errors;
        assert!(errors.contains(": 0 packets"), "{errors}");
        assert_eq!(errors.contains("--netns PID"), is_told, "{errors}");
    }
}

/// Where there are control groups of version 1, a container may be in these alone.
pub(crate) fn control_groups_of_version_1() {
    let kinds = fs::read_to_string("/proc/filesystems").expect("the kinds of file systems");
    if !kinds.lines().any(|kind| kind == "nodev\tcgroup") {
        return;
    }
    let world = World::without_cable();
    let (groups, capture) = (world.file("groups"), world.file("capture.jsonl"));
    let id = "3f1c9e0ab27d4586".repeat(4);
    let group = groups.join("docker").join(&id);
    let (groups, group) = (groups.display(), group.display());
    let output = capture.display();
    // The process is there until it is told.
    let inside = format!(
        "echo $$ > {group}/cgroup.procs; ! : </dev/tcp/127.0.0.1/1; \
         until grep -q ^..type.:.connect {output}; do sleep 0.01; done"
    );
    let script = format!(
        "mkdir {groups}; mount -t cgroup -o none,name=tcprec-lab none {groups}; \
         mkdir -p {group}; {TCPREC} record -i lo -U -o {output} -- bash -c '{inside}'; \
         rmdir {group} {groups}/docker"
    );
    let arguments = ["--mount", "sh", "-ec", &script];
    let ended = world.run(&world.server, "unshare", &arguments);
    ended.expect_code(0);
    let records = records::read(&capture);
    let processes = records::of_type(&records, "process").into_iter();
    let containers: Vec<_> = processes.map(|process| &process["container"]).collect();
    assert_eq!(containers, [&id]);
}

/// An interface of another namespace goes and returns, when the right to enter
/// it is given up already.
pub(crate) fn interface_returns() {
    let world = World::new();
    let elsewhere = Namespace::new();
    let nginx = Nginx::start(&world, &world.server);
    let capture = world.file("capture.jsonl");
    let output = capture.to_str().expect("a path in UTF-8");
    let netns = world.client.path();
    let recorder = Recorder::start(
        &world,
        &elsewhere,
        &["--netns", &netns, "-i", "eth0", "-o", output],
    );
    world.client.ip("link delete eth0");
    wait_until("the loss of the interface is told", || {
        recorder.errors().contains("eth0 is gone")
    });
    world.lay_cable();
    wait_until("its return is told", || {
        recorder.errors().contains("recording on eth0 too")
    });
    let mut traffic = some_of_everything(&world, &world.client, World::SERVER);
    traffic.join_log(&nginx);
    world.settle();
    recorder.stop();
    analyze(&world, &capture).expect(&traffic, Ends::Client);
}
