//! Which end of a connection is the server, by who is known to be one, or its port.

use tcprec_shared::headers::{Segment, TcpFlags};

/// Ports that servers of widespread protocols listen on, ascending.
const SERVER_PORTS: [u16; 66] = [
    20, 21, 22, 23, 25, 53, 80, 81, 88, 102, 110, 135, 137, 139, 143, 179, 389, 443, 445, 502, 514,
    554, 563, 585, 587, 614, 631, 636, 853, 873, 989, 990, 992, 993, 995, 1080, 1433, 1434, 1883,
    2049, 2811, 3128, 3268, 3306, 3389, 5060, 5061, 5222, 5223, 5269, 5432, 5666, 5800, 5900, 6379,
    6443, 6666, 6667, 6668, 6669, 8000, 8080, 8443, 8883, 8888, 9200,
];

fn is_server_port(port: u16) -> bool {
    SERVER_PORTS.binary_search(&port).is_ok()
}

/// What is known of two ends, of which one asked the other for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Whether the first is the server.
    pub by_first: bool,
    /// Whether it, or the other, is known to listen; else a server's port tells more.
    pub is_sure: bool,
}

/// Whether the first packet of a connection that began unseen comes from the end that was
/// asked; `served` says what is known of its sender and who is to have it.
///
/// Else it is Zeek's rule with its `likely_server_ports` (`WantConnection` in TCP.cc): no
/// SYN, and from a server's port to one that is none, or to a higher one of them.
pub(super) fn is_from_server(first: &Segment<'_>, served: impl FnOnce() -> Option<Served>) -> bool {
    let (syn, ack) = (
        first.flags.has(TcpFlags::SYN),
        first.flags.has(TcpFlags::ACK),
    );
    let ports = [first.src.port, first.dst.port].map(is_server_port);
    if !syn
        && let Some(served) = served()
        && (served.is_sure || ports == [false, false])
    {
        return served.by_first;
    }
    (!syn || ack) && ports[0] && (!ports[1] || !syn && first.src.port < first.dst.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_can_be_searched() {
        assert!(SERVER_PORTS.is_sorted());
    }
}
