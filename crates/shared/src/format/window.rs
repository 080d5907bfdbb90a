//! A window onto an input that readers parse from without copying.
//!
//! It owns reading ahead, the place in the input, and telling an input that
//! ends from one that is cut. What the bytes mean is the readers' matter.

use std::io::{self, Read};

use crate::batch::Batch;
use crate::stream::ReadError;

/// What is read at a time, and so how much a batch is: large enough that what is done for
/// each costs little, and it fits into the cache of a core with what is made of it.
const READ_BYTES: usize = 128 * 1024;

/// The largest record that readers hold in memory. libpcap keeps at most
/// 256 KiB of a packet and Wireshark refuses blocks of more than 16 MiB, so
/// only damage or malice asks for more.
pub(super) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// The part of an input that is being parsed.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Place of `start` in the (uncompressed) input.
    offset: u64,
    ended: bool,
    /// Why the input gave out before its end, where a decoder said so.
    fault: Option<String>,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self::at(0, input)
    }

    /// As [`new`](Self::new), where so many bytes stand before the input.
    pub(super) fn at(offset: u64, input: Box<dyn Read + Send>) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset,
            ended: false,
            fault: None,
        }
    }

    /// What was read and not yet consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Place of the first of [`bytes`](Self::bytes) in the uncompressed input.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until `want` bytes are there; false where the input ends before.
    /// Memory grows with what is really read, not with what a length field claims.
    #[inline]
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        if self.end - self.start >= want {
            return Ok(true);
        }
        self.read_up_to(want)
    }

    #[cold]
    fn read_up_to(&mut self, want: usize) -> io::Result<bool> {
        while self.end - self.start < want && !self.ended {
            self.read_more()?;
        }
        Ok(self.end - self.start >= want)
    }

    /// Where the first of [`bytes`](Self::bytes) is in the buffer.
    #[inline]
    pub(super) const fn place(&self) -> usize {
        self.start
    }

    /// Lets a batch have the buffer, with all that was consumed; what was not goes on
    /// in the batch's.
    pub(super) fn hand_over(&mut self, batch: &mut Batch) {
        batch.exchange(&mut self.buffer);
        let rest = &batch.bytes()[self.start..self.end];
        let want = rest.len().max(READ_BYTES);
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        self.buffer[..rest.len()].copy_from_slice(rest);
        (self.start, self.end) = (0, rest.len());
    }

    /// Passes over the first `len` bytes.
    #[inline]
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Passes over `len` bytes that need not fit in memory; false where the input ends before.
    pub(super) fn skip(&mut self, mut len: u64) -> io::Result<bool> {
        while len > 0 {
            if !self.fill(1)? {
                return Ok(false);
            }
            let step =
                usize::try_from(len).map_or(self.bytes().len(), |len| len.min(self.bytes().len()));
            self.consume(step);
            len -= step as u64;
        }
        Ok(true)
    }

    /// What the end of the input means: none where it ends between two
    /// records, an error that names the record `inside` which it ends else.
    pub(super) fn end<T>(&self, inside: &str) -> Result<Option<T>, ReadError> {
        match &self.fault {
            None if self.start == self.end => Ok(None),
            None => Err(self.cut(format!("the input ends inside {inside}"))),
            Some(fault) => Err(self.cut(fault.clone())),
        }
    }

    /// The error that says that nothing more can be read from here on.
    pub(super) fn cut(&self, detail: impl Into<String>) -> ReadError {
        ReadError::Truncated {
            at_bytes: self.offset,
            detail: detail.into(),
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let len = (self.buffer.len() * 2).max(READ_BYTES);
            self.buffer.resize(len, 0);
        }
        match self.input.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(len) => self.end += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What the operating system did not say, a decoder did.
            Err(error) if error.raw_os_error().is_none() => {
                self.ended = true;
                self.fault = Some(format!("the compressed data is cut or damaged: {error}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
