//! The file formats on captures of all kinds: every packet is read, another
//! format loses nothing, and other programs read what is written.

mod captures;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;
use tcprec_shared::flow::Flow;
use tcprec_shared::format::{self, Format};
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{
    Capture, Direction, End, Event, EventKind, Interface, KernelParse, Loss, LossCause, Lost,
    Packet, Process, ProcessId, Provenance, Record, SCHEMA, TcpState,
};
use tcprec_shared::stream::{Annotation, Owner, ReadError, Sink, Source as _};
use tempfile::TempDir;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<_> = captures::fixtures()
        .into_iter()
        .map(|(name, path)| Trial::test(name, move || other_formats_lose_nothing(&path)))
        .collect();
    trials.extend(captures::oracle(every_packet_is_read));
    for (tools, name, test) in OTHER_PROGRAMS {
        let missing: Vec<_> = tools
            .iter()
            .copied()
            .filter(|tool| !is_there(tool))
            .collect();
        let name = match missing[..] {
            [] => (*name).to_owned(),
            _ => format!("{name} (needs {})", missing.join(", ")),
        };
        trials.push(Trial::test(name, test).with_ignored_flag(!missing.is_empty()));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All records of a capture, up to the point where it is cut.
fn read(path: &Path) -> Result<Vec<Record<'static>>, ReadError> {
    let mut input = format::open(path)?;
    let mut records = Vec::new();
    loop {
        match input.next() {
            Ok(Some(record)) => records.push(record.into_owned()),
            Ok(None) | Err(ReadError::Truncated { .. }) => return Ok(records),
            Err(ReadError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

fn every_packet_is_read(capture: &Path, expected: &Path) -> Result<(), Failed> {
    let records = read(capture)?;
    let packets = records
        .iter()
        .filter(|r| matches!(r, Record::Packet(_)))
        .count();
    let lines = fs::read_to_string(expected)?;
    let file: Value = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Value| line["kind"] == "file")
        .ok_or("no line about the file")?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    // Frames of no encapsulation are blocks that hold no packet.
    let frames = || number(&file["frames"]) - number(&file["encap_types"][""]);
    let expected = file["packet_blocks"].as_u64().unwrap_or_else(frames);
    if packets as u64 != expected {
        return Err(format!("{packets} packets, expected {expected}").into());
    }
    written_is_read(&records)
}

fn other_formats_lose_nothing(capture: &Path) -> Result<(), Failed> {
    written_is_read(&read(capture)?)
}

fn written_is_read(records: &[Record<'_>]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    for format in Format::WRITABLE {
        let path = folder.path().join(format!("cap.{format}"));
        let mut sink = format::create(&path)?;
        for record in records {
            sink.write(record, None)?;
        }
        sink.finish()?;
        if read(&path)? != records {
            return Err(format!("{format} gives other records").into());
        }
    }
    Ok(())
}

/// Programs that are needed, what is tested, and the test.
type Other = (
    &'static [&'static str],
    &'static str,
    fn() -> Result<(), Failed>,
);

const OTHER_PROGRAMS: &[Other] = &[
    (&[], "pcap-file reads pcapng", pcap_file_reads_pcapng),
    (
        &["tshark"],
        "tshark shows owners and events",
        tshark_shows_owners_and_events,
    ),
    (&["tcpdump"], "tcpdump reads pcapng", tcpdump_reads_pcapng),
    (
        &["capinfos"],
        "capinfos reads pcapng",
        capinfos_reads_pcapng,
    ),
    (
        &["editcap"],
        "editcap makes pcap of pcapng without events",
        editcap_makes_pcap,
    ),
    (
        &["zstdcat", "jq"],
        "zstdcat and jq read jsonl.zst",
        zstdcat_and_jq_read_jsonl_zst,
    ),
];

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a command of the shell in `folder`: what it writes, and what it warns of.
fn run(folder: &TempDir, command: &str) -> Result<(String, String), Failed> {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .output()?;
    let [out, err] =
        [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned());
    if output.status.success() {
        Ok((out, err))
    } else {
        Err(format!("{command}: {err}").into())
    }
}

const TS_NS: i64 = 1_700_000_000_123_456_789;

/// A folder with a small recording of every format.
fn recording() -> Result<TempDir, Failed> {
    let folder = tempfile::tempdir()?;
    for format in Format::WRITABLE {
        let path = folder.path().join(format!("cap.{format}"));
        write_recording(format::create(&path)?)?;
    }
    Ok(folder)
}

/// Two packets between nginx and curl, with all that may stand around them.
fn write_recording(mut sink: Box<dyn Sink + Send>) -> Result<(), Failed> {
    let process = |pid, comm: &str, argv: &[&str]| Process {
        ppid: Some(1),
        uid: Some(33),
        comm: comm.into(),
        exe: Some(format!("/usr/bin/{comm}")),
        argv: argv.iter().map(|argument| (*argument).into()).collect(),
        ..Process::nameless(ProcessId { pid, start_ns: 1 })
    };
    let curl = process(903, "curl", &["curl", "http://10.0.0.2"]);
    let nginx = process(811, "nginx", &["nginx:", "worker\nPID: 1"]);
    let (packet, kernel) = syn()?;
    let community_id = Flow::between(kernel.src, kernel.dst).community_id();
    let mut write = |record: Record<'_>| sink.write(&record, None);
    write(Record::Capture(Box::new(Capture {
        schema: Some(SCHEMA),
        program: "tcprec 0.1.0".into(),
        host: Some("web-1".into()),
        kernel: Some("Linux 6.18.0".into()),
        hooks: vec!["tcx/egress".into()],
        snap_bytes: Some(256),
        ..Capture::default()
    })))?;
    for (id, name) in [(0, "eth0"), (1, "lo")] {
        write(Record::Interface(Interface {
            netns: Some(4_026_531_840),
            ..Interface::new(id, Some(name.into()), LinkType::ETHERNET)
        }))?;
    }
    write(Record::Process(curl.clone()))?;
    write(Record::Event(Event {
        cookie: Some(17),
        process: Some(curl.id),
        old_state: Some(TcpState::Close),
        new_state: Some(TcpState::SynSent),
        ..Event::new(
            EventKind::Connect,
            TS_NS,
            4_026_531_840,
            kernel.src,
            kernel.dst,
        )
    }))?;
    let annotation = Annotation {
        owner: Some(Owner {
            process: &curl,
            provenance: Provenance::Connect,
        }),
        peer: Some(Owner {
            process: &nginx,
            provenance: Provenance::Accept,
        }),
        community_id: &community_id,
        number: 1,
    };
    sink.write(&Record::Packet(packet.clone()), Some(&annotation))?;
    sink.write(
        &Record::Loss(Loss {
            cause: LossCause::RingFull,
            lost: Lost::Packets,
            cpu: Some(0),
            count: 3,
            bytes: 4500,
            first_ns: TS_NS,
            last_ns: TS_NS,
        }),
        None,
    )?;
    let answer = Packet {
        interface: 1,
        direction: Some(Direction::In),
        cookie: None,
        ..packet
    };
    let annotation = Annotation {
        owner: annotation.peer,
        peer: None,
        community_id: &community_id,
        number: 2,
    };
    sink.write(&Record::Packet(answer), Some(&annotation))?;
    let end = End {
        ts_ns: TS_NS + 2_000_000,
        reason: "interrupted".into(),
        recorded_packets: 2,
        lost_packets: 3,
        ..End::default()
    };
    sink.write(&Record::End(end), None)?;
    sink.finish()?;
    Ok(())
}

/// A SYN over Ethernet and IPv4, with right checksums.
fn syn() -> Result<(Packet<'static>, KernelParse), Failed> {
    let mut data = vec![2; 12];
    data.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0xce]);
    data.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 80]);
    data.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let headers = tcprec_shared::headers::parse(LinkType::ETHERNET, &data, 54);
    let kernel = KernelParse::expected(&headers).ok_or("no TCP segment")?;
    let packet = Packet {
        ts_ns: TS_NS + 1_000_000,
        interface: 0,
        direction: Some(Direction::Out),
        wire_bytes: 54,
        cookie: Some(17),
        kernel: Some(kernel),
        data: data.into(),
    };
    Ok((packet, kernel))
}

