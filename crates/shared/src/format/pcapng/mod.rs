//! pcapng (draft-ietf-opsawg-pcapng).
//!
//! [`mod@read`] makes records of blocks and [`mod@write`] blocks of records.
//! `pcap_file` finds the blocks of a file ([`blocks`]) and lays out those that are
//! written, but for packets ([`mod@packet`]); what is inside of a block is read by
//! [`body`].
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

mod blocks;
mod body;
mod clock;
mod comment;
mod journal;
mod options_cache;
mod packet;
mod read;
mod write;

use byteorder_slice::BigEndian;
use pcap_file::pcapng::blocks::SECTION_HEADER_BLOCK;
use pcap_file::pcapng::{PcapNgFormatError, RawBlock, RawBlockParseError};

pub(super) use read::Reader;
pub(super) use write::Writer;

/// A process, as macOS tells of it (libpcap of Apple, pcapng.h). Packets refer
/// to it by its place among the blocks of this type.
const DARWIN_PROCESS_BLOCK: u32 = 0x8000_0001;

/// In the flags of an enhanced packet: its direction.
mod flags {
    pub(super) const DIRECTION: u32 = 0b11;
    pub(super) const INBOUND: u32 = 0b01;
    pub(super) const OUTBOUND: u32 = 0b10;
}

/// Whether an input that begins so is a pcapng file: by the type of its first
/// block, which reads the same in both byte orders, and by its magic number.
pub(super) fn recognizes(start: &[u8]) -> bool {
    start.starts_with(&SECTION_HEADER_BLOCK.to_be_bytes())
        && !matches!(
            RawBlock::from_slice::<BigEndian>(start),
            Err(RawBlockParseError::InvalidFormat(
                PcapNgFormatError::InvalidMagicNumber(_)
            ))
        )
}
