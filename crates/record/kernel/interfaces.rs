//! The interfaces of this network namespace, and those that are recorded.

use std::collections::BTreeMap;
use std::io;

use nix::ifaddrs::getifaddrs;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::Interface;

/// What the packets of an interface begin with. The two kinds of packet
/// programs of `bpf/packets.bpf.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// An Ethernet header.
    Ether,
    /// The IP header: tunnels.
    Ip,
}

/// An interface as the kernel knows it.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// The kernel's number of it.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// What its packets begin with; none when the recorder does not know such
    /// packets (the number is the kernel's ARPHRD_ type).
    pub(crate) layer: Result<Layer, u16>,
}

impl Device {
    /// Whether it is the loopback interface, where each packet passes twice.
    pub(crate) fn is_loopback(&self) -> bool {
        // linux/netdevice.h LOOPBACK_IFINDEX: the first of every namespace.
        self.index == 1
    }
}

/// All interfaces of this network namespace, by number.
pub(crate) fn devices() -> io::Result<Vec<Device>> {
    let mut found = BTreeMap::new();
    for address in getifaddrs()? {
        let Some(link) = address.address.as_ref().and_then(|a| a.as_link_addr()) else {
            continue;
        };
        let index = u32::try_from(link.ifindex()).unwrap_or(0);
        found.insert(
            index,
            Device {
                index,
                name: address.interface_name,
                layer: layer(link.hatype()),
            },
        );
    }
    Ok(found.into_values().collect())
}

/// By the kernel's linux/if_arp.h.
fn layer(hardware: u16) -> Result<Layer, u16> {
    match hardware {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(Layer::Ether),
        // ARPHRD_RAWIP 519 (modems) is younger than the libc crate's list.
        libc::ARPHRD_NONE
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_IPGRE
        | 519 => Ok(Layer::Ip),
        other => Err(other),
    }
}

/// The recorded interfaces, as packets find them.
///
/// All packets of a capture begin with the same layer, because libpcap refuses
/// a pcapng file that mixes them: where an interface with Ethernet headers is
/// among them, the packets of the others get one with zero addresses, as
/// loopback has.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    devices: Vec<Device>,
    netns: u32,
    /// The layer that all packets are brought to.
    layer: Layer,
}

impl Recorded {
    pub(crate) fn new(devices: Vec<Device>, netns: u32) -> Self {
        let mixed = devices
            .iter()
            .any(|device| device.layer == Ok(Layer::Ether));
        Self {
            devices,
            netns,
            layer: if mixed { Layer::Ether } else { Layer::Ip },
        }
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    pub(crate) fn netns(&self) -> u32 {
        self.netns
    }

    /// The capture's number of an interface, and whether its packets need an
    /// Ethernet header.
    pub(crate) fn find(&self, ifindex: u32) -> Option<(u32, bool)> {
        let id = self.devices.iter().position(|d| d.index == ifindex)?;
        let needs_ether =
            self.layer == Layer::Ether && self.devices.get(id)?.layer == Ok(Layer::Ip);
        Some((u32::try_from(id).ok()?, needs_ether))
    }

    /// The interfaces as records.
    pub(crate) fn records(&self) -> impl Iterator<Item = Interface> {
        (0..).zip(&self.devices).map(|(id, device)| Interface {
            id,
            name: Some(device.name.clone()),
            link_type: match self.layer {
                Layer::Ether => LinkType::ETHERNET,
                Layer::Ip => LinkType::RAW,
            },
            netns: Some(self.netns),
        })
    }
}
