//! Text that is written piece by piece, for the lines and comments that stand
//! beside each packet: several times faster than by way of `Display`. Names
//! come with what is before them, as they always stand.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use crate::flow::Endpoint;

/// Nearly all lines, without the packet's bytes, and all comments are shorter.
const ROOM_BYTES: usize = 512;

/// Text that is being written. It is put together in room of its own, since
/// nobody has to ask there for each piece whether memory must be had for it.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    /// The end of the text, which is not in `out` yet.
    room: [u8; ROOM_BYTES],
    len: usize,
}

impl<'a> Text<'a> {
    /// Text behind what is in `out`; it stands there when this is dropped.
    #[inline]
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            room: [0; ROOM_BYTES],
            len: 0,
        }
    }

    /// The length of all text, with what was there before.
    pub(super) const fn len(&self) -> usize {
        self.out.len() + self.len
    }

    /// Where text is appended that is put together elsewhere.
    pub(super) fn whole(&mut self) -> &mut Vec<u8> {
        // Never longer than the room.
        self.out
            .extend_from_slice(self.room.get(..self.len).unwrap_or_default());
        self.len = 0;
        self.out
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.room.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.whole().extend_from_slice(bytes);
        }
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    #[inline]
    pub(super) fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.text(name);
        self.text(itoa::Buffer::new().format(number));
    }

    #[inline]
    pub(super) fn addr(&mut self, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) => self.ipv4(addr),
            // Writing to memory does not fail.
            IpAddr::V6(addr) => drop(write!(self, "{addr}")),
        }
    }

    #[inline]
    fn ipv4(&mut self, addr: Ipv4Addr) {
        let mut text = [0; 4 * OCTET_BYTES];
        let mut len = 0;
        for octet in addr.octets() {
            let (digits, bytes) = OCTETS[usize::from(octet)];
            text[len..len + OCTET_BYTES].copy_from_slice(&digits);
            len += bytes;
        }
        // Without the last point.
        self.bytes(&text[..len - 1]);
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
        self.whole();
    }
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
