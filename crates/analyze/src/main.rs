//! `tcprec-analyze`: the offline commands of `tcprec`, for machines that never record.
fn main() {}
