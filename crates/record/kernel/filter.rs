//! The filter before a packet program: a program of its own, attached in its
//! place, that goes on to it with the packets that pass.

#[cfg(test)]
mod tests;

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr;

use libbpf_rs::libbpf_sys as sys;
use tcprec_shared::filter::{CompileError, Program, compile};
use tcprec_shared::headers::LinkType;

use super::ebpf::translate;
use super::hooks::{check, owned};
use super::interfaces::{Device, Layer};

/// An expression, compiled for what packets may begin with.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// Or why it makes no sense there.
    programs: [(Layer, Result<Program, String>); 2],
}

impl Filter {
    /// Compiles an expression in tcpdump's syntax for these interfaces, and for others
    /// that may come.
    ///
    /// # Errors
    /// It is wrong, or nothing here compiles filters.
    pub(crate) fn new(expression: &str, devices: &[Device]) -> Result<Self, CompileError> {
        let compile = |layer, link| match compile(link, expression) {
            Ok(program) => Ok((layer, Ok(program))),
            Err(error) if devices.iter().any(|device| device.layer == Ok(layer)) => Err(error),
            Err(error) => Ok((layer, Err(error.to_string()))),
        };
        let programs = [
            compile(Layer::Ether, LinkType::ETHERNET)?,
            compile(Layer::Ip, LinkType::RAW)?,
        ];
        Ok(Self { programs })
    }

    /// The program for an interface's packets.
    ///
    /// # Errors
    /// It makes no sense for them.
    pub(super) fn program(&self, device: &Device) -> io::Result<&Program> {
        let mut programs = self.programs.iter();
        let of = programs.find(|(layer, _)| device.layer == Ok(*layer));
        let (_, program) = of.ok_or(io::ErrorKind::Unsupported)?;
        program.as_ref().map_err(|error| {
            let what = format!("the filter does not fit its packets: {error}");
            io::Error::new(io::ErrorKind::Unsupported, what)
        })
    }
}

/// Whether no TCP packet that begins as those of these interfaces passes an expression, as far
/// as libpcap can tell: it compiles no program that takes nothing. Behind IPv6's extension
/// headers TCP may follow, which it does not look for.
pub(crate) fn passes_no_tcp(expression: &str, devices: &[Device]) -> bool {
    let both = format!("({expression}) and (ip proto \\tcp or ip6 and not (udp or icmp6 or sctp))");
    let takes_nothing = |device: &Device| {
        let link = match device.layer {
            Ok(Layer::Ip) => LinkType::RAW,
            _ => LinkType::ETHERNET,
        };
        let error = compile(link, &both).err();
        error.is_some_and(|error| error.to_string().contains("rejects all packets"))
    };
    !devices.is_empty() && devices.iter().all(takes_nothing)
}

/// What a program is to the kernel, so that one can stand for another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) program: sys::bpf_prog_type,
    pub(super) attach: sys::bpf_attach_type,
    /// What it returns where it has nothing to do with a packet.
    pub(super) miss: i32,
}

impl Kind {
    /// tcx, one way.
    pub(super) const fn tcx(attach: sys::bpf_attach_type) -> Self {
        const TCX_NEXT: i32 = -1; // linux/bpf.h
        Self {
            program: sys::BPF_PROG_TYPE_SCHED_CLS,
            attach,
            miss: TCX_NEXT,
        }
    }

    /// A socket filter that queues nothing.
    pub(super) const SOCKET_FILTER: Self = Self {
        program: sys::BPF_PROG_TYPE_SOCKET_FILTER,
        attach: 0,
        miss: 0,
    };
}

/// A filter in the kernel, before a packet program.
#[derive(Debug)]
pub(super) struct Prefilter {
    program: OwnedFd,
    /// Holds the packet program: the kernel empties such a map with its last descriptor.
    _targets: OwnedFd,
}

impl Prefilter {
    /// Loads a filter that goes on to `target`, a program of that kind.
    ///
    /// # Errors
    /// The kernel's, or the filter is too large.
    pub(super) fn load(filter: &Program, target: BorrowedFd<'_>, kind: Kind) -> io::Result<Self> {
        const ENTRY_BYTES: u32 = 4;
        // SAFETY: the name lives over the call; no options are given.
        let targets = unsafe {
            sys::bpf_map_create(
                sys::BPF_MAP_TYPE_PROG_ARRAY,
                c"tcprec_filter".as_ptr(),
                ENTRY_BYTES,
                ENTRY_BYTES,
                1,
                ptr::null(),
            )
        };
        let targets = owned(targets.into())?;
        let (index, program) = (0_u32, target.as_raw_fd());
        // SAFETY: key and value are of the map's sizes, and live over the call.
        check(unsafe {
            sys::bpf_map_update_elem(
                targets.as_raw_fd(),
                ptr::from_ref(&index).cast::<c_void>(),
                ptr::from_ref(&program).cast::<c_void>(),
                u64::from(sys::BPF_ANY),
            )
        })?;
        let code = translate(filter, targets.as_raw_fd(), kind.miss).map_err(io::Error::other)?;
        Ok(Self {
            program: load(&code, kind)?,
            _targets: targets,
        })
    }
}

impl AsFd for Prefilter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// Loads a program of a kind.
pub(super) fn load(code: &[sys::bpf_insn], kind: Kind) -> io::Result<OwnedFd> {
    let mut options = sys::bpf_prog_load_opts {
        sz: size_of::<sys::bpf_prog_load_opts>() as sys::size_t,
        expected_attach_type: kind.attach,
        ..Default::default()
    };
    // SAFETY: the names end with zeros; the code is as long as is said; all
    // live over the call, and the options say their size.
    let program = unsafe {
        sys::bpf_prog_load(
            kind.program,
            c"tcprec_filter".as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            code.as_ptr(),
            code.len() as sys::size_t,
            &raw mut options,
        )
    };
    owned(program.into())
}
