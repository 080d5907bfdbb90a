//! The analyzer: owners, TCP connections, requests and reports from records.

pub mod app;
pub mod tcp;
pub mod owner;
