//! With root: the packet programs, run by the kernel itself on the packets of
//! the fixtures, say what the userspace parser says of the same bytes.

use std::cell::RefCell;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use libbpf_rs::{MapCore as _, MapFlags, ProgramInput, ProgramMut};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use tcprec_shared::format;
use tcprec_shared::headers::{self, LinkType};
use tcprec_shared::record::{Direction, KernelParse, Packet, Record};
use tcprec_shared::stream::Source as _;

use super::attach::attach_events;
use super::batch::OF_A_RING_BYTES;
use super::load::load_events;
use super::options::MESSAGE_BYTES;
use super::skeleton::packets::types::packet_record;
use super::*;

/// Length of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

/// The packet programs and where their packets begin.
struct Runner {
    skeleton: PacketsSkel<'static>,
    rings: RefCell<Rings>,
    recorded: Recorded,
}

/// A device that is not loopback, where socket filters keep one of two.
fn device() -> Device {
    devices(&Namespace::own().unwrap())
        .unwrap()
        .into_iter()
        .find(|device| !device.is_loopback() && device.layer == Ok(Layer::Ether))
        .expect("a device besides loopback")
}

fn options(transport: Transport, snap: Snap, buffer_bytes: u32) -> Options {
    Options {
        hook: Hook::Auto,
        event_hooks: EventHooks::Auto,
        transport,
        snap,
        filter: None,
        direction: None,
        wanted: Wanted::default(),
        buffer_bytes,
        namespaces: Arc::new([]),
        events_of: Vec::new(),
    }
}

impl Runner {
    fn new(transport: Transport, snap: Snap, layer: Layer) -> Self {
        Self::with_buffer(transport, snap, layer, 1 << 20)
    }

    fn with_buffer(transport: Transport, snap: Snap, layer: Layer, buffer_bytes: u32) -> Self {
        let options = options(transport, snap, buffer_bytes);
        let device = Device {
            layer: Ok(layer),
            ..device()
        };
        let skeleton = load_packets(&options, 0, None).unwrap();
        let end = end_of(device.netns, &skeleton, &options).unwrap();
        let rings = Rings::open(transport, &[end]).unwrap();
        Self {
            skeleton,
            rings: RefCell::new(rings),
            recorded: Recorded::new(vec![device]),
        }
    }

    /// Runs a program on a frame; gives what it put into the ring.
    fn run(&self, program: &ProgramMut<'_>, frame: &[u8]) -> Vec<Vec<u8>> {
        // linux/bpf.h struct __sk_buff, all zero but for `ifindex`.
        let mut context = [0u8; 192];
        context[40..44].copy_from_slice(&self.recorded.devices()[0].index.to_ne_bytes());
        program
            .test_run(ProgramInput {
                context_in: Some(&mut context),
                data_in: Some(frame),
                ..Default::default()
            })
            .unwrap();
        let mut found = Batch::default();
        self.rings.borrow_mut().take(&mut found).unwrap();
        found.iter().map(|(_, raw)| raw.to_vec()).collect()
    }

    /// Runs a program on a frame, of which it sees `seen`, and holds what it
    /// says against the userspace parser.
    fn check(
        &self,
        program: &ProgramMut<'_>,
        link: LinkType,
        frame: &[u8],
        seen: &[u8],
        snap: usize,
    ) {
        let wire_bytes = u32::try_from(seen.len()).unwrap();
        let parsed = headers::parse(link, seen, wire_bytes);
        let raw = self.run(program, frame);
        let clock = Clock { offset_ns: 0 };
        let Some(raw) = raw.first() else {
            assert_eq!(KernelParse::expected(&parsed), None, "{parsed:?}");
            return;
        };
        let netns = self.recorded.devices()[0].netns;
        let packet = decode_packet(raw, netns, clock, &self.recorded).unwrap();
        assert!(
            packet.kernel.unwrap().agrees(&parsed),
            "{parsed:?} against {:?}",
            packet.kernel
        );
        assert_eq!(packet.wire_bytes, wire_bytes);
        assert_eq!(*packet.data, seen[..snap.min(seen.len())]);
        // The run gives its packets a socket, which is the sender's on the way out only.
        let is_out = packet.direction == Some(Direction::Out);
        assert!(packet.cookie.is_none() || is_out);
    }
}

