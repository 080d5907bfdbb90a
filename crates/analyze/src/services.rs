//! Who talks to whom: connections, summed up by who asked for them and who was asked.
//!
//! What is kept does not grow with the connections: of many clients without a name the
//! addresses are not told apart, and of too many groups those with the fewest connections
//! are forgotten.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use tcprec_shared::flow::Endpoint;

use crate::forget;
use crate::latency::{Durations, Quantiles};
use crate::owner::Owners;
use crate::report::{Connection, OwnerId};
use crate::tcp::ConnState;

/// At most so many groups are kept; beyond, the half with the fewest connections is
/// forgotten.
const MAX_GROUPS: usize = 1024;

/// So many addresses are told apart of the clients of a service that have no name.
const MAX_ADDRESSES: usize = 64;

/// Who asks for connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Many, of which no process is known.
    Many,
    /// One of which no process is known.
    Address(IpAddr),
    /// Processes of this name.
    Process(String),
}

/// Whose connections are one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceGroup {
    /// Where the server is reached.
    pub endpoint: Endpoint,
    /// The name of its process, if known.
    pub server: Option<String>,
    /// Who asks.
    pub client: Client,
}

/// The connections of a client to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Whose.
    pub group: ServiceGroup,
    /// What there is to them.
    pub sums: ServiceSums,
    /// From the first SYN to the ACK that ends the handshake; none where none was seen.
    pub connect: Option<Quantiles>,
}

/// What is summed up of connections; of each end, where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceSums {
    /// How many there are.
    pub connections: u64,
    /// How many of them were never established: refused, or not answered.
    pub failed: u64,
    /// Payload sent by the client and by the server.
    pub bytes: [u64; 2],
    /// Packets that were sent again by the client and by the server.
    pub resent_packets: [u64; 2],
}

impl ServiceSums {
    fn of(connection: &Connection) -> Self {
        let tcp = &connection.tcp;
        Self {
            connections: 1,
            failed: u64::from(is_failed(connection)),
            bytes: [tcp.orig.bytes, tcp.resp.bytes],
            resent_packets: connection.resent_packets(),
        }
    }

    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.failed += other.failed;
        let both = |one: [u64; 2], other: [u64; 2]| {
            [
                one[0].saturating_add(other[0]),
                one[1].saturating_add(other[1]),
            ]
        };
        self.bytes = both(self.bytes, other.bytes);
        self.resent_packets = both(self.resent_packets, other.resent_packets);
    }
}

#[derive(Debug, Default)]
struct Sum {
    sums: ServiceSums,
    connect: Durations,
}

/// All connections so far.
#[derive(Debug, Default)]
pub(crate) struct Services {
    groups: BTreeMap<ServiceGroup, Sum>,
    forgotten: u64,
}

impl Services {
    /// Takes a finished connection.
    pub(crate) fn add(&mut self, connection: &Connection, owners: &Owners) {
        let (orig, resp) = (connection.orig.owner, connection.resp.owner);
        // What is recorded in two namespaces is not to count twice.
        if OwnerId::count_elsewhere(orig, resp) {
            return;
        }
        let tcp = &connection.tcp;
        let name = |owner: Option<OwnerId>| Some(owners.process(owner?.process)?.comm.clone());
        let address = || Client::Address(tcp.orig.endpoint.addr);
        let group = ServiceGroup {
            endpoint: tcp.resp.endpoint,
            server: name(resp),
            client: name(orig).map_or_else(address, Client::Process),
        };
        let sum = match self.groups.get_mut(&group) {
            Some(sum) => sum,
            None => self.new_group(group),
        };
        sum.sums.add(ServiceSums::of(connection));
        if let Some((syn_ns, established_ns)) = tcp.syn_ns.zip(tcp.established_ns)
            && !connection.incomplete.packets
        {
            sum.connect.add(established_ns.saturating_sub(syn_ns));
        }
    }

    fn new_group(&mut self, group: ServiceGroup) -> &mut Sum {
        let group = match group.client {
            Client::Address(_) => self.of_address(group),
            _ => group,
        };
        if self.groups.len() >= MAX_GROUPS {
            self.forget();
        }
        self.groups.entry(group).or_default()
    }

    /// The group of a client by a new address. Where there are many these are all that were
    /// seen, from now on.
    fn of_address(&mut self, group: ServiceGroup) -> ServiceGroup {
        let of = |client| ServiceGroup {
            client,
            ..group.clone()
        };
        let (many, behind) = (of(Client::Many), of(Client::Process(String::new())));
        if self.groups.contains_key(&many) {
            return many;
        }
        let addresses = self.groups.range(&many..&behind);
        let addresses: Vec<_> = addresses.map(|(group, _)| group.clone()).collect();
        if addresses.len() < MAX_ADDRESSES {
            return group;
        }
        let mut all = Sum::default();
        for sum in addresses.iter().filter_map(|it| self.groups.remove(it)) {
            all.sums.add(sum.sums);
            all.connect.join(sum.connect);
        }
        self.groups.insert(many.clone(), all);
        many
    }

    fn forget(&mut self) {
        let rest = forget::half(&mut self.groups, |_, sum| Reverse(sum.sums.connections));
        self.forgotten += rest.len() as u64;
    }

    /// How many groups were forgotten to bound the memory.
    pub(crate) const fn forgotten_groups(&self) -> u64 {
        self.forgotten
    }

