//! Opening the BPF objects, telling them what is asked for, loading them.

use std::mem::MaybeUninit;

use libbpf_rs::OpenObject;
use libbpf_rs::btf::{Btf, types::Typedef};
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use tcprec_shared::record::{Direction, MissingHook};

use super::skeleton::events::{EventsSkel, EventsSkelBuilder};
use super::skeleton::packets::{
    PacketsSkel, PacketsSkelBuilder, types::direction, types::packet_record,
};
use super::{KernelError, Options, host};

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

/// Loads the packet programs; none is attached yet.
pub(super) fn load_packets(options: &Options) -> Result<PacketsSkel<'static>, KernelError> {
    let load = || -> libbpf_rs::Result<_> {
        let mut open = PacketsSkelBuilder::default().open(object())?;
        let size = options
            .transport
            .for_packets(options.buffer_bytes, options.snap)?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            tell!(rodata, size);
            rodata.snap_bytes = options.snap.packet_bytes();
            rodata.message_bytes = options.snap.message_bytes().unwrap_or(0);
            rodata.wanted_direction = match options.direction {
                None => direction::DIRECTION_NONE.0,
                Some(Direction::In) => direction::DIRECTION_IN.0,
                Some(Direction::Out) => direction::DIRECTION_OUT.0,
            };
        }
        options.wanted.open_packets(&mut open)?;
        size.set(&mut open.maps.ring, &mut open.maps.cpu_rings)?;
        let cpus = u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(u32::MAX);
        open.maps.scratch.set_max_entries(cpus)?;
        let record = u32::try_from(size_of::<packet_record>()).unwrap_or(u32::MAX);
        open.maps
            .scratch
            .set_value_size((record + options.snap.packet_bytes()).next_multiple_of(8))?;
        open.load()
    };
    load().map_err(KernelError::Load)
}

/// Loads the event programs, but those whose tracepoints this kernel lacks.
pub(super) fn load_events(
    options: &Options,
    packets: &PacketsSkel<'static>,
    netns: u32,
    missing: &mut Vec<MissingHook>,
) -> libbpf_rs::Result<EventsSkel<'static>> {
    if !host::has_btf() {
        return Err(libbpf_rs::Error::from(host::no_btf()));
    }
    let kernel_types = Btf::from_vmlinux()?;
    let size = options.transport.for_events()?;
    let mut open = EventsSkelBuilder::default().open(object())?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.netns_filter = netns;
        tell!(rodata, size);
    }
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
    open.load()
}
