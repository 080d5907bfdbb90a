//! The subcommands that need a kernel: one file each, arguments and run.

mod record;

pub use record::Record;
