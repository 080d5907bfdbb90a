//! Reading perf's rings, one for each CPU: for kernels without a ring buffer.

use std::cell::RefCell;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use libbpf_rs::libbpf_sys as sys;

use super::batch::{Batch, Ring};
use super::hooks::check;
use super::rings::End;

/// A perf ring for each CPU.
pub(super) struct PerfRings {
    buffer: NonNull<sys::perf_buffer>,
    /// What the callback is given.
    _target: Box<Target>,
}

/// Where records of perf's rings go.
struct Target {
    ring: Ring,
    filling: Rc<RefCell<Batch>>,
}

impl PerfRings {
    /// Opens them, to be read into `filling`.
    pub(super) fn open(end: &End<'_, '_>, filling: Rc<RefCell<Batch>>) -> io::Result<Self> {
        let target = Box::new(Target {
            ring: end.ring,
            filling,
        });
        let mut attributes = sys::perf_event_attr {
            type_: sys::PERF_TYPE_SOFTWARE,
            size: u32::try_from(size_of::<sys::perf_event_attr>()).map_err(io::Error::other)?,
            config: u64::from(sys::PERF_COUNT_SW_BPF_OUTPUT),
            sample_type: u64::from(sys::PERF_SAMPLE_RAW),
            ..Default::default()
        };
        attributes.__bindgen_anon_1.sample_period = 1;
        attributes.set_watermark(1);
        attributes.__bindgen_anon_2.wakeup_watermark = 1 << end.size.wakeup_shift();
        // SAFETY: the map's descriptor is open, the attributes live over the
        // call; the target lives as long as the buffer.
        let buffer = unsafe {
            sys::perf_buffer__new_raw(
                end.cpu_maps.as_fd().as_raw_fd(),
                end.size.pages() as sys::size_t,
                &raw mut attributes,
                Some(take_perf_record),
                ptr::from_ref(&*target).cast_mut().cast::<c_void>(),
                ptr::null(),
            )
        };
        match NonNull::new(buffer) {
            Some(buffer) => Ok(Self {
                buffer,
                _target: target,
            }),
            None => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn epoll_fd(&self) -> libc::c_int {
        // SAFETY: the buffer is open.
        unsafe { sys::perf_buffer__epoll_fd(self.buffer.as_ptr()) }
    }

    /// Takes what is there when the look begins: no more than the rings hold.
    pub(super) fn take(&self) -> io::Result<()> {
        // SAFETY: the buffer is open, and so is the callback's target.
        check(unsafe { sys::perf_buffer__consume(self.buffer.as_ptr()) })
    }
}

impl Drop for PerfRings {
    fn drop(&mut self) {
        // SAFETY: the buffer is open, and not used any more.
        unsafe { sys::perf_buffer__free(self.buffer.as_ptr()) }
    }
}

/// Takes what one of perf's rings holds. What it says of losses (PERF_RECORD_LOST)
/// the programs have counted already, with their times.
unsafe extern "C" fn take_perf_record(
    target: *mut c_void,
    _cpu: libc::c_int,
    header: *mut sys::perf_event_header,
) -> sys::bpf_perf_event_ret {
    // SAFETY: it is the target that was given when the buffer was opened.
    let target = unsafe { &*target.cast::<Target>() };
    // SAFETY: libbpf gives a whole record, which begins with its header.
    let (kind, size) = unsafe { ((*header).type_, usize::from((*header).size)) };
    if kind == sys::PERF_RECORD_SAMPLE {
        // SAFETY: the record is as long as its header says.
        let record = unsafe { std::slice::from_raw_parts(header.cast::<u8>(), size) };
        // PERF_SAMPLE_RAW: a length and as many bytes (perf_event_open(2)).
        let raw = record.get(size_of::<sys::perf_event_header>()..);
        let raw = raw.and_then(<[u8]>::split_first_chunk);
        if let Some((length, raw)) = raw {
            let length = u32::from_ne_bytes(*length) as usize;
            let raw = raw.get(..length).unwrap_or(raw);
            target.filling.borrow_mut().push(target.ring, raw);
        }
    }
    sys::LIBBPF_PERF_EVENT_CONT
}