/// The kernel's number of a socket.
fn cookie(socket: &TcpStream) -> u64 {
    let (mut cookie, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the descriptor is open, and the pointers are to what is filled.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    cookie
}

/// A connection takes its place among the sockets that have a user when it is accepted,
/// and one that is closed by then takes none: nothing would give it back.
#[test]
#[ignore = "needs root"]
fn a_closed_socket_has_no_user() {
    let options = options(Transport::Ring, Snap::Adaptive, 1 << 20);
    let packets = load_packets(&options, 0, None).unwrap();
    let mut events = load_events(&options, &packets, &mut Vec::new()).unwrap();
    let (mut links, mut attached) = (Vec::new(), Attached::default());
    attach_events(events.object_mut(), |_| true, &mut links, &mut attached).unwrap();
    let Events::Btf(events) = &events else {
        panic!("no types");
    };
    let has_user = |socket: &TcpStream| {
        // `struct user_set` of bpf/users.bpf.h: of several users each has a cookie first.
        let sets = events.maps.users.info().unwrap().info.max_entries;
        let set = u32::try_from(cookie(socket) % u64::from(sets)).unwrap();
        let set = events.maps.users.lookup(&set.to_ne_bytes(), MapFlags::ANY);
        let set = set.unwrap().unwrap();
        let mut users = set.chunks(16);
        users.any(|user| user[..8] == cookie(socket).to_ne_bytes())
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client = connect();
    assert!(has_user(&listener.accept().unwrap().0));
    let aborted = connect();
    let abort = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&aborted, sockopt::Linger, &abort).unwrap();
    drop(aborted);
    assert!(!has_user(&listener.accept().unwrap().0));
    drop(client);
}

/// Calls `work` with each whole Ethernet packet of the fixtures that has
/// something behind its header: the kernel runs programs on no others.
fn each_fixture_packet(mut work: impl FnMut(&[u8])) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut count = 0;
    for folder in std::fs::read_dir(fixtures).unwrap() {
        let path = folder.unwrap().path().join("input.pcap");
        if !path.exists() {
            continue;
        }
        let mut link = LinkType::RAW;
        let mut source = format::open(&path).unwrap();
        while let Ok(Some(record)) = source.next() {
            match record {
                Record::Interface(interface) => link = interface.link_type,
                Record::Packet(Packet {
                    wire_bytes, data, ..
                }) if link == LinkType::ETHERNET
                    && data.len() == wire_bytes as usize
                    && data.len() > ETHERNET_BYTES =>
                {
                    work(&data);
                    count += 1;
                }
                _ => {}
            }
        }
    }
    assert!(count > 50, "only {count} packets in the fixtures");
}

#[test]
#[ignore = "needs root"]
fn tcx_programs_agree_with_userspace() {
    let snap = 128;
    for transport in [Transport::Cpu, Transport::Ring] {
        let runner = Runner::new(transport, Snap::Fixed(snap), Layer::Ether);
        each_fixture_packet(|frame| {
            let programs = &runner.skeleton.progs;
            for program in [&programs.tcx_in_ether, &programs.tcx_out_ether] {
                runner.check(program, LinkType::ETHERNET, frame, frame, snap as usize);
            }
        });
    }
}

/// The kernel runs socket filters behind the Ethernet header here.
#[test]
#[ignore = "needs root"]
fn socket_filters_agree_with_userspace() {
    let snap = 128;
    let runner = Runner::new(
        Transport::Auto.choose().unwrap().0,
        Snap::Fixed(snap),
        Layer::Ip,
    );
    each_fixture_packet(|frame| {
        let program = &runner.skeleton.progs.filter_ip;
        runner.check(
            program,
            LinkType::RAW,
            frame,
            &frame[ETHERNET_BYTES..],
            snap as usize,
        );
    });
}

