//! How tables that must not grow with the capture make room.

use std::collections::BTreeMap;
use std::mem;

/// Keeps the half of a table that comes first in an order (the larger half of an odd number),
/// and returns the rest.
pub(crate) fn half<K: Ord, V, O: Ord>(
    table: &mut BTreeMap<K, V>,
    order: impl Fn(&K, &V) -> O,
) -> Vec<(K, V)> {
    let mut all: Vec<_> = mem::take(table).into_iter().collect();
    all.sort_by_key(|(key, value)| order(key, value));
    let rest = all.split_off(all.len().div_ceil(2));
    table.extend(all);
    rest
}
