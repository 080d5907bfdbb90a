//! Zeek's history of a connection: letters for what its packets were.

use compact_str::{CompactString, format_compact};
use tcprec_shared::headers::TcpFlags;

use super::packet::Packet;
use super::rare::Rare;

/// A history longer than this grows no more.
const MAX_LETTERS: usize = 128;

/// The letters so far.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Mostly so few that they stand in it.
    letters: CompactString,
    flipped: bool,
}

impl History {
    #[cold]
    fn push(&mut self, letter: char, originator: bool) {
        if self.letters.len() < MAX_LETTERS {
            self.letters.push(if originator {
                letter
            } else {
                letter.to_ascii_lowercase()
            });
        }
    }

    /// The ends change places.
    pub(super) fn flip(&mut self) {
        self.flipped = !self.flipped;
        self.letters = swap_case(&self.letters);
    }

    /// Whether all that happened is a SYN-ACK from what was taken for the
    /// originator.
    pub(super) fn is_syn_ack_only(&self) -> bool {
        self.letters == "H"
    }

    /// Whether the originator sent a SYN and then a reset, and no other
    /// packets but some of the responder's that do not matter (`conn/main.zeek`).
    pub(super) fn is_syn_then_reset(&self) -> bool {
        self.letters.strip_prefix('S').is_some_and(|rest| {
            rest.split_once('R')
                .is_some_and(|(between, _)| !between.contains(['H', 'A', 'F', 'G', 'I', 'Q']))
        })
    }

    /// Zeek's text of it.
    pub(super) fn into_text(self) -> CompactString {
        if self.flipped {
            format_compact!("^{}", self.letters)
        } else {
            self.letters
        }
    }
}

fn swap_case(letters: &str) -> CompactString {
    letters
        .bytes()
        .map(|letter| char::from(letter ^ (letter & 0x40) >> 1))
        .collect()
}

/// What one end has in the history.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    seen: u8,
    last_syn: i64,
    last_fin: i64,
    last_rst: i64,
    unusual: Rare<Unusual>,
}

#[derive(Debug, Clone, Default)]
struct Unusual {
    retransmissions: Scaled,
    zero_windows: Scaled,
    gaps: Scaled,
}

impl Entries {
    /// Notes a packet at a sequence number counted from the end's SYN.
    ///
    /// SYN, FIN and RST get a letter once for each place; data and ACK once;
    /// contradicting flags once (`update_history` in Zeek's
    /// TCPSessionAdapter.cc).
    #[inline(always)]
    pub(super) fn packet(
        &mut self,
        to: &mut History,
        originator: bool,
        packet: &Packet<'_>,
        place: i64,
    ) {
        let [syn, fin, rst] =
            [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].map(|flag| packet.has(flag));
        match (syn, fin, rst) {
            (_, true, true) => self.once(to, originator, 'I'),
            (true, true, _) | (true, _, true) => self.once(to, originator, 'Q'),
            (true, ..) => {
                let letter = if packet.has(TcpFlags::ACK) { 'H' } else { 'S' };
                let again = self.is_new('S') || place != self.last_syn;
                self.last_syn = place;
                if again {
                    to.push(letter, originator);
                }
            }
            (_, true, _) => {
                let place = place + i64::from(packet.payload_bytes);
                let again = self.is_new('F') || place != self.last_fin;
                self.last_fin = place;
                if again {
                    to.push('F', originator);
                }
            }
            (.., true) => {
                let again = self.is_new('R') || place != self.last_rst;
                self.last_rst = place;
                if again {
                    to.push('R', originator);
                }
            }
            _ if packet.payload_bytes > 0 => self.once(to, originator, 'D'),
            _ if packet.has(TcpFlags::ACK) => self.once(to, originator, 'A'),
            _ => {}
        }
    }

    /// Notes payload that was sent again.
    pub(super) fn retransmission(&mut self, to: &mut History, originator: bool) {
        self.unusual
            .make()
            .retransmissions
            .count(to, originator, 'T');
    }

    /// Notes a window of zero.
    pub(super) fn zero_window(&mut self, to: &mut History, originator: bool) {
        self.unusual.make().zero_windows.count(to, originator, 'W');
    }

    /// Notes payload that is missing.
    pub(super) fn gap(&mut self, to: &mut History, originator: bool) {
        self.unusual.make().gaps.count(to, originator, 'G');
    }

    #[inline(always)]
    fn once(&mut self, to: &mut History, originator: bool, letter: char) {
        if self.is_new(letter) {
            to.push(letter, originator);
        }
    }

    #[inline(always)]
    fn is_new(&mut self, letter: char) -> bool {
        let bit = match letter {
            'S' => 1,
            'F' => 2,
            'R' => 4,
            'D' => 8,
            'A' => 16,
            'I' => 32,
            _ => 64,
        };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// Counts what gets a letter the first time, the 10th, the 100th and so on.
#[derive(Debug, Clone, Default)]
struct Scaled {
    count: u64,
}

impl Scaled {
    #[cold]
    fn count(&mut self, to: &mut History, originator: bool, letter: char) {
        self.count += 1;
        if 10u64.checked_pow(self.count.ilog10()) == Some(self.count) {
            to.push(letter, originator);
        }
    }
}
