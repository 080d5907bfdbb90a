//! What is left of a line that is read in the one form in which this version
//! writes it: [`super::packet`] and [`super::event`] say what stands in it.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, Error};

use crate::flow::Endpoint;

/// What is left of a line.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    /// Passes over `text`; without it nothing is passed over.
    pub(super) fn text(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    /// The rest of a string, after the opening quote. Escapes are left in it;
    /// none of what is read here can hold one.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'"', self.0)?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..)?;
        Some(string)
    }

    fn digits(&mut self) -> Option<u64> {
        let (mut number, mut rest) = (0_u64, self.0);
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            number = number.checked_mul(10)?.checked_add((digit - b'0').into())?;
            rest = after;
        }
        // JSON has no leading zeros.
        let is_whole = match self.0 {
            [b'0', ..] => self.0.len() - rest.len() == 1,
            [b'1'..=b'9', ..] => true,
            _ => false,
        };
        is_whole.then(|| self.0 = rest)?;
        Some(number)
    }

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
        let text = self.string()?;
        let addr = match ipv4(text) {
            Some(addr) => addr.into(),
            None => str::from_utf8(text).ok()?.parse().ok()?,
        };
        self.text(",\"port\":")?;
        let port = self.number()?;
        self.text("}")?;
        Some(Endpoint { addr, port })
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

/// An IPv4 address; several times faster than `FromStr`.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = Rest(text);
    let mut octets = [rest.number()?, 0, 0, 0];
    for octet in octets.iter_mut().skip(1) {
        rest.text(".")?;
        *octet = rest.number()?;
    }
    rest.is_over()?;
    Some(octets.into())
}
