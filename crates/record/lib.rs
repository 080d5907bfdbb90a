//! The recorder: kernel hooks, processes and files.

#![cfg(feature = "record")]

mod books;
mod capture_file;
pub mod command;
mod container;
mod decoder;
mod doctor;
mod interfaces;
mod kernel;
mod lock;
mod output;
mod processes;
mod reader;
mod recorder;
mod rights;
mod rotation;
mod signals;
mod sockets;
mod top;
mod writer;
