//! What is inside of a block, field by field and option by option.
//!
//! `pcap_file` can read that too, but all of a block or nothing of it: a
//! comment that is not UTF-8 would cost the packet that carries it, and an
//! interface that counts picoseconds all of its packets. Here an option that
//! makes no sense costs that option alone.

use memchr::memchr;
use pcap_file::Endianness;

/// Option codes, by the block that they stand in.
pub(super) mod option {
    pub(in super::super) const END: u16 = 0;
    pub(in super::super) const SHB_OS: u16 = 3;
    pub(in super::super) const SHB_USERAPPL: u16 = 4;
    pub(in super::super) const IF_NAME: u16 = 2;
    pub(in super::super) const IF_TSRESOL: u16 = 9;
    pub(in super::super) const IF_TSOFFSET: u16 = 14;
    pub(in super::super) const EPB_FLAGS: u16 = 2;
    pub(in super::super) const EPB_DROPCOUNT: u16 = 4;
    pub(in super::super) const ISB_IFDROP: u16 = 5;
    pub(in super::super) const ISB_OSDROP: u16 = 7;
}

pub(super) const fn u16(order: Endianness, bytes: [u8; 2]) -> u16 {
    match order {
        Endianness::Little => u16::from_le_bytes(bytes),
        Endianness::Big => u16::from_be_bytes(bytes),
    }
}

pub(super) const fn u32(order: Endianness, bytes: [u8; 4]) -> u32 {
    match order {
        Endianness::Little => u32::from_le_bytes(bytes),
        Endianness::Big => u32::from_be_bytes(bytes),
    }
}

pub(super) const fn u64(order: Endianness, bytes: [u8; 8]) -> u64 {
    match order {
        Endianness::Little => u64::from_le_bytes(bytes),
        Endianness::Big => u64::from_be_bytes(bytes),
    }
}

/// The fields of a block's body, one after the other; none where it is too short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) order: Endianness,
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16(self.order, self.chunk()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32(self.order, self.chunk()?))
    }

    /// A time: its upper half stands first, in either byte order.
    pub(super) fn ticks(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// `len` bytes and the padding after them, as far as there is any.
    pub(super) fn padded(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        let padding = len.next_multiple_of(4) - len;
        self.rest = rest.get(padding..).unwrap_or_default();
        Some(bytes)
    }
}

/// The options at the end of a block: code and value, up to the first that
/// does not fit.
pub(super) struct Options<'a>(pub(super) Fields<'a>);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = self.0.u16()?;
        let len = self.0.u16()?;
        (code != option::END).then_some((code, self.0.padded(len.into())?))
    }
}

/// The first line of a text, without its end, and what follows it.
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'\n', text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}
