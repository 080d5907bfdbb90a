//! pcapng (draft-ietf-opsawg-pcapng): the layout of its blocks and options.
//!
//! [`mod@read`] makes records of them and [`mod@write`] them of records. A hand-made
//! view and no library: blocks are looked at in place, and an option that
//! makes no sense costs that option alone and not the packet that carries it.
//!
//! Where records stand, so that reading gives back what was written:
//!
//! | record | block |
//! | --- | --- |
//! | capture | section header; the record's JSON is its comment |
//! | interface | interface description; the record's JSON is its comment |
//! | process | Darwin process block; the record's JSON is its comment |
//! | packet | enhanced packet; cookie and kernel's parse in its [`comment`] |
//! | all others | [`journal`] entry, with the record's JSON |

mod clock;
mod comment;
mod journal;
mod read;
mod write;

pub(super) use read::Reader;
pub use write::PcapngOptions;
pub(super) use write::Writer;

/// Block types.
mod block {
    /// Reads the same in both byte orders.
    pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
    /// The obsolete one that enhanced packets replace.
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const INTERFACE_STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const SYSTEMD_JOURNAL_EXPORT: u32 = 9;
    /// A process, as macOS tells of it (libpcap of Apple, pcapng.h). Packets
    /// refer to it by its place among the blocks of this type.
    pub(super) const DARWIN_PROCESS: u32 = 0x8000_0001;
}

/// What stands around the body of a block: type, length, and length again.
const FRAME_BYTES: usize = 12;

/// In a section header: tells the section's byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// In the flags of an enhanced packet: its direction.
mod flags {
    pub(super) const DIRECTION: u32 = 0b11;
    pub(super) const INBOUND: u32 = 0b01;
    pub(super) const OUTBOUND: u32 = 0b10;
}

/// Option codes, by the block that they stand in.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const IF_TSOFFSET: u16 = 14;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const EPB_DROPCOUNT: u16 = 4;
    pub(super) const EPB_PROCESSID_THREADID: u16 = 8;
    pub(super) const EPB_DARWIN_PROCESS: u16 = 0x8001;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
    pub(super) const ISB_OSDROP: u16 = 7;
    pub(super) const DARWIN_PROCESS_NAME: u16 = 2;
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

    const fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    const fn i64(self, bytes: [u8; 8]) -> i64 {
        self.u64(bytes).cast_signed()
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

    /// A time: its upper half stands first, in either byte order.
    fn ticks(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
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

/// A block that is being laid out, in little-endian order.
struct BlockWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    has_options: bool,
}

impl<'a> BlockWriter<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend(kind.to_le_bytes());
        // The length, once it is known.
        out.extend([0; 4]);
        Self {
            out,
            start,
            has_options: false,
        }
    }

    fn u16(&mut self, value: u16) {
        self.out.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend(value.to_le_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        let len = self.out.len() - self.start;
        self.out.resize(self.start + len.next_multiple_of(4), 0);
    }

    /// An option; one that is too long is left out.
    fn option(&mut self, code: u16, value: &[u8]) {
        self.option_with(code, |out| out.extend_from_slice(value));
    }

    /// An option whose value is appended by `write`; one that is empty or too long is left out.
    fn option_with(&mut self, code: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.u16(code);
        self.u16(0);
        write(self.out);
        match u16::try_from(self.out.len() - start - 4) {
            Ok(len @ 1..) => {
                self.out[start + 2..start + 4].copy_from_slice(&len.to_le_bytes());
                self.pad();
                self.has_options = true;
            }
            _ => self.out.truncate(start),
        }
    }

    fn end(mut self) {
        if self.has_options {
            self.u16(option::END);
            self.u16(0);
        }
        let len = u32::try_from(self.out.len() - self.start + 4).unwrap_or(u32::MAX);
        self.u32(len);
        self.out[self.start + 4..self.start + 8].copy_from_slice(&len.to_le_bytes());
    }
}
