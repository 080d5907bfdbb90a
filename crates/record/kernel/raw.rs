//! The values that the programs write (`bpf/tcprec.h`, `bpf/rings.bpf.h`,
//! `bpf/top.bpf.c`), out of their bytes.

use std::mem::{offset_of, size_of};

use super::skeleton::events::types as events;
use super::skeleton::packets::types as packets;
use super::skeleton::top::types as top;

// Padding would travel as whatever the stack held.
const _: () = assert!(size_of::<packets::headers>() == 48);
const _: () = assert!(size_of::<packets::packet_record>() == 80);
const _: () = assert!(size_of::<events::task>() == 48);
const _: () = assert!(size_of::<events::socket_event>() == 152);
const _: () = assert!(size_of::<events::exec_event>() == 64 + 256 + 1024);
// By its kind it is told which of the two a record is.
const _: () =
    assert!(offset_of!(events::socket_event, kind) == offset_of!(events::exec_event, kind));

/// A type that the programs write.
///
/// # Safety
/// It is made of integers, and structs and arrays of them: any bytes are a value.
pub(super) unsafe trait Raw: Copy {}
// SAFETY: integers only.
unsafe impl Raw for packets::packet_record {}
// SAFETY: integers only.
unsafe impl Raw for events::socket_event {}
// SAFETY: integers only.
unsafe impl Raw for events::exec_event {}
// SAFETY: integers only.
unsafe impl Raw for events::seen {}
// SAFETY: integers only.
unsafe impl Raw for events::loss {}
// SAFETY: integers only.
unsafe impl Raw for top::process_key {}
// SAFETY: integers only.
unsafe impl Raw for top::process_counts {}

/// The value at the head of `raw`, and the bytes behind it; none where there are fewer.
/// Copied out: a ring aligns records to 8 bytes only, and a batch not even so.
pub(super) fn split<T: Raw>(raw: &[u8]) -> Option<(T, &[u8])> {
    let (head, tail) = raw.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has the size of T, and any bytes are a valid T.
    Some((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, tail))
}

/// Bytes up to the first zero as text; what is not UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
