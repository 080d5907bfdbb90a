//! Frames made by hand, for what this kernel cannot be brought to send: tagged
//! with a VLAN, or cut into fragments. They tell of a connection between two
//! hosts that do not exist, so that no kernel answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, SingleVlanHeader, TcpHeader,
    VlanId,
};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use crate::netns::Namespace;
use crate::web::{Connection, Request};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 2), 80);
/// What a fragment carries at most: as much as fits the usual MTU.
const FRAGMENT_BYTES: usize = 1480;

/// How the frames differ from the usual.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// They carry the tag of a VLAN.
    Tagged(u16),
    /// They are cut into fragments where they exceed the MTU.
    Fragmented,
}

impl Form {
    /// Length of the body that the server answers with.
    pub(crate) const fn body_bytes(self) -> usize {
        match self {
            Self::Tagged(_) => 1000,
            Self::Fragmented => 2000,
        }
    }
}

/// What the frames tell.
pub(crate) fn connection() -> Connection {
    Connection {
        server: SocketAddr::from(SERVER),
        client: Some(SocketAddr::from(CLIENT)),
        curl: 0,
        worker: None,
        requests: vec![Request {
            method: "GET".to_owned(),
            target: "/by-hand".to_owned(),
            status: 200,
        }],
    }
}

/// Sends all frames out of `eth0`.
pub(crate) fn send_connection(host: &Namespace, form: Form) -> usize {
    let frames = frames(form);
    host.enter(|| {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::empty(),
            None,
        )
        .expect("a packet socket");
        let addresses = getifaddrs().expect("the interfaces");
        let mut links = addresses
            .filter(|address| address.interface_name == "eth0")
            .filter_map(|address| address.address);
        let link = links
            .find_map(|address| address.as_link_addr().copied())
            .expect("eth0's link address");
        bind(socket.as_raw_fd(), &link).expect("binding to eth0");
        for frame in &frames {
            send(socket.as_raw_fd(), frame, MsgFlags::empty()).expect("sending a frame");
        }
    });
    frames.len()
}

/// A whole connection: opened, one request answered, closed by the client.
fn frames(form: Form) -> Vec<Vec<u8>> {
    const SYN: u8 = 1;
    const FIN: u8 = 2;
    let body_bytes = form.body_bytes();
    let request = b"GET /by-hand HTTP/1.1\r\nHost: by-hand\r\n\r\n".to_vec();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    let segments: [(bool, u8, Vec<u8>); 9] = [
        (true, SYN, Vec::new()),
        (false, SYN, Vec::new()),
        (true, 0, Vec::new()),
        (true, 0, request),
        (false, 0, answer),
        (true, 0, Vec::new()),
        (true, FIN, Vec::new()),
        (false, FIN, Vec::new()),
        (true, 0, Vec::new()),
    ];
    // The next sequence number of the client and of the server.
    let mut next = [1000_u32, 2000];
    let mut frames = Vec::new();
    for (number, (from_client, flag, payload)) in segments.into_iter().enumerate() {
        let (from, to) = if from_client {
            (CLIENT, SERVER)
        } else {
            (SERVER, CLIENT)
        };
        let [own, other] = if from_client { [0, 1] } else { [1, 0] };
        let mut tcp = TcpHeader::new(from.1, to.1, next[own], 65_000);
        tcp.syn = flag == SYN;
        tcp.fin = flag == FIN;
        tcp.ack = number > 0;
        tcp.acknowledgment_number = if number > 0 { next[other] } else { 0 };
        tcp.checksum = tcp
            .calc_checksum_ipv4_raw(from.0.octets(), to.0.octets(), &payload)
            .expect("a checksum");
        let length = u32::try_from(payload.len()).expect("the length of a segment");
        next[own] += length + u32::from(flag != 0);
        let mut segment = tcp.to_bytes().to_vec();
        segment.extend(payload);
        let identification = u16::try_from(number).expect("the number of a segment");
        frames.extend(packets(from.0, to.0, identification, &segment, form));
    }
    frames
}

/// The frames that carry a segment.
fn packets(
    from: Ipv4Addr,
    to: Ipv4Addr,
    identification: u16,
    segment: &[u8],
    form: Form,
) -> Vec<Vec<u8>> {
    let most = match form {
        Form::Tagged(_) => usize::MAX,
        Form::Fragmented => FRAGMENT_BYTES,
    };
    let parts = segment.chunks(most.min(segment.len()));
    let last = parts.len() - 1;
    parts
        .enumerate()
        .map(|(number, part)| {
            let length = u16::try_from(part.len()).expect("the length of a fragment");
            let mut ip = Ipv4Header::new(length, 64, IpNumber::TCP, from.octets(), to.octets())
                .expect("a header");
            ip.identification = identification;
            ip.dont_fragment = false;
            ip.more_fragments = number < last;
            let offset =
                u16::try_from(number * FRAGMENT_BYTES / 8).expect("the place of a fragment");
            ip.fragment_offset = IpFragOffset::try_new(offset).expect("the place of a fragment");
            ip.header_checksum = ip.calc_header_checksum();
            let mut ethernet = Ethernet2Header {
                source: [2, 0, 0, 0, 0, 1],
                destination: [2, 0, 0, 0, 0, 2],
                ether_type: EtherType::IPV4,
            };
            let mut frame = Vec::new();
            if let Form::Tagged(id) = form {
                let tag = SingleVlanHeader {
                    vlan_id: VlanId::try_new(id).expect("the number of a VLAN"),
                    ether_type: EtherType::IPV4,
                    ..Default::default()
                };
                ethernet.ether_type = EtherType::VLAN_TAGGED_FRAME;
                frame.extend(ethernet.to_bytes());
                frame.extend(tag.to_bytes());
            } else {
                frame.extend(ethernet.to_bytes());
            }
            frame.extend(ip.to_bytes());
            frame.extend(part);
            frame
        })
        .collect()
}
