//! The analyzer: owners, TCP connections, requests and reports from records.
//!
//! [`pipeline`] takes records and makes a [`report`] of them; on the way
//! [`tcp`] makes connections of packets, [`app`] requests of their payload, and
//! [`owner`] says whose they are, and [`gaps`] which may not be whole.
//! [`annotate`] says it of single packets, and [`mod@print`] shows these.
//! [`select`] takes the packets that a filter passes. All that is free of I/O,
//! clocks and threads;
//! [`command`] is where files are opened.

pub mod annotate;
pub mod app;
pub mod command;
pub mod condition;
pub mod contrast;
pub mod finding;
pub mod gaps;
pub mod latency;
pub mod owner;
pub mod pipeline;
pub mod print;
pub mod report;
pub mod select;
mod summary;
pub mod tcp;
pub mod timing;
