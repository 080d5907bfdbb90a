//! Opening the BPF objects, telling them what is asked for, loading them.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::mem::MaybeUninit;

use libbpf_rs::btf::{Btf, types::Typedef};
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{ErrorExt as _, OpenObject, ProgramType, libbpf_sys};
use tcprec_shared::record::{Direction, MissingHook};

use super::events::{EventHooks, Events};
use super::skeleton::events::EventsSkelBuilder;
use super::skeleton::packets::{PacketsSkel, PacketsSkelBuilder, types::direction};
use super::skeleton::tracepoints::{TracepointsSkelBuilder, types::fields};
use super::{KernelError, MAX_NAMESPACES, Options, host, tracefs};

/// A place for an object, which its skeleton borrows: for the whole run.
pub(super) fn object() -> &'static mut MaybeUninit<OpenObject> {
    Box::leak(Box::new(MaybeUninit::uninit()))
}

/// Tells an object's programs how their records go, and which clock there is
/// (`bpf/rings.bpf.h`).
macro_rules! tell {
    ($rodata:expr, $size:expr) => {{
        $rodata.uses_perf = $size.uses_perf();
        $rodata.wakeup_shift = $size.wakeup_shift();
        if let Some(suspended_ns) = host::suspended_ns()? {
            $rodata.has_boot_clock = 0;
            $rodata.suspended_ns = suspended_ns;
        }
    }};
}

/// Loads the packet programs of a network namespace; none is attached yet. Those of
/// another, loaded before, share the sockets that are wanted.
pub(super) fn load_packets(
    options: &Options,
    netns: u32,
    before: Option<&PacketsSkel<'static>>,
) -> Result<PacketsSkel<'static>, KernelError> {
    let load = || -> libbpf_rs::Result<_> {
        let mut open = PacketsSkelBuilder::default().open(object())?;
        let (size, layout) = options
            .transport
            .for_packets(options.buffer_bytes, options.snap)?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            tell!(rodata, size);
            rodata.netns = netns;
            rodata.sees_elsewhere = options.events_of.is_empty().into();
            rodata.has_cpu_rings = layout.is_ring().into();
            rodata.segment_shift = layout.segment_shift();
            rodata.ring_segments = layout.ring_segments();
            rodata.capacity_bytes = layout.capacity_bytes();
            rodata.snap_bytes = options.snap.packet_bytes();
            rodata.hash_seed = RandomState::new().hash_one(0);
            rodata.message_bytes = options.snap.message_bytes().unwrap_or(0);
            rodata.wanted_direction = match options.direction {
                None => direction::DIRECTION_NONE.0,
                Some(Direction::In) => direction::DIRECTION_IN.0,
                Some(Direction::Out) => direction::DIRECTION_OUT.0,
            };
        }
        avoid_warnings(open.open_object_mut())?;
        options.wanted.open_packets(&mut open, before)?;
        size.set(&mut open.maps.ring, &mut open.maps.cpu_rings)?;
        layout.set(&mut open.maps)?;
        open.load()
    };
    load().map_err(KernelError::Load)
}

/// Where the kernel warns of programs at classic tracepoints whose maps take memory as it is
/// needed, and with panic_on_warn stops: before Linux 6.1 (kernel commit 34dd3bad1a6f), which
/// also brought this clock.
pub(super) fn avoid_warnings(open: &mut OpenObject) -> libbpf_rs::Result<()> {
    let is_newer =
        ProgramType::SocketFilter.is_helper_supported(libbpf_sys::BPF_FUNC_ktime_get_tai_ns)?;
    if is_newer { Ok(()) } else { preallocate(open) }
}

/// Has maps take all their memory when they are loaded.
fn preallocate(open: &mut OpenObject) -> libbpf_rs::Result<()> {
    for mut map in open.maps_mut() {
        let flags = map.map_flags() & !libbpf_sys::BPF_F_NO_PREALLOC;
        map.set_map_flags(flags)?;
    }
    Ok(())
}

/// As many as there are, then zeros.
fn wanted_netns(events_of: &[u32]) -> [u32; MAX_NAMESPACES] {
    std::array::from_fn(|place| events_of.get(place).copied().unwrap_or(0))
}

/// Says which kernel it takes, where a kernel that has types does not take the programs.
fn with_need(error: libbpf_rs::Error) -> libbpf_rs::Error {
    if error.kind() == libbpf_rs::ErrorKind::InvalidInput && host::has_btf() {
        // The helper that tells a socket's cookie (kernel commit c5dbb89fc2ac).
        error.context("it needs Linux 5.12 or newer")
    } else {
        error
    }
}

/// Loads the programs of the events, in the best way that this kernel knows, but
/// those whose tracepoints it lacks.
pub(super) fn load_events(
    options: &Options,
    packets: &PacketsSkel<'static>,
    missing: &mut Vec<MissingHook>,
) -> libbpf_rs::Result<Events> {
    if options.event_hooks != EventHooks::Tracepoints {
        let mut missing_types = Vec::new();
        match load_typed(options, packets, &mut missing_types) {
            Ok(events) => {
                missing.extend(missing_types);
                return Ok(events);
            }
            Err(error) => {
                let error = with_need(error);
                // Classic tracepoints do not tell whose a socket is.
                if options.event_hooks == EventHooks::Btf || !options.wanted.is_all() {
                    return Err(error);
                }
                missing.push(MissingHook {
                    hook: "tp_btf".to_owned(),
                    reason: format!("{error:#}; classic tracepoints are used instead"),
                });
            }
        }
    }
    if !options.wanted.is_all() {
        return Err(libbpf_rs::Error::from(io::Error::new(
            io::ErrorKind::Unsupported,
            "classic tracepoints do not show a socket's owner",
        )));
    }
    let [namespace] = &*options.namespaces else {
        return Err(libbpf_rs::Error::from(io::Error::new(
            io::ErrorKind::Unsupported,
            "classic tracepoints do not show the network namespace",
        )));
    };
    for (hook, reason) in [
        ("accept", "classic tracepoints do not report it"),
        ("iter/task_file", "/proc is read instead"),
    ] {
        missing.push(MissingHook {
            hook: hook.to_owned(),
            reason: reason.to_owned(),
        });
    }
    load_classic(options, namespace.inode(), missing)
}

