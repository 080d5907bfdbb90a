//! Whether the bytes of packets are shown below their lines, on a command line.

use crate::print::Bytes;

/// How the bytes of packets are shown; tcpdump's options.
#[derive(Debug, clap::Args)]
pub struct BytesArgs {
    /// Show the bytes of each packet that is printed as text, from its IP header on
    #[arg(short = 'A')]
    text: bool,
    /// Show them in hex
    #[arg(short = 'x')]
    hex: bool,
    /// Show them in hex and as text
    #[arg(short = 'X')]
    hex_and_text: bool,
}

impl BytesArgs {
    /// Of several ways the one that tcpdump takes.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        let ways = [
            (self.hex_and_text, Bytes::HexAndText),
            (self.hex, Bytes::Hex),
            (self.text, Bytes::Text),
        ];
        ways.into_iter().find_map(|(is, way)| is.then_some(way))
    }
}
