//! Ethernet types by name: the numbers of IANA's registry "IEEE 802 Numbers" that more than
//! one module needs.

/// Smaller numbers are lengths or have no meaning (IEEE 802.3 clause 3.2.6).
pub const FIRST: u16 = 0x0600;
/// IPv4.
pub const IPV4: u16 = 0x0800;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// A VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// The outer of two VLAN tags (IEEE 802.1ad).
pub const PROVIDER_VLAN: u16 = 0x88a8;
/// QinQ before IEEE 802.1ad.
pub const OLD_QINQ: u16 = 0x9100;
/// MPLS.
pub const MPLS: u16 = 0x8847;
/// A session of PPPoE.
pub const PPPOE_SESSION: u16 = 0x8864;
