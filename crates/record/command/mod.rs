//! The subcommands that need a kernel: one file each, arguments and run.

mod record;
mod top;

pub use record::Record;
pub use top::Top;
