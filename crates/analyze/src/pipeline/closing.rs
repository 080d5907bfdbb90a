//! The end: all connections that are left are finished, and taken to the collector in the order
//! of their first packets.

use std::sync::{Mutex, PoisonError};

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use super::collector::Collector;
use super::numbers::{self, Numbers};
use super::shard::Shard;
use super::stage::{Alarm, Stage};
use crate::report::Rows;
use crate::tcp::{ConnectionId, Unfinished};

/// A thread finishes so many connections before it takes them to the collector: what is told
/// of them still is in the cache of its core then.
const CHUNK_CONNECTIONS: usize = 64;

/// Finishes what is left in shards, with the help of rayon's threads or without.
pub(super) fn finish(
    shards: Vec<Shard>,
    now_ns: i64,
    collector: &mut Collector,
    rows: &mut (impl Rows + Send),
    with_threads: bool,
) {
    let all = in_order(shards, &collector.numbers, with_threads);
    let input = Mutex::new((0, all.into_iter()));
    let collector = Stage::new((collector, rows));
    let alarm = Alarm::default();
    let next = || {
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, left) = &mut *input;
        let chunk: Vec<_> = left.take(CHUNK_CONNECTIONS).collect();
        let number = *count;
        *count += 1;
        (!chunk.is_empty()).then_some((number, chunk))
    };
    let work = || {
        let watch = alarm.watch();
        let mut finished = Vec::with_capacity(CHUNK_CONNECTIONS);
        while let Some((number, chunk)) = next() {
            finished.extend(chunk.into_iter().map(|(id, left)| {
                let (mut connection, mut requests) = left.finish();
                numbers::set(id, &mut connection, &mut requests);
                (connection, requests)
            }));
            collector.pass(number, &alarm, |(collector, rows)| {
                let mut resolver = collector.resolver(now_ns, *rows);
                for (connection, requests) in finished.drain(..) {
                    resolver.connection(connection, requests);
                }
            });
        }
        drop(watch);
    };
    if with_threads {
        rayon::broadcast(|_| work());
    } else {
        work();
    }
}

/// The connections of all shards with their numbers, in the order of these.
fn in_order(
    shards: Vec<Shard>,
    numbers: &Numbers,
    with_threads: bool,
) -> Vec<(ConnectionId, Unfinished)> {
    // They were not touched for long: their memory is waited for.
    let of_shard = |(number, shard): (_, Shard)| {
        let left = shard.tracker.finish();
        left.map(move |left| (numbers.of(number, left.id()), left))
    };
    if with_threads {
        let shards = shards.into_par_iter().enumerate();
        let mut all: Vec<_> = shards.flat_map_iter(of_shard).collect();
        all.par_sort_unstable_by_key(|(id, _)| *id);
        all
    } else {
        let mut all: Vec<_> = shards.into_iter().enumerate().flat_map(of_shard).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
