//! What the recorder and the analyzer share: the records of a capture, the
//! header parser, and the file formats.
//!
//! Three floors, and imports only go down: [`mod@format`] knows [`stream`],
//! [`batch`] and [`record`]; [`record`] knows [`flow`] and [`headers`], and nothing of
//! formats.

pub mod batch;
pub mod filter;
pub mod flow;
pub mod format;
pub mod headers;
pub mod record;
pub mod stream;
