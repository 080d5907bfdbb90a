//! Packet filters in tcpdump's syntax.
//!
//! [`compile()`] has an expression compiled by libpcap to a [`Program`] of the
//! classic BPF machine, for one link type. The program runs here, on the
//! packets of files, and the recorder translates it for the kernel: both take
//! exactly the packets that tcpdump takes of the same bytes.

mod compile;
pub mod expression;
#[cfg(unix)]
mod libpcap;
mod place;
mod program;
#[cfg(test)]
mod tests;

pub use compile::{CompileError, Compiler, compile, compiler};
pub use program::{
    Alu, Instruction, InvalidProgram, Operand, Program, RawInstruction, SCRATCH_WORDS, Size, Test,
};
