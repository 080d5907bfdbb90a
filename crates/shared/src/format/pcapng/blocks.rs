//! The blocks of a pcapng file: where each begins and ends, and its bytes. What
//! they say is told by `read`.

use byteorder_slice::{BigEndian, LittleEndian};
use pcap_file::Endianness;
use pcap_file::pcapng::{RawBlock, RawBlockParseError};

use crate::stream::ReadError;

use super::super::window::{MAX_RECORD_BYTES, Window};
use super::body::{self, Fields};

/// Where the body of a block begins: after its type and length.
const BODY: usize = 8;

/// What stands around the body of a block: type, length, and length again.
const FRAME_BYTES: usize = 12;

/// The blocks of an input, one after the other.
pub(super) struct Blocks {
    window: Window,
    /// That of the present section.
    pub(super) order: Endianness,
    /// Length of the block that was given last.
    given_bytes: usize,
}

/// A block, whole in the window until the next is asked for.
pub(super) struct Block {
    pub(super) kind: u32,
    pub(super) len: usize,
}

impl Blocks {
    pub(super) const fn new(window: Window) -> Self {
        Self {
            window,
            order: Endianness::Little,
            given_bytes: 0,
        }
    }

    /// The next block, none at the end of the input.
    pub(super) fn next(&mut self) -> Result<Option<Block>, ReadError> {
        self.pass();
        let block = self.block()?;
        self.given_bytes = block.as_ref().map_or(0, |block| block.len);
        Ok(block)
    }

    /// The type of the next block, if the block was read.
    pub(super) fn next_kind(&self) -> Option<u32> {
        let bytes = self.window.bytes().get(self.given_bytes..)?;
        let (kind, rest) = bytes.split_first_chunk()?;
        let len = body::u32(self.order, *rest.first_chunk()?) as usize;
        (len <= bytes.len()).then(|| body::u32(self.order, *kind))
    }

    /// Goes behind the block that was given last.
    fn pass(&mut self) {
        self.window.consume(std::mem::take(&mut self.given_bytes));
    }

    fn block(&mut self) -> Result<Option<Block>, ReadError> {
        if !self.window.fill(FRAME_BYTES)? {
            return self.window.end("the header of a block");
        }
        loop {
            let bytes = self.window.bytes();
            let raw = match self.order {
                Endianness::Little => RawBlock::from_slice::<LittleEndian>(bytes),
                Endianness::Big => RawBlock::from_slice::<BigEndian>(bytes),
            };
            let (kind, len) = match raw {
                Ok((_, raw)) => (Some(raw.type_), raw.initial_len as usize),
                // Of the bytes after type and length.
                Err(RawBlockParseError::IncompleteBuffer(needed, _)) => (None, BODY + needed),
                Err(RawBlockParseError::InvalidFormat(error)) => {
                    return Err(self
                        .window
                        .cut(format!("the file is damaged from here on: {error}")));
                }
            };
            if len > MAX_RECORD_BYTES {
                return Err(self.skip(len));
            }
            if !self.window.fill(len)? {
                return self.window.end(&format!("a block of {len} bytes"));
            }
            if let Some(kind) = kind {
                return Ok(Some(Block { kind, len }));
            }
        }
    }

    /// Passes over a block that is too large: what is to be said of it.
    fn skip(&mut self, len: usize) -> ReadError {
        let at_bytes = self.window.offset();
        match self.window.skip(len as u64) {
            Ok(true) => ReadError::Damaged {
                at_bytes,
                detail: format!("a block of {len} bytes; at most {MAX_RECORD_BYTES} are read"),
            },
            Ok(false) => ReadError::Truncated {
                at_bytes,
                detail: format!("the input ends inside a block of {len} bytes"),
            },
            Err(error) => error.into(),
        }
    }

    /// The first bytes of the next block, before it is whole; none where there are
    /// fewer.
    pub(super) fn peek<const BYTES: usize>(&mut self) -> Result<Option<Fields<'_>>, ReadError> {
        self.pass();
        let is_there = self.window.fill(BYTES)?;
        Ok(is_there.then(|| self.fields(&self.window.bytes()[..BYTES])))
    }

    fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            order: self.order,
            rest: bytes,
        }
    }

    /// The body of the block that was given last.
    pub(super) fn body(&self, block: &Block) -> Fields<'_> {
        self.fields(&self.window.bytes()[BODY..block.len - 4])
    }

    /// The bytes from where the block begins that was given last.
    pub(super) fn bytes(&self) -> &[u8] {
        self.window.bytes()
    }

    /// That the block that was given last cannot be used.
    pub(super) fn damaged(&self, detail: impl Into<String>) -> ReadError {
        ReadError::Damaged {
            at_bytes: self.window.offset(),
            detail: detail.into(),
        }
    }

    /// That there is nothing more to be read.
    pub(super) fn cut(&self, detail: &str) -> ReadError {
        self.window.cut(detail)
    }
}