fn pcap_file_reads_pcapng() -> Result<(), Failed> {
    let folder = recording()?;
    let file = fs::File::open(folder.path().join("cap.pcapng"))?;
    let mut reader = PcapNgReader::new(file)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block() {
        let (block, _) = block?;
        blocks.push(match block {
            Block::InterfaceDescription(_) => "interface",
            Block::SystemdJournalExport(_) => "journal",
            Block::InterfaceStatistics(_) => "statistics",
            Block::Unknown(block) if block.type_ == 0x8000_0001 => "process",
            Block::EnhancedPacket(packet) => {
                let ns = packet.timestamp.as_nanos();
                if ns != TS_NS as u128 + 1_000_000 || packet.data.len() != 54 {
                    return Err(format!("{packet:?}").into());
                }
                "packet"
            }
            other => return Err(format!("{other:?}").into()),
        });
    }
    let expected = "interface interface process journal packet journal process packet journal \
        statistics statistics";
    match blocks.join(" ") {
        blocks if blocks == expected => Ok(()),
        blocks => Err(blocks.into()),
    }
}

fn tshark_shows_owners_and_events() -> Result<(), Failed> {
    const FIELDS: &str = "-T fields -E separator=/s -E quote=d -e frame.time_epoch -e frame.interface_name \
        -e frame.packet_flags_direction -e frame.drop_count -e frame.comment -e systemd_journal.message \
        -e systemd_journal.pid -e systemd_journal.comm";
    let folder = recording()?;
    let expected = [
        r#""1700000000.123456000"     "connect 10.0.0.1:40000 -> 10.0.0.2:80, close -> syn_sent" "903" "curl""#,
        r#""1700000000.124456789" "eth0" "0x00000002"  "pid=903 comm=curl uid=33 owner=connect conn=1:CONN peer_pid=811 peer_comm=nginx peer_owner=accept cookie=17\nPID: 903\nCmd: /usr/bin/curl\nArgs: curl http://10.0.0.2""#,
        r#""1700000000.123456000"     "lost 3 packets, 4500 bytes: ring_full""#,
        r#""1700000000.124456789" "lo" "0x00000001" "3" "pid=811 comm=nginx uid=33 owner=accept conn=1:CONN\nPID: 811\nCmd: /usr/bin/nginx\nArgs: nginx: worker?PID: 1""#,
        r#""1700000000.125456000"     "end of the recording: 2 packets recorded, 3 lost""#,
    ];
    let (_, kernel) = syn()?;
    let conn = Flow::between(kernel.src, kernel.dst).community_id();
    for file in ["cap.pcapng", "cap.pcapng.zst"] {
        let (out, err) = run(&folder, &format!("tshark -r {file} {FIELDS}"))?;
        let warnings: Vec<_> = err
            .lines()
            .filter(|line| !line.contains("Running as user"))
            .collect();
        if !warnings.is_empty() {
            return Err(warnings.join("\n").into());
        }
        let lines: Vec<_> = out.lines().map(str::trim_end).collect();
        if lines != expected.map(|line| line.replace("1:CONN", &conn)) {
            return Err(format!("{file}:\n{out}").into());
        }
    }
    Ok(())
}

