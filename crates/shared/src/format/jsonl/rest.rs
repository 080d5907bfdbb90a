//! What is left of a line that is read in the one form in which this version
//! writes it: [`super::packet`] and [`super::event`] say what stands in it.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, Error};

use crate::flow::Endpoint;

/// A number of so many digits fits into 64 bits.
const MAX_SURE_DIGITS: usize = 19;

const POWERS_OF_10: [u64; 9] = {
    let mut powers = [1; 9];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

/// What is left of a line.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    /// Passes over `text`; without it nothing is passed over.
    ///
    /// Inlined, for then the length is known and nothing is called to compare.
    #[inline(always)]
    pub(super) fn text(&mut self, text: &str) -> Option<()> {
        let (start, rest) = self.0.split_at_checked(text.len())?;
        (start == text.as_bytes()).then(|| self.0 = rest)
    }

    /// The rest of a string, after the opening quote. Escapes are left in it;
    /// none of what is read here can hold one.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        // Strings are short but for the one at the end of a packet's line.
        let end = self.0.iter().position(|byte| *byte == b'"')?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..)?;
        Some(string)
    }

    /// The digits that come next, as a number.
    #[inline]
    fn digits(&mut self) -> Option<u64> {
        let (number, len) = first_digits(self.0);
        if len == MAX_FIRST_DIGITS {
            return self.many_digits();
        }
        let (digits, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        is_number(digits).then_some(number)
    }

    /// As [`Self::digits`], of any count.
    fn many_digits(&mut self) -> Option<u64> {
        let start = self.0;
        let mut number = 0_u64;
        loop {
            let (digits, len) = first_digits(self.0);
            number = number.wrapping_mul(POWERS_OF_10[len]).wrapping_add(digits);
            self.0 = self.0.get(len..)?;
            if len < MAX_FIRST_DIGITS {
                break;
            }
        }
        let digits = start.get(..start.len() - self.0.len())?;
        if digits.len() > MAX_SURE_DIGITS {
            number = str::from_utf8(digits).ok()?.parse().ok()?;
        }
        is_number(digits).then_some(number)
    }

    #[inline]
    pub(super) fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        self.digits()?.try_into().ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let negative = self.text("-").is_some();
        let digits = self.digits()?;
        match negative {
            false => digits.try_into().ok(),
            true => 0_i64.checked_sub_unsigned(digits),
        }
    }

    /// The rest of an endpoint, after the opening quote of its address.
    pub(super) fn endpoint(&mut self) -> Option<Endpoint> {
        let addr = match self.ipv4() {
            Some(addr) => addr.into(),
            None => str::from_utf8(self.string()?).ok()?.parse().ok()?,
        };
        self.text(",\"port\":")?;
        let port = self.number()?;
        self.text("}")?;
        Some(Endpoint { addr, port })
    }

    /// The rest of a string that is an IPv4 address, after the opening quote;
    /// without one nothing is passed over. Several times faster than `FromStr`.
    fn ipv4(&mut self) -> Option<Ipv4Addr> {
        let mut rest = Rest(self.0);
        let mut octets = [rest.octet()?, 0, 0, 0];
        for octet in octets.iter_mut().skip(1) {
            rest.text(".")?;
            *octet = rest.octet()?;
        }
        rest.text("\"")?;
        *self = rest;
        Some(octets.into())
    }

    #[inline]
    fn octet(&mut self) -> Option<u8> {
        let digit = |digit: u8| u16::from(digit - b'0');
        let (octet, rest) = match self.0 {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                (digit(*a) * 100 + digit(*b) * 10 + digit(*c), rest)
            }
            [a @ b'1'..=b'9', b @ b'0'..=b'9', rest @ ..] => (digit(*a) * 10 + digit(*b), rest),
            [a @ b'0'..=b'9', rest @ ..] => (digit(*a), rest),
            _ => return None,
        };
        self.0 = rest;
        octet.try_into().ok()
    }

    /// The rest of a string that is one of the schema's words, after the opening quote.
    pub(super) fn word<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let word = str::from_utf8(self.string()?).ok()?;
        T::deserialize(BorrowedStrDeserializer::<Error>::new(word)).ok()
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Whether digits are a number: JSON has no leading zeros.
const fn is_number(digits: &[u8]) -> bool {
    !matches!(digits, [] | [b'0', _, ..])
}

/// So many digits are taken at once.
const MAX_FIRST_DIGITS: usize = 8;

/// The number that the digits at the start of a text are, at most eight of
/// them, and how many there are. All are taken at once: neighbours are joined to
/// numbers below 100, these to ones below 10,000, and these.
#[inline]
fn first_digits(text: &[u8]) -> (u64, usize) {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const HIGHEST_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    // What lifts a byte above '9' to the highest bit.
    const ABOVE_NINE: u64 = u64::from_ne_bytes([0x7f - b'9'; 8]);
    let mut bytes = [0; 8];
    match text.first_chunk() {
        Some(first) => bytes = *first,
        None => bytes[..text.len()].copy_from_slice(text),
    }
    // The first digit is in the lowest byte, so that the bytes up to the first
    // that is none are not touched by what is carried.
    let text = u64::from_le_bytes(bytes);
    let digits = text.wrapping_sub(ZEROS);
    let others = (text | digits | text.wrapping_add(ABOVE_NINE)) & HIGHEST_BITS;
    let len = others.trailing_zeros() / 8;
    // Zeros in front, and what is behind the digits falls off.
    let digits = digits.checked_shl(64 - 8 * len).unwrap_or(0);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    (number, len as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Numbers of all lengths, and what is none, with anything behind.
        #[test]
        fn numbers_are_those_of_the_standard_library(
            text in "[0-9]{0,21}",
            behind in "[^0-9][ -~]{0,8}|",
        ) {
            let line = text.clone() + &behind;
            let mut rest = Rest(line.as_bytes());
            let is_json = text == "0" || !text.starts_with('0');
            let expected = text.parse::<u64>().ok().filter(|_| is_json);
            prop_assert_eq!(rest.number(), expected);
            if expected.is_some() {
                prop_assert_eq!(rest.0, behind.as_bytes());
            }
        }

        #[test]
        fn addresses_are_those_of_the_standard_library(
            text in "([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9.]{0,15}",
        ) {
            let line = text.clone() + "\",\"port\":65535}";
            let expected = text.parse().ok().map(|addr| Endpoint { addr, port: 65535 });
            prop_assert_eq!(Rest(line.as_bytes()).endpoint(), expected);
        }
    }
}
