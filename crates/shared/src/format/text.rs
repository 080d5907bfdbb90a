//! Text that is written piece by piece, for the lines and comments that stand
//! beside each packet: several times faster than by way of `Display`. Names
//! come with what is before them, as they always stand.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::flow::Endpoint;

/// Text that is being written.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Text<'_> {
    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    #[inline]
    pub(super) fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.text(name);
        self.text(itoa::Buffer::new().format(number));
    }

    pub(super) fn addr(&mut self, addr: IpAddr) {
        match addr {
            IpAddr::V4(addr) => self.ipv4(addr),
            // Writing to memory does not fail.
            IpAddr::V6(addr) => drop(write!(self.0, "{addr}")),
        }
    }

    fn ipv4(&mut self, addr: Ipv4Addr) {
        let mut text = [0; 4 * OCTET_BYTES];
        let mut len = 0;
        for octet in addr.octets() {
            let (digits, bytes) = OCTETS[usize::from(octet)];
            text[len..len + OCTET_BYTES].copy_from_slice(&digits);
            len += bytes;
        }
        // Without the last point.
        self.0.extend_from_slice(&text[..len - 1]);
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
            Text(&mut text).endpoint(" ", &endpoint);
            assert_eq!(text, format!(" {endpoint}").as_bytes());
        }
    }
}