fn tcpdump_reads_pcapng() -> Result<(), Failed> {
    let folder = recording()?;
    let (out, _) = run(&folder, "tcpdump -ntr cap.pcapng")?;
    let syn = "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1, win 65535, length 0\n";
    match out == syn.repeat(2) {
        true => Ok(()),
        false => Err(out.into()),
    }
}

fn capinfos_reads_pcapng() -> Result<(), Failed> {
    let folder = recording()?;
    let (out, _) = run(&folder, "capinfos cap.pcapng")?;
    for line in [
        "Capture application: tcprec 0.1.0",
        "Capture oper-sys:    Linux 6.18.0",
        "Number of interfaces in file: 2",
        "Name = eth0",
        "Time precision = nanoseconds (9)",
    ] {
        if !out.contains(line) {
            return Err(format!("no {line:?} in\n{out}").into());
        }
    }
    Ok(())
}

fn editcap_makes_pcap() -> Result<(), Failed> {
    let folder = recording()?;
    // Events would be journal entries, which editcap refuses to write as pcap.
    let mut sink = format::create(&folder.path().join("packets.pcapng"))?;
    for record in read(&folder.path().join("cap.pcapng"))? {
        if matches!(record, Record::Interface(_) | Record::Packet(_)) {
            sink.write(&record, None)?;
        }
    }
    sink.finish()?;
    run(&folder, "editcap -F nsecpcap packets.pcapng packets.pcap")?;
    let [mut from_pcapng, mut from_pcap] = ["packets.pcapng", "packets.pcap"].map(|name| {
        let records = read(&folder.path().join(name)).unwrap_or_default();
        records.into_iter().filter_map(|record| match record {
            Record::Packet(packet) => Some((packet.ts_ns, packet.data)),
            _ => None,
        })
    });
    match from_pcap.by_ref().eq(from_pcapng.by_ref()) {
        true => Ok(()),
        false => Err("pcap has other packets".into()),
    }
}

fn zstdcat_and_jq_read_jsonl_zst() -> Result<(), Failed> {
    let folder = recording()?;
    let (out, _) = run(&folder, "zstdcat cap.jsonl.zst | jq -r .type")?;
    let types = "capture interface interface process connect packet loss packet end";
    match out.split_whitespace().eq(types.split(' ')) {
        true => Ok(()),
        false => Err(out.into()),
    }
}