/// Those with types.
fn load_typed(
    options: &Options,
    packets: &PacketsSkel<'static>,
    missing: &mut Vec<MissingHook>,
) -> libbpf_rs::Result<Events> {
    if !host::has_btf() {
        return Err(libbpf_rs::Error::from(host::no_btf()));
    }
    let kernel_types = Btf::from_vmlinux()?;
    let size = options.transport.for_events()?;
    let mut open = EventsSkelBuilder::default().open(object())?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.wanted_netns = wanted_netns(&options.events_of);
        rodata.interfaces_netns = match &*options.namespaces {
            [namespace] if options.events_of.is_empty() => namespace.inode(),
            _ => 0,
        };
        tell!(rodata, size);
    }
    avoid_warnings(open.open_object_mut())?;
    options.wanted.open_events(&mut open, packets)?;
    size.set(&mut open.maps.ring, &mut open.maps.cpu_rings)?;
    for mut program in open.open_object_mut().progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        let Some(name) = section.strip_prefix("tp_btf/") else {
            continue;
        };
        if kernel_types
            .type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}"))
            .is_none()
        {
            program.set_autoload(false);
            missing.push(MissingHook {
                hook: section,
                reason: "this kernel has no such tracepoint".to_owned(),
            });
        }
    }
    open.load().map(Box::new).map(Events::Btf)
}

/// Those without: where the fields are, tracefs tells.
fn load_classic(
    options: &Options,
    netns: u32,
    missing: &mut Vec<MissingHook>,
) -> libbpf_rs::Result<Events> {
    let size = options.transport.for_events()?;
    let mut open = TracepointsSkelBuilder::default().open(object())?;
    for mut program in open.open_object_mut().progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        let mut parts = section.split('/').skip(1);
        let (Some(category), Some(name)) = (parts.next(), parts.next()) else {
            continue;
        };
        if let Err(error) = tracefs::fields(category, name) {
            program.set_autoload(false);
            missing.push(MissingHook {
                reason: error.to_string(),
                hook: section,
            });
        }
    }
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        tell!(rodata, size);
        rodata.netns = netns;
        for (category, name, places) in [
            ("sock", "inet_sock_set_state", &mut rodata.set_state_fields),
            (
                "tcp",
                "tcp_retransmit_skb",
                &mut rodata.retransmit_skb_fields,
            ),
            (
                "tcp",
                "tcp_retransmit_synack",
                &mut rodata.retransmit_synack_fields,
            ),
            ("tcp", "tcp_send_reset", &mut rodata.send_reset_fields),
            ("tcp", "tcp_receive_reset", &mut rodata.receive_reset_fields),
            (
                "sched",
                "sched_process_exec",
                &mut rodata.process_exec_fields,
            ),
        ] {
            // Those that cannot be read are not loaded.
            for field in tracefs::fields(category, name).unwrap_or_default() {
                place(places, &field);
            }
        }
    }
    size.set(&mut open.maps.ring, &mut open.maps.cpu_rings)?;
    open.load().map(Box::new).map(Events::Tracepoints)
}

/// Tells the programs where a field is.
fn place(fields: &mut fields, field: &tracefs::Field) {
    let place = match field.name.as_str() {
        "skaddr" => &mut fields.skaddr,
        "oldstate" => &mut fields.oldstate,
        "newstate" => &mut fields.newstate,
        "protocol" => &mut fields.protocol,
        "sport" => &mut fields.sport,
        "dport" => &mut fields.dport,
        "saddr_v6" => &mut fields.saddr_v6,
        "daddr_v6" => &mut fields.daddr_v6,
        "saddr" => &mut fields.saddr,
        "daddr" => &mut fields.daddr,
        "err" => &mut fields.err,
        "filename" => &mut fields.filename,
        _ => return,
    };
    *place = field.offset;
    // Its low byte is read: the last one of a number in network byte order.
    if field.name == "protocol" && cfg!(target_endian = "big") {
        *place += field.bytes.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use libbpf_rs::MapCore as _;
    use libbpf_rs::skel::Skel as _;

    use super::super::skeleton::top::TopSkelBuilder;
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn what_is_preallocated_loads() {
        let mut open = TopSkelBuilder::default().open(object()).unwrap();
        let late = |flags: u32| flags & libbpf_sys::BPF_F_NO_PREALLOC != 0;
        let maps = open.open_object().maps();
        assert!(maps.into_iter().any(|map| late(map.map_flags())));
        preallocate(open.open_object_mut()).unwrap();
        let loaded = open.load().unwrap();
        for map in loaded.object().maps() {
            assert!(
                !late(map.info().unwrap().info.map_flags),
                "{:?}",
                map.name()
            );
        }
    }
}
