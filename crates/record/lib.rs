//! The recorder: kernel hooks, processes and files.

#[cfg(feature = "record")]
pub mod command;
#[cfg(feature = "record")]
mod kernel;
#[cfg(feature = "record")]
mod processes;
#[cfg(feature = "record")]
mod recorder;
#[cfg(feature = "record")]
mod writer;
