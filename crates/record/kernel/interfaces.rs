//! The interfaces of network namespaces, and those that are recorded.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use foldhash::{HashMap, HashSet};
use nix::net::if_::{if_nameindex, if_nametoindex};
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::Interface;

use super::namespace::Namespace;

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
    /// The kernel's number of it, within its network namespace.
    pub(crate) index: u32,
    /// That namespace's inode.
    pub(crate) netns: u32,
    /// Its name.
    pub(crate) name: String,
    /// What its packets begin with; none when the recorder does not know such
    /// packets (the number is the kernel's ARPHRD_ type).
    pub(crate) layer: Result<Layer, u16>,
}

impl Device {
    fn key(&self) -> (u32, u32) {
        (self.netns, self.index)
    }

    /// Whether both are the same interface, whatever its name is now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// Whether it is the loopback interface, where each packet passes twice.
    pub(crate) fn is_loopback(&self) -> bool {
        // linux/netdevice.h LOOPBACK_IFINDEX: the first of every namespace.
        self.index == 1
    }
}

/// All interfaces of a network namespace, by number.
pub(crate) fn devices(namespace: &Namespace) -> io::Result<Vec<Device>> {
    let netns = namespace.inode();
    namespace.run(move || devices_here(netns))?
}

/// The number of the interface that a name stands for, be it one that the interface has
/// beside its own (`altname` in ip-link(8)).
pub(crate) fn index_of(namespace: &Namespace, name: &str) -> io::Result<Option<u32>> {
    let name = name.to_owned();
    namespace.run(move || if_nametoindex(name.as_str()).ok())
}

fn devices_here(netns: u32) -> io::Result<Vec<Device>> {
    // Any socket names the namespace that is asked.
    let socket = UnixDatagram::unbound()?;
    let mut found = Vec::new();
    for interface in &if_nameindex()? {
        let name = interface.name();
        // One that has gone since is none.
        let Ok(hardware) = hardware(&socket, name) else {
            continue;
        };
        found.push(Device {
            index: interface.index(),
            netns,
            name: name.to_string_lossy().into_owned(),
            layer: layer(hardware),
        });
    }
    found.sort_unstable_by_key(|device| device.index);
    Ok(found)
}

/// The kernel's `ARPHRD_` type of an interface. getifaddrs tells it only of
/// those that have a hardware address.
fn hardware(socket: &UnixDatagram, name: &CStr) -> io::Result<u16> {
    // SAFETY: ifreq is plain data, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the socket is open, and SIOCGIFHWADDR reads and writes one ifreq.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is the member that SIOCGIFHWADDR has written.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// By the kernel's linux/if_arp.h.
fn layer(hardware: u16) -> Result<Layer, u16> {
    match hardware {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(Layer::Ether),
        // Not in the libc crate's list: ARPHRD_RAWIP 519 (modems), ARPHRD_IP6GRE 823.
        // PPP's own header is not there yet, or no more (ppp_start_xmit and
        // ppp_receive_nonmp_frame in the kernel's ppp_generic.c).
        libc::ARPHRD_NONE
        | libc::ARPHRD_PPP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_IPGRE
        | 519
        | 823 => Ok(Layer::Ip),
        other => Err(other),
    }
}

/// The interfaces that are to be recorded whenever they are there.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Their names; empty: all.
    names: Vec<String>,
    /// Those that were there at the last look, but for those that were left out.
    present: Vec<Device>,
    left_out: Vec<Device>,
}

/// What differs from the look before.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<Device>,
    pub(crate) come: Vec<Device>,
    /// Those that are still there with another name: as they were, and as they are.
    pub(crate) renamed: Vec<(Device, Device)>,
}

impl Watched {
    pub(crate) fn new(names: Vec<String>, present: Vec<Device>) -> Self {
        Self {
            names,
            present,
            left_out: Vec::new(),
        }
    }

    /// Those that were there at the last look and were not left out.
    pub(crate) fn present(&self) -> &[Device] {
        &self.present
    }

