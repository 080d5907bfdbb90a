//! The analyzer: owners, TCP connections, requests and reports from records.
