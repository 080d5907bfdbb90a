//! Attaching the loaded programs: which one goes where, and what to do without.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{Iter, Link, Object, ProgramMut, libbpf_sys};
use tcprec_shared::record::{Direction, MissingHook};

use super::filter::{Kind, Prefilter};
use super::hooks::Attachment;
use super::namespace::Namespace;
use super::skeleton::packets::PacketsSkel;
use super::{Attached, Device, Hook, KernelError, Layer, Options, hooks, host, recorders};

/// Attaches each program that is chosen, by its section's name, and reads the scan.
pub(super) fn attach_events(
    events: &mut Object,
    is_chosen: impl Fn(&str) -> bool,
    links: &mut Vec<Link>,
    attached: &mut Attached,
) -> io::Result<()> {
    for program in events.progs_mut() {
        let section = program.section().to_string_lossy().into_owned();
        if !program.autoload() || !is_chosen(&section) {
            continue;
        }
        let mut parts = section.split('/');
        let link = match (parts.next(), parts.next(), parts.next()) {
            (Some("tracepoint"), Some(category), Some(name)) => {
                hooks::tracepoint(&program, category, name)
            }
            _ => program.attach().map_err(hooks::plain),
        };
        match link {
            Ok(link) if section.starts_with("iter/") => {
                Iter::new(&link)
                    .map_err(hooks::plain)?
                    .read_to_end(&mut attached.scan)?;
                // It goes through the tasks of the reader's pid namespace.
                if host::is_in_pid_namespace() {
                    attached.missing.push(MissingHook {
                        hook: section,
                        reason: "in a pid namespace it sees only the processes there".to_owned(),
                    });
                } else {
                    attached.hooks.push(section);
                }
            }
            Ok(link) => {
                links.push(link);
                attached.hooks.push(section);
            }
            Err(error) => attached.missing.push(MissingHook {
                hook: section,
                reason: error.to_string(),
            }),
        }
    }
    Ok(())
}

/// What is attached to an interface. Dropping it detaches.
pub(super) struct Hooked {
    attachment: Attachment,
    /// The links of the programs that were asked before it at the last look.
    in_front: Vec<u32>,
    /// What is attached in the packet program's place.
    _prefilter: Option<Prefilter>,
}

impl Hooked {
    /// Whether it is at this interface no more.
    pub(super) fn has_lost(&self, device: &Device) -> io::Result<bool> {
        Ok(self.attachment.interface()? != Some(device.index))
    }

    /// Whether a program is asked before it that was not at the last look, and is not
    /// another recorder's.
    pub(super) fn has_fallen_behind(
        &mut self,
        namespaces: &[Namespace],
        device: &Device,
    ) -> io::Result<bool> {
        let Some((own, attach_type)) = self.attachment.link()? else {
            return Ok(false);
        };
        let (index, namespace) = (device.index, of(namespaces, device)?);
        let in_front = || {
            let row = namespace.run(move || hooks::tcx_row(index, attach_type))??;
            let place = row.iter().position(|link| *link == own);
            Ok::<Vec<u32>, io::Error>(row.into_iter().take(place.unwrap_or(0)).collect())
        };
        let before = mem::replace(&mut self.in_front, in_front()?);
        let new = self.in_front.iter().filter(|link| !before.contains(link));
        let others: Vec<_> = new.filter(|link| !recorders::have(**link)).collect();
        // A recorder may have ended, or let go, between the one look and the other.
        Ok(!others.is_empty() && in_front()?.iter().any(|link| others.contains(&link)))
    }
}

/// What is attached to the interfaces of a network namespace, by their numbers.
pub(super) type Hooks = HashMap<u32, Vec<Hooked>>;