    /// Looks which came and which are gone. One that returns mostly has another
    /// number; where it has the same, it is among the `lost`.
    pub(crate) fn look(&mut self, mut devices: Vec<Device>, lost: &[Device]) -> Changes {
        devices.retain(|device| self.names.is_empty() || self.names.contains(&device.name));
        let lacks =
            |devices: &[Device], device: &Device| !devices.iter().any(|other| other.is(device));
        let (gone, still) = mem::take(&mut self.present)
            .into_iter()
            .partition(|device| lacks(&devices, device) || !lacks(lost, device));
        self.present = still;
        self.left_out.retain(|device| !lacks(&devices, device));
        let mut renamed = Vec::new();
        for present in &mut self.present {
            let now = devices.iter().find(|device| device.is(present));
            if let Some(now) = now.filter(|now| now.name != present.name) {
                renamed.push((mem::replace(present, now.clone()), now.clone()));
            }
        }
        let mut come = devices;
        come.retain(|device| device.layer.is_ok() && lacks(&self.present, device));
        self.present.extend(come.iter().cloned());
        Changes {
            gone,
            come,
            renamed,
        }
    }

    /// Leaves one out that came, until the next look. Whether it was not left out before.
    pub(crate) fn leave_out(&mut self, device: Device) -> bool {
        self.present.retain(|present| !present.is(&device));
        let is_new = !self.left_out.iter().any(|other| other.is(&device));
        if is_new {
            self.left_out.push(device);
        }
        is_new
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
    /// By the capture's number of them.
    devices: Vec<Device>,
    /// The capture's numbers, by the namespace and the kernel's number: each packet
    /// asks. Of several that had the same one after the other, the latest.
    ids: HashMap<(u32, u32), u32>,
    /// Those where programs of others stand in front of the recorder's.
    behind: HashSet<u32>,
    /// The layer that all packets are brought to.
    layer: Layer,
}

impl Recorded {
    pub(crate) fn new(devices: Vec<Device>) -> Self {
        let mixed = devices
            .iter()
            .any(|device| device.layer == Ok(Layer::Ether));
        let ids = devices.iter().map(Device::key).zip(0..).collect();
        Self {
            devices,
            ids,
            behind: HashSet::default(),
            layer: if mixed { Layer::Ether } else { Layer::Ip },
        }
    }

    /// Whether the packets of another interface can be brought to the layer of
    /// the others.
    pub(crate) fn takes(&self, device: &Device) -> bool {
        self.layer == Layer::Ether || device.layer == Ok(Layer::Ip)
    }

    /// Adds an interface that came later, and gives its record.
    pub(crate) fn add(&mut self, device: Device) -> Option<Interface> {
        let id = u32::try_from(self.devices.len()).ok()?;
        let interface = self.record(id, &device);
        self.ids.insert(device.key(), id);
        self.devices.push(device);
        Some(interface)
    }

