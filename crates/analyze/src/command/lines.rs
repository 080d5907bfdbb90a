//! What lines show, on a command line.

use clap::ArgAction;

use crate::print::{Bytes, Looks, Style, Times};

/// What the line of a packet shows; tcpdump's options.
#[derive(Debug, clap::Args)]
pub struct LineArgs {
    /// Show no times; -tt: seconds since 1970, -ttt: since the previous line, -tttt: with the date,
    /// -ttttt: since the first line
    #[arg(short = 't', action = ArgAction::Count)]
    times: u8,
    /// Number the packets
    #[arg(short = '#', long = "number")]
    has_number: bool,
    /// Show the link header: MAC addresses, VLAN tags and the length on the wire
    #[arg(short = 'e')]
    has_link_header: bool,
    /// Show the IP header's TOS, TTL, identification and flags, or IPv6's equivalents; whether the
    /// checksums of completely captured packets are right; and complete HTTP heads
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
    /// Do not verify checksums: with checksum offload those of outgoing packets are captured wrong
    #[arg(short = 'K', long = "dont-verify-checksums")]
    ignores_checksums: bool,
    /// Show only the length of a segment
    #[arg(short = 'q')]
    is_quick: bool,
    /// Show absolute sequence numbers, not relative to the connection's first
    #[arg(short = 'S', long = "absolute-tcp-sequence-numbers")]
    is_absolute: bool,
    /// Show the bytes of each printed packet as text, from its IP header on
    #[arg(short = 'A', action = ArgAction::Count)]
    text: u8,
    /// Show them in hex; -xx: from the link header on
    #[arg(short = 'x', action = ArgAction::Count)]
    hex: u8,
    /// Show them in hex and as text; -XX: from the link header on
    #[arg(short = 'X', action = ArgAction::Count)]
    hex_and_text: u8,
    /// Write each line at once, for a program that reads along in a pipe
    #[arg(short = 'l')]
    is_line_buffered: bool,
}

impl LineArgs {
    /// What they ask for.
    #[must_use]
    pub fn style(&self) -> Style {
        Style {
            times: match self.times {
                0 => Times::OfDay,
                1 => Times::Hidden,
                2 => Times::SinceEpoch,
                3 => Times::SinceLineBefore,
                4 => Times::WithDate,
                5.. => Times::SinceFirstLine,
            },
            has_number: self.has_number,
            has_link_header: self.has_link_header,
            is_verbose: self.verbose > 0,
            ignores_checksums: self.ignores_checksums,
            is_quick: self.is_quick,
            is_absolute: self.is_absolute,
            bytes: self.bytes(),
        }
    }

    /// Whether lines are to be written as they come.
    #[must_use]
    pub const fn are_written_at_once(&self) -> bool {
        self.is_line_buffered
    }

    /// Of several ways the one that tcpdump takes.
    fn bytes(&self) -> Option<Bytes> {
        let ways = [
            (self.hex_and_text, Looks::HexAndText),
            (self.hex, Looks::Hex),
            (self.text, Looks::Text),
        ];
        let wanted = ways.into_iter().find(|(times, _)| *times > 0);
        wanted.map(|(times, looks)| Bytes {
            looks,
            with_link_header: times > 1,
        })
    }
}
