//! pcapng (draft-ietf-opsawg-pcapng): the layout of its blocks and options.
//!
//! [`read`] makes records of them. A hand-made view and no library: blocks are
//! looked at in place, and an option that makes no sense costs that option
//! alone and not the packet that carries it.

mod read;

pub(super) use read::Reader;

/// Block types.
mod block {
    /// Reads the same in both byte orders.
    pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
    /// The obsolete one that enhanced packets replace.
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;
}

/// What stands around the body of a block: type, length, and length again.
const FRAME_BYTES: usize = 12;

/// In a section header: tells the section's byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Option codes, by the block that they stand in.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const SHB_HARDWARE: u16 = 2;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const IF_TSOFFSET: u16 = 14;
    pub(super) const EPB_FLAGS: u16 = 2;
}

/// Whether an input that begins so is a pcapng file.
pub(super) fn recognizes(start: &[u8]) -> bool {
    start.starts_with(&block::SECTION_HEADER.to_be_bytes())
        && start
            .get(8..)
            .is_none_or(|magic| ByteOrder::of_magic(magic).is_some() || magic.len() < 4)
}

/// How a section's writer laid out numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn of_magic(bytes: &[u8]) -> Option<Self> {
        let magic = *bytes.first_chunk()?;
        [Self::Little, Self::Big]
            .into_iter()
            .find(|order| order.u32(magic) == BYTE_ORDER_MAGIC)
    }

    const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    const fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// The fields of a block's body, one after the other; none where it is too short.
#[derive(Debug, Clone, Copy)]
struct Fields<'a> {
    order: ByteOrder,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(self.order.u16(self.chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(self.order.u32(self.chunk()?))
    }

    /// `len` bytes and the padding after them, as far as there is any.
    fn padded(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        let padding = len.next_multiple_of(4) - len;
        self.rest = rest.get(padding..).unwrap_or_default();
        Some(bytes)
    }
}

/// The options at the end of a block: code and value, up to the first that
/// does not fit.
struct Options<'a>(Fields<'a>);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = self.0.u16()?;
        let len = self.0.u16()?;
        (code != option::END).then_some((code, self.0.padded(len.into())?))
    }
}
