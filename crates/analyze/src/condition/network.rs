//! Addresses that begin alike.

use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits; one, where these are all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    addr: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| ())?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| ())?;
        (bits <= most).then_some(Self { addr, bits }).ok_or(())
    }
}

impl Network {
    pub(super) fn contains(self, addr: IpAddr) -> bool {
        let differing = match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= self.bits
    }
}
