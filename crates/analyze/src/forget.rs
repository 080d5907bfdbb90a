//! What tables do that are not to grow with the capture.

use std::collections::BTreeMap;
use std::mem;

/// Leaves the half of a table that is first in an order, and gives the rest.
pub(crate) fn half<K: Ord, V, O: Ord>(
    table: &mut BTreeMap<K, V>,
    order: impl Fn(&K, &V) -> O,
) -> Vec<(K, V)> {
    let mut all: Vec<_> = mem::take(table).into_iter().collect();
    all.sort_by_key(|(key, value)| order(key, value));
    let rest = all.split_off(all.len() / 2);
    table.extend(all);
    rest
}
