//! The BPF object of the events, of which there are two: with the kernel's types
//! (BTF), and without. Here is what they have in common.

use libbpf_rs::Object;
use libbpf_rs::skel::Skel as _;

use super::batch::Ring;
use super::counters::Counters;
use super::rings::{End, Size};
use super::skeleton::events::EventsSkel;
use super::skeleton::tracepoints::TracepointsSkel;

/// How the kernel's events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EventHooks {
    /// With BTF where the kernel has it, else by classic tracepoints.
    Auto,
    /// Typed tracepoints and an iterator over sockets: needs the kernel's BTF.
    Btf,
    /// Classic tracepoints and /proc: accepts are not seen, nor whose a
    /// connection is that comes in.
    Tracepoints,
}

/// The programs of the events, loaded.
pub(super) enum Events {
    /// `bpf/events.bpf.c`.
    Btf(Box<EventsSkel<'static>>),
    /// `bpf/tracepoints.bpf.c`.
    Tracepoints(Box<TracepointsSkel<'static>>),
}

/// The same of either object.
macro_rules! of_either {
    ($self:expr, $skeleton:ident => $value:expr) => {
        match $self {
            Events::Btf($skeleton) => $value,
            Events::Tracepoints($skeleton) => $value,
        }
    };
}

impl Events {
    pub(super) fn object(&self) -> &Object {
        of_either!(self, skeleton => skeleton.object())
    }

    pub(super) fn object_mut(&mut self) -> &mut Object {
        of_either!(self, skeleton => skeleton.object_mut())
    }

    /// Where its records come out.
    pub(super) fn end(&self, size: Size) -> End<'_, 'static> {
        of_either!(self, skeleton => End {
            ring: Ring::Events,
            map: &skeleton.maps.ring,
            cpu_maps: &skeleton.maps.cpu_rings,
            size,
            packets: None,
        })
    }

    pub(super) fn counters(&mut self) -> libbpf_rs::Result<Counters> {
        of_either!(self, skeleton => {
            let slot = skeleton.maps.bss_data.as_deref_mut();
            let slot = super::slot(slot.map(|bss| &raw mut bss.loss_slot))?;
            Counters::new(&skeleton.maps.seen, &skeleton.maps.losses, slot)
        })
    }
}