/// Of each message of a connection the first bytes are kept, whatever others do
/// meanwhile: a message ends when the other end speaks.
#[test]
#[ignore = "needs root"]
fn the_first_bytes_of_each_message_are_kept() {
    const PAYLOAD_BYTES: u32 = 3000;
    const HEADER_BYTES: u32 = 14 + 20 + 20;
    let runner = Runner::new(Transport::Cpu, Snap::Adaptive, Layer::Ether);
    let kept = |from: [u8; 4], to: [u8; 4], ports: [u16; 2]| {
        let packet = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(from, to, 64)
            .tcp(ports[0], ports[1], 1, 1000);
        let mut frame = Vec::new();
        packet
            .write(&mut frame, &[b'x'; PAYLOAD_BYTES as usize])
            .unwrap();
        let raw = runner.run(&runner.skeleton.progs.tcx_in_ether, &frame);
        u32::try_from(raw[0].len() - size_of::<packet_record>()).unwrap() - HEADER_BYTES
    };
    let [client, server] = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let rest = MESSAGE_BYTES - 2 * PAYLOAD_BYTES;
    let mut judged = 0;
    for port in 1000..1100 {
        let began = Instant::now();
        let sent = || kept(client, server, [port, 80]);
        let found = [
            sent(),
            sent(),
            // Neither the same ports elsewhere nor other ports are this connection.
            kept([10, 0, 0, 3], server, [port, 80]),
            kept(client, server, [port, 443]),
            sent(),
            sent(),
            kept(server, client, [80, port]),
            sent(),
        ];
        let [whole, none] = [PAYLOAD_BYTES, 0];
        // A pause begins a message too (PAUSE_NS of bpf/snap.bpf.h).
        if began.elapsed() < Duration::from_millis(100) {
            assert_eq!(
                found,
                [whole, whole, whole, whole, rest, none, whole, whole]
            );
            judged += 1;
        }
    }
    assert!(judged > 0, "this machine is too slow");
}

/// The CPUs that this thread may run on.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count())
        .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .collect()
}

/// Keeps this thread on a CPU.
fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}

/// Packets that CPUs see in turn come out of their rings in the order of time.
#[test]
#[ignore = "needs root"]
fn rings_are_read_in_the_order_of_time() {
    let cpus = cpus();
    let mut frame = Vec::new();
    each_fixture_packet(|packet| {
        if frame.is_empty() && packet[12..14] == [8, 0] {
            frame = packet.to_vec();
        }
    });
    let runner = Runner::new(Transport::Cpu, Snap::Adaptive, Layer::Ether);
    for _ in 0..10 {
        for cpu in &cpus {
            stay_on(*cpu);
            let input = ProgramInput {
                data_in: Some(&frame),
                ..Default::default()
            };
            runner.skeleton.progs.tcx_in_ether.test_run(input).unwrap();
        }
    }
    let mut found = Batch::default();
    runner.rings.borrow_mut().take(&mut found).unwrap();
    let times: Vec<_> = found
        .iter()
        .map(|(_, raw)| u64::from_ne_bytes(*raw.first_chunk().unwrap()))
        .collect();
    assert_eq!(times.len(), 10 * cpus.len());
    assert!(times.is_sorted(), "{times:?}");
}

/// What finds no room is counted, and the rest is there, whole and in order:
/// all the ring holds, over its own end.
#[test]
#[ignore = "needs root"]
fn a_full_ring_is_counted() {
    let mut frame = Vec::new();
    each_fixture_packet(|packet| {
        if frame.is_empty() && packet[12..14] == [8, 0] {
            frame = packet.to_vec();
        }
    });
    // Each CPU has its own count and its own times.
    stay_on(cpus()[0]);
    for transport in [Transport::Cpu, Transport::Ring] {
        let runner = Runner::new(transport, Snap::Fixed(MAX_SNAP_BYTES), Layer::Ether);
        for _ in 0..3 {
            fill(&runner, &frame);
        }
    }
}

