//! The subcommands that need a kernel: one file each, arguments and run.

mod doctor;
mod record;
mod teller;
mod top;
mod values;

pub use doctor::Doctor;
pub use record::Record;
pub use top::Top;

/// The name of an output that is no file.
const STANDARD_OUTPUT: &str = "-";
