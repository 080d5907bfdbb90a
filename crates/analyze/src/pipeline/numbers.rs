//! The numbers of connections among all: shards number their own.

use hashbrown::HashTable;

use super::shard::{FACTOR, SHARDS};
use crate::app::Request;
use crate::tcp::{Connection, ConnectionId};

/// The number of each connection that was begun and not finished.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    known: HashTable<(u64, ConnectionId)>,
    begun: u64,
}

impl Numbers {
    /// The next connection began, in the order of first packets.
    pub(super) fn begin(&mut self, shard: usize, own: ConnectionId) {
        let key = key(shard, own);
        let number = ConnectionId(self.begun);
        self.known
            .insert_unique(hash(key), (key, number), |(key, _)| hash(*key));
        self.begun += 1;
    }

    /// The number of a shard's connection among all.
    pub(super) fn of(&self, shard: usize, own: ConnectionId) -> ConnectionId {
        let key = key(shard, own);
        let known = self.known.find(hash(key), |known| known.0 == key);
        known.map_or(own, |(_, number)| *number)
    }

    /// Gives a connection of a shard, and requests on it, its number among all.
    pub(super) fn number(
        &mut self,
        shard: usize,
        connection: &mut Connection,
        requests: &mut [Request],
        goes_on: bool,
    ) {
        let key = key(shard, connection.id);
        let Ok(known) = self.known.find_entry(hash(key), |known| known.0 == key) else {
            return;
        };
        let (_, id) = *known.get();
        if !goes_on {
            known.remove();
        }
        set(id, connection, requests);
    }
}

/// Gives a connection, and requests on it, its number among all.
pub(super) fn set(id: ConnectionId, connection: &mut Connection, requests: &mut [Request]) {
    connection.id = id;
    for request in requests {
        request.connection = id;
    }
}

/// Most connections end in the order in which they began, so some that follow each
/// other are neighbours: they come into the cache together. Not more than these, or
/// those that last would be in the way of all that come behind them.
fn hash(key: u64) -> u64 {
    const NEIGHBOURS: u64 = 8;
    let place = (key / NEIGHBOURS).wrapping_mul(FACTOR);
    place.wrapping_mul(NEIGHBOURS) + key % NEIGHBOURS
}

fn key(shard: usize, own: ConnectionId) -> u64 {
    own.0 << SHARDS.ilog2() | shard as u64
}
