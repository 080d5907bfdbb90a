//! The `tcprec` command.
fn main() {}
