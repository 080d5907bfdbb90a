//! libpcap's compiler, found when the program runs: nothing is needed to build,
//! and who uses no filter needs no libpcap.
//!
//! The declarations are those of pcap/pcap.h since libpcap 0.9.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io;
use std::sync::OnceLock;

use libloading::Library;

use super::program::RawInstruction;

/// Its names where it is installed to be run with, and to be built with.
const NAMES: [&str; 5] = [
    "libpcap.so.1",
    "libpcap.so.0.8", // Debian
    "libpcap.so",
    "libpcap.A.dylib",
    "libpcap.dylib",
];

/// pcap/pcap.h PCAP_ERRBUF_SIZE.
const ERROR_BYTES: usize = 256;

/// A handle of libpcap's own.
type Pcap = *mut c_void;

/// pcap/bpf.h struct bpf_program.
#[repr(C)]
struct BpfProgram {
    length: c_uint,
    instructions: *mut RawInstruction,
}

/// The functions that compile.
pub(super) struct Libpcap {
    open: unsafe extern "C" fn(*mut libc::FILE, *mut c_char) -> Pcap,
    compile: unsafe extern "C" fn(Pcap, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int,
    free_code: unsafe extern "C" fn(*mut BpfProgram),
    error: unsafe extern "C" fn(Pcap) -> *mut c_char,
    close: unsafe extern "C" fn(Pcap),
    /// The functions are in it.
    _library: Library,
}

impl Libpcap {
    /// The library, if this host has it.
    pub(super) fn get() -> Option<&'static Self> {
        static LIBPCAP: OnceLock<Option<Libpcap>> = OnceLock::new();
        LIBPCAP
            .get_or_init(|| NAMES.into_iter().find_map(Self::load))
            .as_ref()
    }

    fn load(name: &str) -> Option<Self> {
        // SAFETY: libpcap does nothing when it is loaded, and its functions are
        // as pcap/pcap.h declares them; the library stays as long as they do.
        unsafe {
            let library = Library::new(name).ok()?;
            Some(Self {
                open: *library.get(b"pcap_fopen_offline\0").ok()?,
                compile: *library.get(b"pcap_compile\0").ok()?,
                free_code: *library.get(b"pcap_freecode\0").ok()?,
                error: *library.get(b"pcap_geterr\0").ok()?,
                close: *library.get(b"pcap_close\0").ok()?,
                _library: library,
            })
        }
    }

    /// Compiles an expression for the packets of a capture, of which the pcap
    /// header is given, as `tcpdump -r` does. The error is libpcap's.
    pub(super) fn compile(
        &self,
        capture: &[u8],
        expression: &CStr,
    ) -> Result<Vec<RawInstruction>, String> {
        const OPTIMIZE: c_int = 1;
        const NO_NETMASK: c_uint = 0;
        let mut capture = capture.to_vec();
        let mut error: [c_char; ERROR_BYTES] = [0; ERROR_BYTES];
        let mut program = BpfProgram {
            length: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the file reads from `capture`, which outlives it: it is closed
        // here, by libpcap if that took it. The error ends with a zero and is
        // copied before the handle that it belongs to is closed, once. Of the
        // program `length` instructions are there once it is compiled; they are
        // copied before it is freed.
        unsafe {
            let file = libc::fmemopen(capture.as_mut_ptr().cast(), capture.len(), c"rb".as_ptr());
            if file.is_null() {
                return Err(io::Error::last_os_error().to_string());
            }
            let pcap = (self.open)(file, error.as_mut_ptr());
            if pcap.is_null() {
                libc::fclose(file);
                return Err(text(error.as_ptr()));
            }
            let status = (self.compile)(
                pcap,
                &raw mut program,
                expression.as_ptr(),
                OPTIMIZE,
                NO_NETMASK,
            );
            let result = if status == 0 && !program.instructions.is_null() {
                let length = program.length as usize;
                let code = std::slice::from_raw_parts(program.instructions, length).to_vec();
                (self.free_code)(&raw mut program);
                Ok(code)
            } else {
                Err(text((self.error)(pcap)))
            };
            (self.close)(pcap);
            result
        }
    }
}

/// A copy of a C string.
///
/// # Safety
/// It ends with a zero.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
