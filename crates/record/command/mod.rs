//! The subcommands that need a kernel: one file each, arguments and run.

mod doctor;
mod outputs;
mod record;
mod teller;
mod top;
mod values;

pub use doctor::Doctor;
pub use record::Record;
pub use top::Top;
