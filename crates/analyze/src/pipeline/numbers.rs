//! The numbers of connections among all: shards number their own.

use foldhash::HashMap;

use crate::app::Request;
use crate::tcp::{Connection, ConnectionId};

/// The number of each connection that was begun and not finished.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    known: HashMap<(usize, ConnectionId), ConnectionId>,
    begun: u64,
}

impl Numbers {
    /// The next connection began, in the order of first packets.
    pub(super) fn begin(&mut self, shard: usize, own: ConnectionId) {
        self.known.insert((shard, own), ConnectionId(self.begun));
        self.begun += 1;
    }

    /// The number of a shard's connection among all.
    pub(super) fn of(&self, shard: usize, own: ConnectionId) -> ConnectionId {
        self.known.get(&(shard, own)).copied().unwrap_or(own)
    }

    /// Gives a connection of a shard, and requests on it, its number among all.
    pub(super) fn number(
        &mut self,
        shard: usize,
        connection: &mut Connection,
        requests: &mut [Request],
        goes_on: bool,
    ) {
        let id = self.of(shard, connection.id);
        if !goes_on {
            self.known.remove(&(shard, connection.id));
        }
        connection.id = id;
        for request in requests {
            request.connection = id;
        }
    }
}