/// Attaches the packet programs to devices, by the hook that was asked for. To those
/// that are gone by now nothing is attached.
pub(super) fn attach_packets(
    packets: &mut PacketsSkel<'static>,
    options: &Options,
    devices: &[Device],
    attached: &mut Attached,
) -> Result<Hooks, KernelError> {
    if options.hook != Hook::SocketFilter {
        match attach_tcx(packets, options, devices) {
            Ok(hooks) => {
                attached.hooks.push("tcx".to_owned());
                return Ok(hooks);
            }
            Err(error) if options.hook == Hook::Tcx => return Err(error),
            Err(error) => attached.missing.push(MissingHook {
                hook: "tcx".to_owned(),
                reason: error.to_string(),
            }),
        }
    }
    let hooks = attach_each(devices, "a socket filter", |device| {
        let program = match device.layer {
            Ok(Layer::Ip) => &packets.progs.filter_ip,
            _ => &packets.progs.filter_ether,
        };
        let attach =
            |program: BorrowedFd<'_>| inside(options, device, program, hooks::socket_filter);
        let hooked = hook(options, device, program, Kind::SOCKET_FILTER, attach)?;
        Ok(vec![hooked])
    })?;
    attached.hooks.push("socket filter".to_owned());
    Ok(hooks)
}

fn attach_tcx(
    packets: &PacketsSkel<'static>,
    options: &Options,
    devices: &[Device],
) -> Result<Hooks, KernelError> {
    attach_each(devices, "tcx", |device| {
        let mut hooked = Vec::new();
        let programs = &packets.progs;
        let (ingress, egress) = match device.layer {
            Ok(Layer::Ip) => (&programs.tcx_in_ip, &programs.tcx_out_ip),
            _ => (&programs.tcx_in_ether, &programs.tcx_out_ether),
        };
        let mut attach = |program, attach_type| {
            let attach = |program: BorrowedFd<'_>| {
                inside(options, device, program, move |program, device| {
                    hooks::tcx(program, attach_type, device)
                })
            };
            hooked.push(hook(
                options,
                device,
                program,
                Kind::tcx(attach_type),
                attach,
            )?);
            Ok::<_, io::Error>(())
        };
        // On loopback a packet passes twice; on its way out it has its socket.
        let ways = if device.is_loopback() {
            Some(Direction::Out)
        } else {
            options.direction
        };
        if ways != Some(Direction::In) {
            attach(egress, libbpf_sys::BPF_TCX_EGRESS)?;
        }
        if ways != Some(Direction::Out) {
            attach(ingress, libbpf_sys::BPF_TCX_INGRESS)?;
        }
        Ok(hooked)
    })
}

/// Attaches to each device, but for those that were deleted since they were listed.
fn attach_each(
    devices: &[Device],
    hook: &'static str,
    attach: impl Fn(&Device) -> io::Result<Vec<Hooked>>,
) -> Result<Hooks, KernelError> {
    let mut hooks = Hooks::new();
    for device in devices {
        match attach(device) {
            Ok(hooked) => {
                hooks.insert(device.index, hooked);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(source) => {
                return Err(KernelError::Attach {
                    interface: device.name.clone(),
                    hook,
                    source,
                });
            }
        }
    }
    Ok(hooks)
}

/// Attaches a packet program to an interface, behind the filter if there is one.
fn hook(
    options: &Options,
    device: &Device,
    program: &ProgramMut<'_>,
    kind: Kind,
    attach: impl FnOnce(BorrowedFd<'_>) -> io::Result<Attachment>,
) -> io::Result<Hooked> {
    let filter = options.filter.as_ref();
    let prefilter = filter
        .map(|filter| Prefilter::load(filter.program(device)?, program.as_fd(), kind))
        .transpose()?;
    let first = prefilter.as_ref().map_or(program.as_fd(), AsFd::as_fd);
    Ok(Hooked {
        attachment: attach(first)?,
        in_front: Vec::new(),
        _prefilter: prefilter,
    })
}

/// Attaches a program in the network namespace of an interface.
fn inside(
    options: &Options,
    device: &Device,
    program: BorrowedFd<'_>,
    attach: impl FnOnce(BorrowedFd<'_>, &Device) -> io::Result<Attachment> + Send + 'static,
) -> io::Result<Attachment> {
    let namespace = of(&options.namespaces, device)?;
    let (program, device) = (program.try_clone_to_owned()?, device.clone());
    namespace.run(move || attach(program.as_fd(), &device))?
}

/// The network namespace of an interface.
fn of<'a>(namespaces: &'a [Namespace], device: &Device) -> io::Result<&'a Namespace> {
    let is_its = |namespace: &&Namespace| namespace.inode() == device.netns;
    let namespace = namespaces.iter().find(is_its);
    namespace.ok_or_else(|| io::ErrorKind::NotFound.into())
}
