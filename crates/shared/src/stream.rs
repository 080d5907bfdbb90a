//! Where records come from and go to.

use std::io;

use thiserror::Error;

use crate::batch::Batch;
use crate::record::{Process, Provenance, Record};

/// Why a source could not give the next record.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The operating system refused to read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The input ends inside a record: the recording ended abruptly, or the
    /// file was cut. All records before it have been given; no more follow.
    #[error("cut at byte {at_bytes}: {detail}")]
    Truncated {
        /// Where the incomplete part begins, in bytes of the uncompressed input.
        at_bytes: u64,
        /// What is incomplete.
        detail: String,
    },
    /// One record makes no sense and was passed over; the next can be asked for.
    #[error("damaged record at byte {at_bytes}: {detail}")]
    Damaged {
        /// Where the record begins, in bytes of the uncompressed input.
        at_bytes: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The input is something else than a capture that this version reads.
    #[error("{0}")]
    Unsupported(String),
}

impl ReadError {
    /// Whether the source can be asked for the record after this one.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// A stream of records.
pub trait Source {
    /// The next record, or none at the end. The record lives until the next call.
    ///
    /// # Errors
    /// See [`ReadError`]; after any error that is not
    /// [passing](ReadError::is_passing) there are no more records.
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError>;

    /// Whether the next record can be given without reading, which may have to wait.
    fn has_next(&self) -> bool;

    /// Puts the next records into a batch that is empty, and says whether there
    /// may be more. None waits in the batch for those that are not read yet: a pipe's may be
    /// long in coming.
    ///
    /// # Errors
    /// As [`next`](Self::next); the records before are in the batch.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        while batch.is_empty() || !batch.is_full() && self.has_next() {
            let Some(record) = self.next()? else {
                return Ok(false);
            };
            batch.push(record);
        }
        Ok(true)
    }
}

/// The process at one end of a packet's connection, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The process.
    pub process: &'a Process,
    /// How it is known.
    pub provenance: Provenance,
}

/// What is derived for a packet and written beside it for readers that cannot
/// derive it (Wireshark). A source never gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// Owner of the end that is on the recorded host: the sender of a packet
    /// that goes out, the receiver of one that comes in.
    pub owner: Option<Owner<'a>>,
    /// Owner of the other end, where that is on this host too.
    pub peer: Option<Owner<'a>>,
    /// The connection's Community ID.
    pub community_id: &'a str,
    /// Annotations of the same number are the same, so that a sink can keep
    /// what it makes of one for the next.
    pub number: u64,
}

/// Where records go.
pub trait Sink {
    /// Takes the next record; a packet may come with an annotation.
    ///
    /// # Errors
    /// The output's, as a full disk. The sink may then hold part of the record.
    fn write(&mut self, record: &Record<'_>, annotation: Option<&Annotation<'_>>)
    -> io::Result<()>;

    /// Makes what was written so far readable by others.
    ///
    /// # Errors
    /// The output's.
    fn flush(&mut self) -> io::Result<()>;

    /// Ends the output in good order.
    ///
    /// # Errors
    /// The output's.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
