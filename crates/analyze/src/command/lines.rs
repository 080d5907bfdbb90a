//! What lines show, on a command line.

use clap::ArgAction;

use crate::print::{Bytes, Looks, Style, Times};

/// What the line of a packet shows; tcpdump's options.
#[derive(Debug, clap::Args)]
pub struct LineArgs {
    /// Show no times; -tt: in seconds since 1970, -ttt: since the line before, -tttt: with
    /// the date, -ttttt: since the first line
    #[arg(short = 't', action = ArgAction::Count)]
    times: u8,
    /// Show which packet it is
    #[arg(short = '#', long = "number")]
    has_number: bool,
    /// Show the link header: MAC addresses, VLAN tags and the length on the wire
    #[arg(short = 'e')]
    has_link_header: bool,
    /// Show of the IP header TOS, TTL, identification and flags, or what IPv6 has of these;
    /// whether the checksums of what was wholly captured are right; and all lines that HTTP
    /// begins with
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
    /// Look at no checksums: interfaces that compute them leave those wrong that are captured
    /// on the way out
    #[arg(short = 'K', long = "dont-verify-checksums")]
    ignores_checksums: bool,
    /// Show of a segment its length only
    #[arg(short = 'q')]
    is_quick: bool,
    /// Show sequence numbers as they are in the packet, not from the connection's first
    #[arg(short = 'S', long = "absolute-tcp-sequence-numbers")]
    is_absolute: bool,
    /// Show the bytes of each packet that is printed as text, from its IP header on
    #[arg(short = 'A', action = ArgAction::Count)]
    text: u8,
    /// Show them in hex; -xx: from the link header on
    #[arg(short = 'x', action = ArgAction::Count)]
    hex: u8,
    /// Show them in hex and as text; -XX: from the link header on
    #[arg(short = 'X', action = ArgAction::Count)]
    hex_and_text: u8,
    /// Let no line wait for others: for who reads along in a pipe
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