    /// Programs of others stand in front at an interface: gives its record anew.
    pub(crate) fn fall_behind(&mut self, device: &Device) -> Option<Interface> {
        let id = *self.ids.get(&device.key())?;
        self.behind.insert(id);
        self.records().find(|interface| interface.id == id)
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The capture's number of an interface, and whether its packets need an
    /// Ethernet header.
    pub(crate) fn find(&self, netns: u32, ifindex: u32) -> Option<(u32, bool)> {
        let id = *self.ids.get(&(netns, ifindex))?;
        let device = self.devices.get(usize::try_from(id).ok()?)?;
        let needs_ether = self.layer == Layer::Ether && device.layer == Ok(Layer::Ip);
        Some((id, needs_ether))
    }

    /// The interfaces as records.
    pub(crate) fn records(&self) -> impl Iterator<Item = Interface> {
        let devices = (0..).zip(&self.devices);
        devices.map(|(id, device)| self.record(id, device))
    }

    fn record(&self, id: u32, device: &Device) -> Interface {
        Interface {
            id,
            name: Some(device.name.clone()),
            link_type: match self.layer {
                Layer::Ether => LinkType::ETHERNET,
                Layer::Ip => LinkType::RAW,
            },
            netns: Some(device.netns),
            behind: self.behind.contains(&id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, name: &str) -> Device {
        Device {
            index,
            netns: 1,
            name: name.to_owned(),
            layer: Ok(Layer::Ether),
        }
    }

    fn numbers(devices: &[Device]) -> Vec<u32> {
        devices.iter().map(|device| device.index).collect()
    }

    #[test]
    fn interfaces_come_and_go() {
        let mut watched = Watched::new(vec!["eth0".to_owned()], vec![device(2, "eth0")]);
        let mut look_again = |devices: &[Device], lost: &[Device]| {
            let Changes { gone, come, .. } = watched.look(devices.to_vec(), lost);
            (numbers(&gone), numbers(&come))
        };
        let mut look = |devices: &[Device]| look_again(devices, &[]);
        assert_eq!(look(&[device(2, "eth0")]), (vec![], vec![]));
        assert_eq!(look(&[device(3, "eth1")]), (vec![2], vec![]));
        assert_eq!(look(&[]), (vec![], vec![]));
        assert_eq!(look(&[device(4, "eth0")]), (vec![], vec![4]));
        // Between two looks.
        assert_eq!(look(&[device(5, "eth0")]), (vec![4], vec![5]));
        // And with the number that it had.
        let same = [device(5, "eth0")];
        assert_eq!(look_again(&same, &same), (vec![5], vec![5]));
        assert_eq!(look_again(&[], &same), (vec![5], vec![]));
    }

    #[test]
    fn packets_of_tunnels_begin_with_the_ip_header() {
        // ip6gre; ip6gretap has Ethernet headers inside.
        assert_eq!(layer(823), Ok(Layer::Ip));
        assert_eq!(layer(libc::ARPHRD_PPP), Ok(Layer::Ip));
        assert_eq!(layer(libc::ARPHRD_ETHER), Ok(Layer::Ether));
        assert_eq!(layer(libc::ARPHRD_IEEE80211), Err(801));
    }

    #[test]
    fn packets_are_of_the_latest_with_their_number() {
        let mut recorded = Recorded::new(vec![device(1, "lo"), device(2, "eth0")]);
        let tunnel = Device {
            layer: Ok(Layer::Ip),
            ..device(2, "tun0")
        };
        let interface = recorded.add(tunnel).unwrap();
        assert_eq!(recorded.records().last(), Some(interface));
        assert_eq!(recorded.find(1, 1), Some((0, false)));
        assert_eq!(recorded.find(1, 2), Some((2, true)));
        assert_eq!(recorded.find(2, 2), None);
    }

    #[test]
    fn one_that_gets_another_name_is_still_there() {
        let mut watched = Watched::new(Vec::new(), vec![device(2, "eth0")]);
        let devices = [device(2, "wan0"), device(3, "eth0")];
        let changes = watched.look(devices.to_vec(), &[]);
        assert!(changes.gone.is_empty());
        assert_eq!(numbers(&changes.come), [3]);
        let renamed = changes.renamed.iter();
        let renamed: Vec<_> = renamed.map(|(was, is)| (&*was.name, &*is.name)).collect();
        assert_eq!(renamed, [("eth0", "wan0")]);
        assert!(watched.look(devices.to_vec(), &[]).renamed.is_empty());
    }

    #[test]
    fn one_that_is_left_out_comes_again() {
        let mut watched = Watched::new(Vec::new(), Vec::new());
        let devices = [device(2, "eth0")];
        for is_new in [true, false] {
            let come = watched.look(devices.to_vec(), &[]).come;
            assert_eq!(numbers(&come), [2]);
            assert_eq!(watched.leave_out(devices[0].clone()), is_new);
            assert!(watched.present().is_empty());
        }
        assert!(watched.look(Vec::new(), &[]).gone.is_empty());
        watched.look(devices.to_vec(), &[]);
        assert!(watched.leave_out(devices[0].clone()));
    }

    #[test]
    fn one_that_fell_behind_stays_so() {
        let mut recorded = Recorded::new(vec![device(1, "lo"), device(2, "eth0")]);
        let told = recorded.fall_behind(&device(2, "eth0")).unwrap();
        assert!(told.behind && told.id == 1);
        let behind: Vec<_> = recorded.records().map(|it| it.behind).collect();
        assert_eq!(behind, [false, true]);
        assert_eq!(recorded.fall_behind(&device(3, "eth1")), None);
    }
}
