//! The BPF object of the events, of which there are two: with the kernel's types
//! (BTF), and without. Here is how one of them is begun, and what they have in common.

use libbpf_rs::skel::Skel as _;
use libbpf_rs::{Link, Object};
use tcprec_shared::record::MissingHook;

use super::attach::attach_events;
use super::batch::Ring;
use super::classic::Classic;
use super::counters::Counters;
use super::load::load_events;
use super::rings::{End, Size};
use super::skeleton::events::EventsSkel;
use super::skeleton::packets::PacketsSkel;
use super::skeleton::tracepoints::TracepointsSkel;
use super::{Attached, Clock, KernelError, Options};

/// Hooks for kernel events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EventHooks {
    /// BTF if the kernel has it, else classic tracepoints.
    Auto,
    /// Typed tracepoints and an iterator over sockets: needs the kernel's BTF.
    Btf,
    /// Classic tracepoints and /proc: accepts are not seen, nor the owners of incoming connections.
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
    /// Loads and attaches them; none where they cannot be had, and are not asked for.
    pub(super) fn start(
        options: &Options,
        packets: &PacketsSkel<'static>,
        clock: Clock,
        links: &mut Vec<Link>,
        attached: &mut Attached,
    ) -> Result<Option<Self>, KernelError> {
        let mut events = match load_events(options, packets, &mut attached.missing) {
            Ok(events) => events,
            // Events alone tell whose a socket is.
            Err(reason) if !options.wanted.is_all() || options.event_hooks != EventHooks::Auto => {
                return Err(KernelError::Events(reason));
            }
            Err(reason) => {
                attached.missing.push(MissingHook {
                    hook: "kernel events".to_owned(),
                    reason: reason.to_string(),
                });
                return Ok(None);
            }
        };
        if let Self::Btf(typed) = &events {
            options.wanted.tell(typed)?;
        }
        // First, so that no process is started unheard of.
        let starts = |section: &str| section == "tp_btf/sched_process_fork";
        attach_events(events.object_mut(), starts, links, attached)?;
        if let Self::Btf(typed) = &events {
            options.wanted.follow(typed)?;
        }
        let rest = |section: &str| !starts(section);
        attach_events(events.object_mut(), rest, links, attached)?;
        if let (Self::Tracepoints(_), [namespace]) = (&events, &*options.namespaces) {
            attached.classic = Some(Classic::new(namespace, clock)?);
        }
        Ok(Some(events))
    }

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
            let slot = super::shared(slot.map(|bss| &raw mut bss.loss_slot))?;
            Counters::new(&skeleton.maps.seen, &skeleton.maps.losses, slot)
        })
    }
}
