//! The recorder: kernel hooks, processes and files.

#[cfg(feature = "record")]
mod books;
#[cfg(feature = "record")]
pub mod command;
#[cfg(feature = "record")]
mod container;
#[cfg(feature = "record")]
mod doctor;
#[cfg(feature = "record")]
mod interfaces;
#[cfg(feature = "record")]
mod kernel;
#[cfg(feature = "record")]
mod output;
#[cfg(feature = "record")]
mod processes;
#[cfg(feature = "record")]
mod reader;
#[cfg(feature = "record")]
mod recorder;
#[cfg(feature = "record")]
mod rights;
#[cfg(feature = "record")]
mod rotation;
#[cfg(feature = "record")]
mod signals;
#[cfg(feature = "record")]
mod sockets;
#[cfg(feature = "record")]
mod top;
#[cfg(feature = "record")]
mod writer;
