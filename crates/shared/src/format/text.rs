//! Text that is written piece by piece, for the lines and comments that stand
//! beside each packet: several times faster than by way of `Display`. Names
//! come with what is before them, as they always stand.
//!
//! A line is some thirty pieces, each behind the last. All is inlined, so that
//! where the text ends stays in a register from piece to piece, and the lengths
//! of names are known where they are copied: that makes lines cheaper.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::flow::Endpoint;

/// As much room is made at once: nearly all lines, without the packet's bytes,
/// and all comments are shorter.
const ROOM_BYTES: usize = 512;

/// Text that is being written. There is room behind it, so that nobody has to
/// ask for each piece whether memory must be had for it; and small pieces of any
/// length are copied with what happens to follow them, as a fixed number of bytes.
pub(super) struct Text<'a> {
    /// What was there before, the text, and the room.
    out: &'a mut Vec<u8>,
    /// The end of the text.
    len: usize,
}

impl<'a> Text<'a> {
    /// Text behind what is in `out`; it stands there when this is dropped.
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let len = out.len();
        out.resize(len + ROOM_BYTES, 0);
        Self { out, len }
    }

    /// The length of all text, with what was there before.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Room for so many bytes, which are then part of the text.
    #[inline(always)]
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.len;
        self.len += bytes;
        if self.len > self.out.len() {
            grow(self.out, self.len);
        }
        &mut self.out[start..self.len]
    }

    #[inline(always)]
    pub(super) fn text(&mut self, text: &str) {
        self.room(text.len()).copy_from_slice(text.as_bytes());
    }

    /// The first `len` of these bytes.
    #[inline(always)]
    fn start_of<const MOST: usize>(&mut self, bytes: [u8; MOST], len: usize) {
        self.room(MOST).copy_from_slice(&bytes);
        self.len -= MOST - len;
    }

    #[inline(always)]
    pub(super) fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.text(name);
        self.text(itoa::Buffer::new().format(number));
    }

    #[inline(always)]
    pub(super) fn addr(&mut self, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) => self.ipv4(addr),
            IpAddr::V6(addr) => self.len = append(self.out, self.len, addr),
        }
    }

    #[inline(always)]
    fn ipv4(&mut self, addr: Ipv4Addr) {
        for octet in addr.octets() {
            let (digits, bytes) = OCTETS[usize::from(octet)];
            self.start_of(digits, bytes);
        }
        // Without the last point.
        self.len -= 1;
    }

    /// As `Display` shows it.
    pub(super) fn endpoint(&mut self, name: &str, endpoint: &Endpoint) {
        self.text(name);
        match endpoint.addr {
            IpAddr::V4(addr) => {
                self.ipv4(addr);
                self.number(":", endpoint.port);
            }
            IpAddr::V6(_) => {
                self.text("[");
                self.addr(endpoint.addr);
                self.number("]:", endpoint.port);
            }
        }
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl Drop for Text<'_> {
    #[inline]
    fn drop(&mut self) {
        self.out.truncate(self.len);
    }
}

// What is seldom called takes the text in parts: had a reference to it gone
// anywhere, where it ends would stand in memory.

/// Makes room behind a text of this length.
#[cold]
fn grow(out: &mut Vec<u8>, len: usize) {
    out.resize(len + ROOM_BYTES, 0);
}

/// Appends what `Display` shows to a text of this length; gives the new one.
#[cold]
fn append(out: &mut Vec<u8>, len: usize, shown: impl fmt::Display) -> usize {
    out.truncate(len);
    // Writing to memory does not fail.
    let _ = io::Write::write_fmt(out, format_args!("{shown}"));
    let len = out.len();
    grow(out, len);
    len
}

/// An octet of an address in decimal, with a point.
const OCTET_BYTES: usize = 4;

/// Each octet, and of how many bytes it is.
static OCTETS: [([u8; OCTET_BYTES], usize); 256] = {
    let mut octets = [([0; OCTET_BYTES], 0); 256];
    let mut octet = 0;
    while octet < octets.len() {
        let ones = b'0' + (octet % 10) as u8;
        let tens = b'0' + (octet / 10 % 10) as u8;
        let hundreds = b'0' + (octet / 100) as u8;
        octets[octet] = match octet {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        octet += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_display_shows_them() {
        let v4 = (0..=u8::MAX).map(|octet| Ipv4Addr::from([octet, 255 - octet, octet, 0]).into());
        let v6 = ["::1", "fe80::1:0:0:2"].map(|addr| addr.parse().unwrap());
        for addr in v4.chain(v6) {
            let (mut text, endpoint) = (Vec::new(), Endpoint { addr, port: 80 });
            Text::new(&mut text).endpoint(" ", &endpoint);
            assert_eq!(text, format!(" {endpoint}").as_bytes());
        }
    }

    #[test]
    fn numbers_are_as_display_shows_them() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power.wrapping_mul(9)]);
        for number in around
            .chain(0..20_000)
            .chain([u64::MAX, 123_456_789_012_345_678])
        {
            let (mut text, signed) = (Vec::new(), number.cast_signed());
            Text::new(&mut text).number("a", number);
            Text::new(&mut text).number(" b", signed);
            assert_eq!(text, format!("a{number} b{signed}").as_bytes());
        }
    }

    #[test]
    fn text_may_be_of_any_length() {
        let long = "a".repeat(ROOM_BYTES + 1);
        for pieces in [
            [&long, "b", "c"],
            ["a", &long[2..], "cd"],
            ["a", "b", &long],
        ] {
            let mut all = b"before".to_vec();
            let mut text = Text::new(&mut all);
            pieces.iter().for_each(|piece| text.text(piece));
            let len = text.len();
            drop(text);
            assert_eq!(all, format!("before{}", pieces.concat()).as_bytes());
            assert_eq!(all.len(), len);
        }
    }
}