    /// The group with the most connections first.
    pub(crate) fn finish(self) -> Vec<Service> {
        let all = self.groups.into_iter().map(|(group, sum)| Service {
            group,
            sums: sum.sums,
            connect: (sum.connect.count() > 0).then(|| sum.connect.quantiles()),
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|service| Reverse(service.sums.connections));
        all
    }
}

/// Whether a connection was asked for in vain, as far as was seen.
fn is_failed(connection: &Connection) -> bool {
    let tcp = &connection.tcp;
    match tcp.state {
        // Or it may have been lost, or not captured, what the server sent.
        ConnState::S0 => !connection.incomplete.lacks_packets() && tcp.orig.data_packets == 0,
        ConnState::Rej => tcp.history.contains('S') && !tcp.history.contains('h'),
        ConnState::Rstos0 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::sample;
    use tcprec_shared::record::Provenance;

    /// A connection from this address to this port.
    fn connection(addr: [u8; 4], port: u16) -> Connection {
        let mut connection = sample::connection();
        connection.incomplete = Default::default();
        connection.tcp.orig.endpoint = Endpoint::new(addr.into(), 40_000);
        connection.tcp.resp.endpoint = Endpoint::new([10, 0, 0, 2].into(), port);
        connection
    }

    fn services(connections: impl IntoIterator<Item = Connection>) -> Services {
        let mut services = Services::default();
        let owners = Owners::new(0);
        for connection in connections {
            services.add(&connection, &owners);
        }
        services
    }

    #[test]
    fn many_addresses_are_told_as_one_client() {
        let clients = |count: u8| {
            let connections = (0..count).map(|host| {
                let mut connection = connection([10, 0, 1, host], 80);
                connection.tcp.established_ns = Some(i64::from(host));
                connection.tcp.orig.bytes = 3;
                connection.tcp.resp.bytes = 5;
                connection
            });
            // A neighbour that has nothing to do with it.
            let other = connection([10, 0, 1, 0], 81);
            services(connections.chain([other])).finish()
        };
        let few = clients(64);
        assert_eq!(few.len(), 65);
        assert_eq!(few[0].group.client, Client::Address([10, 0, 1, 0].into()));
        let [many, other] = &clients(65)[..] else {
            panic!("{:?}", clients(65));
        };
        assert_eq!(many.group.client, Client::Many);
        assert_eq!((many.sums.connections, many.sums.bytes), (65, [195, 325]));
        assert_eq!(
            many.connect.map(|it| [it.p50_ns, it.max_ns]),
            Some([32, 64])
        );
        assert_eq!(other.sums.connections, 1);
    }

    #[test]
    fn what_was_seen_whole_tells_how_long_connecting_takes() {
        let told = |established_ns, packets, end| {
            let mut connection = connection([10, 0, 0, 1], 80);
            connection.tcp.established_ns = established_ns;
            (connection.incomplete.packets, connection.incomplete.end) = (packets, end);
            let connect = services([connection]).finish()[0].connect;
            connect.map(|it| it.max_ns)
        };
        assert_eq!(told(Some(7), false, false), Some(7));
        // There is nothing to come to it.
        assert_eq!(told(Some(7), false, true), Some(7));
        assert_eq!(told(Some(7), true, false), None);
        assert_eq!(told(None, false, false), None);
    }

    #[test]
    fn what_counts_in_another_namespace_counts_once() {
        let mut connection = connection([10, 0, 0, 1], 80);
        connection.resp.owner = connection.resp.owner.map(|owner| OwnerId {
            is_elsewhere: true,
            ..owner
        });
        assert_eq!(services([connection]).finish(), []);
    }

    #[test]
    fn what_may_never_have_been_accepted_counts_where_its_client_is() {
        let groups = |is_elsewhere| {
            let mut connection = connection([10, 0, 0, 1], 80);
            let owner = connection.resp.owner;
            connection.resp.owner = owner.map(|owner| OwnerId {
                provenance: Provenance::Guess,
                ..owner
            });
            connection.orig.owner = owner.map(|owner| OwnerId {
                is_elsewhere,
                ..owner
            });
            services([connection]).finish().len()
        };
        assert_eq!((groups(false), groups(true)), (1, 0));
    }

    #[test]
    fn groups_with_few_connections_are_forgotten() {
        // As where what answers is taken for what asks.
        let ports = (0..5_000).flat_map(|port| [port, 9_999]);
        let services = services(ports.map(|port| connection([10, 0, 0, 1], port)));
        assert!(services.groups.len() <= MAX_GROUPS);
        let forgotten = services.forgotten_groups();
        let all = services.finish();
        assert_eq!(all.len() as u64 + forgotten, 5_001);
        assert_eq!(all[0].group.endpoint.port, 9_999);
        assert_eq!(all[0].sums.connections, 5_000);
    }

    #[test]
    fn what_was_never_established_has_failed() {
        let failed = |state, history: &str, data_packets, lacks_packets| {
            let mut connection = connection([10, 0, 0, 1], 80);
            connection.tcp.state = state;
            connection.tcp.history = history.into();
            connection.tcp.orig.data_packets = data_packets;
            connection.incomplete.packets = lacks_packets;
            services([connection]).finish()[0].sums.failed == 1
        };
        assert!(failed(ConnState::S0, "S", 0, false));
        assert!(failed(ConnState::Rej, "Sr", 0, false));
        assert!(failed(ConnState::Rej, "Sr", 0, true));
        assert!(failed(ConnState::Rstos0, "SR", 0, false));
        // It may have been answered.
        assert!(!failed(ConnState::S0, "S", 0, true));
        assert!(!failed(ConnState::S0, "SAD", 1, false));
        // It was.
        assert!(!failed(ConnState::Rej, "ShR", 0, false));
        assert!(!failed(ConnState::Sf, "ShADadFf", 1, false));
        assert!(!failed(ConnState::Oth, "DadA", 1, false));
    }
}