/// Runs a program more often than the ring has room for.
fn fill(runner: &Runner, frame: &[u8]) {
    let program = &runner.skeleton.progs.tcx_in_ether;
    const RUNS: u32 = 100_000;
    let mut counters = Counters::new(
        &runner.skeleton.maps.seen,
        &runner.skeleton.maps.losses,
        Box::leak(Box::new(AtomicU32::new(0))),
    )
    .unwrap();
    let seen_before = counters.seen().unwrap();
    let run = |repeat| {
        let input = ProgramInput {
            data_in: Some(frame),
            repeat,
            ..Default::default()
        };
        program.test_run(input).unwrap();
    };
    run(RUNS - 1);
    let full_ns = Clock::boot_ns().unwrap().cast_signed();
    run(1);
    let losses = Losses {
        packets: counters.losses(LossSlot::All).unwrap(),
        ..Losses::default()
    };
    let lost: u64 = losses
        .records(Clock { offset_ns: 0 })
        .map(|loss| {
            assert!(loss.first_ns <= full_ns && full_ns <= loss.last_ns);
            assert_eq!(loss.bytes, loss.count * frame.len() as u64);
            loss.count
        })
        .sum();
    let seen = counters.seen().unwrap() - seen_before;
    assert_eq!(seen, u64::from(RUNS));
    // The ring holds at least one of them in 256 bytes each.
    assert!(lost > 0 && lost < seen);
    assert_eq!(counters.losses(LossSlot::All).unwrap().len(), 0);

    let mut taken = Vec::new();
    let mut batch = Batch::default();
    loop {
        batch.clear();
        runner.rings.borrow_mut().take(&mut batch).unwrap();
        if batch.is_empty() {
            break;
        }
        taken.extend(batch.iter().map(|(_, raw)| {
            assert_eq!(&raw[raw.len() - frame.len()..], frame);
            u64::from_ne_bytes(*raw.first_chunk().unwrap())
        }));
    }
    assert!(taken.is_sorted());
    assert_eq!(taken.len() as u64 + lost, seen);
}

/// More than a batch takes: the look says up to when nothing is left, and what is
/// left comes at the next.
#[test]
#[ignore = "needs root"]
fn a_look_that_ends_early_says_so() {
    const TURNS: u32 = 10;
    let packet = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 80, 1, 1000);
    let mut frame = Vec::new();
    packet.write(&mut frame, &[b'x'; 3000]).unwrap();
    let cpus = cpus();
    // Each has a small ring where there may be many.
    let cpus = cpus.get(..8).unwrap_or(&cpus);
    let possible_cpus = u32::try_from(libbpf_rs::num_possible_cpus().unwrap()).unwrap();
    let shared_bytes = possible_cpus.saturating_mul(16 << 20).min(MAX_BUFFER_BYTES);
    for (transport, buffer_bytes) in [(Transport::Cpu, shared_bytes), (Transport::Ring, 32 << 20)] {
        let snap = Snap::Fixed(MAX_SNAP_BYTES);
        let runner = Runner::with_buffer(transport, snap, Layer::Ether, buffer_bytes);
        // Half as much again as a look takes, in turn.
        let bytes = OF_A_RING_BYTES + OF_A_RING_BYTES / 2;
        let repeat = bytes / (TURNS as usize * 3000 * cpus.len()) + 1;
        for cpu in cpus.repeat(TURNS as usize) {
            stay_on(cpu);
            let input = ProgramInput {
                data_in: Some(&frame),
                repeat: u32::try_from(repeat).unwrap(),
                ..Default::default()
            };
            runner.skeleton.progs.tcx_in_ether.test_run(input).unwrap();
        }
        let mut looks = Vec::new();
        let mut batch = Batch::default();
        for _ in 0..2 {
            batch.clear();
            let until_ns = runner.rings.borrow_mut().take(&mut batch).unwrap();
            let times = batch
                .iter()
                .map(|(_, raw)| u64::from_ne_bytes(*raw.first_chunk().unwrap()))
                .collect::<Vec<_>>();
            looks.push((until_ns, times));
        }
        let [(until_ns, first), (none, rest)] = &looks[..] else {
            panic!("two looks");
        };
        let last_ns = first.last().copied();
        assert_eq!(*until_ns, last_ns, "{transport:?}");
        assert_eq!(*none, None, "{transport:?}");
        assert!(rest.first().copied() >= last_ns, "{transport:?}");
        let runs = repeat * cpus.len() * TURNS as usize;
        assert_eq!(first.len() + rest.len(), runs, "{transport:?}");
    }
}
