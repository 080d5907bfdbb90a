//! Endpoints and flows: who talks to whom, and the name other tools give it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// One end of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address; IPv4-mapped IPv6 addresses stand here as IPv4.
    pub addr: IpAddr,
    /// The port; 0 where it is not known (a later fragment, a socket before its port is chosen).
    pub port: u16,
}

impl Endpoint {
    /// An endpoint, with an IPv4-mapped IPv6 address brought to IPv4: the
    /// packets of such a socket are IPv4, and both must give the same endpoint.
    #[must_use]
    pub fn new(addr: IpAddr, port: u16) -> Self {
        Self {
            addr: addr.to_canonical(),
            port,
        }
    }
}

/// An endpoint of IPv4 in one number: those are compared and hashed faster than
/// addresses, and are in the same order.
fn number(addr: Ipv4Addr, port: u16) -> u64 {
    u64::from(addr.to_bits()) << 16 | u64::from(port)
}

/// In one number, where the derived one would take an address octet by octet.
impl Hash for Endpoint {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.addr {
            IpAddr::V4(addr) => state.write_u64(number(addr, self.port)),
            IpAddr::V6(addr) => {
                state.write_u128(addr.to_bits());
                state.write_u16(self.port);
            }
        }
    }
}

impl Ord for Endpoint {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.addr, other.addr) {
            (IpAddr::V4(addr), IpAddr::V4(of_other)) => {
                number(addr, self.port).cmp(&number(of_other, other.port))
            }
            (addr, of_other) => (addr, self.port).cmp(&(of_other, other.port)),
        }
    }
}

impl PartialOrd for Endpoint {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(addr) => write!(f, "{addr}:{}", self.port),
            IpAddr::V6(addr) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}

/// A TCP 5-tuple without a direction: its two endpoints in ascending order, so
/// that both directions of a connection have the same flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// The smaller endpoint.
    pub low: Endpoint,
    /// The larger endpoint.
    pub high: Endpoint,
}

impl Flow {
    /// The flow between two endpoints, in either order.
    #[must_use]
    #[inline]
    pub fn between(a: Endpoint, b: Endpoint) -> Self {
        let (low, high) = if Self::begins_with(&a, &b) {
            (a, b)
        } else {
            (b, a)
        };
        Self { low, high }
    }

    /// Whether of the two ends of a flow `a` is the low one, and not `b`.
    #[must_use]
    #[inline(always)]
    pub fn begins_with(a: &Endpoint, b: &Endpoint) -> bool {
        a <= b
    }

    /// The Community ID, version 1, seed 0: the name that Zeek, Suricata and
    /// Wireshark give to the same flow (Community ID Flow Hashing, corelight).
    #[must_use]
    pub fn community_id(&self) -> String {
        const IPPROTO_TCP: u8 = 6;
        let mut bytes = Vec::with_capacity(2 + 2 * 16 + 2 + 2 * 2);
        bytes.extend([0, 0]);
        for end in [self.low, self.high] {
            match end.addr {
                IpAddr::V4(addr) => bytes.extend_from_slice(&addr.octets()),
                IpAddr::V6(addr) => bytes.extend_from_slice(&addr.octets()),
            }
        }
        bytes.extend([IPPROTO_TCP, 0]);
        bytes.extend(self.low.port.to_be_bytes());
        bytes.extend(self.high.port.to_be_bytes());
        let mut digest = [0; 20usize.div_ceil(3) * 4];
        // It has room for a digest of 20 bytes, and base64 is ASCII.
        let _ = STANDARD.encode_slice(Sha1::digest(&bytes), &mut digest);
        let mut id = String::with_capacity(2 + digest.len());
        id.push_str("1:");
        id.push_str(str::from_utf8(&digest).unwrap_or_default());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(addr: &str, port: u16) -> Endpoint {
        Endpoint::new(addr.parse().unwrap(), port)
    }

    /// The baseline of the Community ID specification for its tcp.pcap.
    #[test]
    fn community_id_is_the_published_one() {
        let a = endpoint("128.232.110.120", 34855);
        let b = endpoint("66.35.250.204", 80);
        let expected = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        assert_eq!(Flow::between(a, b).community_id(), expected);
        assert_eq!(Flow::between(b, a).community_id(), expected);
    }

    #[test]
    fn endpoints_are_in_the_order_of_addresses_and_ports() {
        let addresses = [
            "0.0.0.0",
            "9.0.0.255",
            "10.0.0.1",
            "255.1.1.1",
            "::",
            "::1",
            "fe80::1",
        ];
        let all = || {
            let ports = [0, 1, 65535];
            addresses
                .iter()
                .flat_map(move |addr| ports.map(|port| endpoint(addr, port)))
        };
        for (a, b) in all().flat_map(|a| all().map(move |b| (a, b))) {
            assert_eq!(
                a.cmp(&b),
                (a.addr, a.port).cmp(&(b.addr, b.port)),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(endpoint("::ffff:10.0.0.1", 80), endpoint("10.0.0.1", 80));
        assert_eq!(endpoint("::1", 80).to_string(), "[::1]:80");
    }
}
