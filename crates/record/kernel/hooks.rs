//! Attaching programs to the kernel. A hook lives as long as the value that
//! stands for it here: dropping it, or the end of the process, detaches it.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use libbpf_rs::{Link, ProgramMut, libbpf_sys};

use super::interfaces::Device;
use super::tracefs;

/// A packet program at an interface.
#[derive(Debug)]
pub(super) enum Attachment {
    Tcx(OwnedFd, libbpf_sys::bpf_attach_type),
    /// A packet socket.
    Socket(OwnedFd),
}

impl Attachment {
    /// The number of the interface that it is at; none when that was deleted. A
    /// packet socket does not go along to another network namespace, tcx does.
    pub(super) fn interface(&self) -> io::Result<Option<u32>> {
        let index = match self {
            Self::Tcx(link, _) => {
                let info = link_info(link)?;
                // SAFETY: it is the member that a link of tcx fills.
                unsafe { info.__bindgen_anon_1.tcx.ifindex }
            }
            Self::Socket(socket) => {
                // SAFETY: all-zero is a valid sockaddr_ll.
                let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
                let mut address_bytes = socklen::<libc::sockaddr_ll>();
                // SAFETY: the address lives over the call, and its length is given.
                check(unsafe {
                    libc::getsockname(
                        socket.as_raw_fd(),
                        (&raw mut address).cast(),
                        &raw mut address_bytes,
                    )
                })?;
                // -1 without one (packet_notifier in the kernel's af_packet.c).
                u32::try_from(address.sll_ifindex).unwrap_or(0)
            }
        };
        Ok((index != 0).then_some(index))
    }

    /// The number and the kind of its link, for [`tcx_row`]; none of what stands in no
    /// row.
    pub(super) fn link(&self) -> io::Result<Option<(u32, libbpf_sys::bpf_attach_type)>> {
        match self {
            Self::Tcx(link, attach_type) => Ok(Some((link_info(link)?.id, *attach_type))),
            Self::Socket(_) => Ok(None),
        }
    }
}

fn link_info(link: &OwnedFd) -> io::Result<libbpf_sys::bpf_link_info> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut info_bytes = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the information lives over the call, and its size is given.
    check(unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut info_bytes)
    })?;
    Ok(info)
}

/// The numbers of the links at an interface, in the order in which they are asked, in the
/// network namespace that this runs in; 0 of a program without a link.
pub(super) fn tcx_row(
    interface: u32,
    attach_type: libbpf_sys::bpf_attach_type,
) -> io::Result<Vec<u32>> {
    // BPF_MPROG_MAX in the kernel's linux/bpf_mprog.h.
    const MOST: usize = 64;
    let (mut links, mut programs) = ([0; MOST], [0; MOST]);
    let mut options = libbpf_sys::bpf_prog_query_opts {
        sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as _,
        link_ids: links.as_mut_ptr(),
        // Without room for programs the kernel tells nothing (bpf_mprog_query).
        prog_ids: programs.as_mut_ptr(),
        ..Default::default()
    };
    options.__bindgen_anon_1.count = MOST as _;
    let interface = i32::try_from(interface).map_err(io::Error::other)?;
    // SAFETY: the options, and the numbers that there is room for, live over the call.
    check(unsafe { libbpf_sys::bpf_prog_query_opts(interface, attach_type, &raw mut options) })?;
    // SAFETY: it is the member that the call has written.
    let count = unsafe { options.__bindgen_anon_1.count };
    let count = usize::try_from(count).map_err(io::Error::other)?;
    Ok(links.into_iter().take(count).collect())
}

/// Attaches a program of the tcx kind (Linux 6.6) to an interface, before those that are
/// there: behind one that lets a packet pass (TCX_PASS) no other is asked.
pub(super) fn tcx(
    program: BorrowedFd<'_>,
    attach_type: libbpf_sys::bpf_attach_type,
    device: &Device,
) -> io::Result<Attachment> {
    let ifindex = i32::try_from(device.index).map_err(io::Error::other)?;
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags: libbpf_sys::BPF_F_BEFORE,
        ..Default::default()
    };
    // SAFETY: the program's descriptor and the options live over the call.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            ifindex,
            attach_type,
            &raw const options,
        )
    };
    owned(fd.into()).map(|link| Attachment::Tcx(link, attach_type))
}

/// Opens a packet socket on an interface that hands each packet to a program,
/// which returns 0: nothing is queued.
pub(super) fn socket_filter(program: BorrowedFd<'_>, device: &Device) -> io::Result<Attachment> {
    // Protocol 0 receives nothing until the program is in place.
    // SAFETY: creates a socket; takes no memory.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    let socket = owned(fd.into())?;

    let program = program.as_raw_fd();
    // SAFETY: the option's value is an int that lives over the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            socklen::<libc::c_int>(),
        )
    })?;

    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(device.index).map_err(io::Error::other)?;
    // SAFETY: the address lives over the call, and its length is given.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            socklen::<libc::sockaddr_ll>(),
        )
    })?;
    Ok(Attachment::Socket(socket))
}

/// Attaches a program to a tracepoint.
pub(super) fn tracepoint(program: &ProgramMut<'_>, category: &str, name: &str) -> io::Result<Link> {
    // SAFETY: all-zero is a valid perf_event_attr.
    let mut attributes: libbpf_sys::perf_event_attr = unsafe { mem::zeroed() };
    attributes.type_ = libbpf_sys::PERF_TYPE_TRACEPOINT;
    attributes.size = u32::try_from(size_of_val(&attributes)).map_err(io::Error::other)?;
    attributes.config = tracefs::id(category, name)?;
    // A program on a tracepoint runs on all CPUs, whichever its event names.
    const ANY_PROCESS: libc::pid_t = -1;
    const SOME_CPU: libc::c_int = 0;
    const NO_GROUP: libc::c_int = -1;
    // SAFETY: the attributes live over the call, and say their size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            ANY_PROCESS,
            SOME_CPU,
            NO_GROUP,
            libbpf_sys::PERF_FLAG_FD_CLOEXEC as libc::c_ulong,
        )
    };
    let event = owned(fd)?;
    // The link owns the descriptor from here on.
    let event = std::os::fd::IntoRawFd::into_raw_fd(event);
    program.attach_perf_event(event).map_err(plain)
}

/// libbpf's error as one line.
pub(super) fn plain(error: libbpf_rs::Error) -> io::Error {
    io::Error::other(format!("{error:#}"))
}

/// The descriptor that a system call gave, or its error.
pub(super) fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the call that gave it just opened it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
