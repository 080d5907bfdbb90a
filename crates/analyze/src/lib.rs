//! The analyzer: owners, TCP connections, requests and reports from records.
//!
//! [`pipeline`] takes records and makes a [`report`] of them; on the way
//! [`tcp`] makes connections of packets, [`app`] requests of their payload, and
//! `owner` says whose they are, and `gaps` which may not be whole.
//! [`annotate`] says it of single packets, and [`mod@print`] shows these.
//! `select` takes the packets that a filter passes. None of these opens a file or asks
//! a clock: times come with the records. What they write goes to where they are told, and
//! the threads that [`pipeline`] may divide its work among make no difference;
//! [`command`] opens files, and says how many threads there are.

pub mod annotate;
pub mod app;
pub mod command;
pub mod condition;
mod contrast;
pub mod finding;
mod forget;
mod gaps;
mod latency;
mod owner;
pub mod pipeline;
pub mod print;
pub mod report;
mod resolved;
mod select;
mod services;
mod span;
mod summary;
pub mod tcp;
pub mod timing;
mod totals;
