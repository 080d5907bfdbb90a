//! Link types and their headers.

use serde::{Deserialize, Serialize};

/// The layer a packet begins with, by its number in the registry of
/// [link-layer header types](https://www.tcpdump.org/linktypes.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Ethernet; loopback on Linux too.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6, told by the version field.
    pub const RAW: Self = Self(101);
}
