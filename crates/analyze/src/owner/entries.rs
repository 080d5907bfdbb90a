//! Entries that are found by a number, and numbers by a key: without a look-up
//! by hash for the one, and without memory of its own for each of the other.

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::slice;

use foldhash::HashMap;

/// So many bits of a number tell the entry's place, the others its age.
const PLACE_BITS: u32 = 22;

/// The number of an entry. A later entry has a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64);

impl Id {
    const fn new(age: u64, place: usize) -> Self {
        Self(age << PLACE_BITS | place as u64)
    }

    const fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

/// Entries by their numbers.
#[derive(Debug)]
pub(super) struct Entries<T> {
    /// The place that was left last is taken first: it is still at hand.
    places: Vec<Option<(Id, T)>>,
    free: Vec<usize>,
    next_age: u64,
}

impl<T> Entries<T> {
    /// As many fit, at most.
    pub(super) const MAX: usize = 1 << PLACE_BITS;

    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            next_age: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, entry: T) -> Id {
        let place = self.free.pop().unwrap_or(self.places.len());
        let id = Id::new(self.next_age, place);
        self.next_age += 1;
        match self.places.get_mut(place) {
            Some(free) => *free = Some((id, entry)),
            None => self.places.push(Some((id, entry))),
        }
        id
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (there, entry) = self.places.get(id.place())?.as_ref()?;
        (*there == id).then_some(entry)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (there, entry) = self.places.get_mut(id.place())?.as_mut()?;
        (*there == id).then_some(entry)
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let place = self.places.get_mut(id.place())?;
        let (_, entry) = place.take_if(|(there, _)| *there == id)?;
        self.free.push(id.place());
        Some(entry)
    }

    /// The numbers of all entries.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.places.iter().flatten().map(|(id, _)| *id)
    }
}

/// The numbers of entries that have the same key: one, as a rule.
#[derive(Debug)]
enum Same {
    One(Id),
    Several(Vec<Id>),
}

impl Same {
    fn ids(&self) -> &[Id] {
        match self {
            Self::One(id) => slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }

    fn push(&mut self, id: Id) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, id]),
            Self::Several(ids) => ids.push(id),
        }
    }

    /// Whether none is left.
    fn remove(&mut self, id: Id) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Several(ids) => {
                ids.retain(|other| *other != id);
                ids.is_empty()
            }
        }
    }
}

/// The numbers of entries by a key that they have, the oldest first.
#[derive(Debug)]
pub(super) struct Index<K>(HashMap<K, Same>);

impl<K: Hash + Eq> Index<K> {
    pub(super) fn new() -> Self {
        Self(HashMap::default())
    }

    pub(super) fn get(&self, key: &K) -> &[Id] {
        self.0.get(key).map_or(&[], Same::ids)
    }

    /// Adds a number, and gives all that the key has.
    pub(super) fn push(&mut self, key: K, id: Id) -> &[Id] {
        self.0
            .entry(key)
            .and_modify(|same| same.push(id))
            .or_insert(Same::One(id))
            .ids()
    }

    pub(super) fn remove(&mut self, key: K, id: Id) {
        if let Entry::Occupied(mut occupied) = self.0.entry(key)
            && occupied.get_mut().remove(id)
        {
            occupied.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_taken_again_is_not_found_by_the_old_number() {
        let mut entries = Entries::new();
        let first = entries.insert('a');
        let second = entries.insert('b');
        assert_eq!(entries.remove(first), Some('a'));
        let third = entries.insert('c');
        assert_eq!(third.place(), first.place());
        assert_eq!(
            [first, second, third].map(|id| entries.get(id).copied()),
            [None, Some('b'), Some('c')]
        );
        assert_eq!(entries.get_mut(first), None);
        assert_eq!(entries.remove(first), None);
        assert_eq!((entries.len(), entries.ids().count()), (2, 2));
        assert!(first < second && second < third);
    }

    #[test]
    fn numbers_of_a_key_are_in_the_order_of_age() {
        let ids = [0, 1, 2].map(|age| Id::new(age, 0));
        let mut index = Index::new();
        for (count, id) in (1..).zip(ids) {
            assert_eq!(index.push("key", id), &ids[..count]);
        }
        index.remove("key", ids[1]);
        index.remove("other", ids[0]);
        assert_eq!(index.get(&"key"), [ids[0], ids[2]]);
        index.remove("key", ids[0]);
        index.remove("key", ids[2]);
        assert_eq!(index.get(&"key"), []);
        index.push("key", ids[1]);
        index.remove("key", ids[0]);
        assert_eq!(index.get(&"key"), [ids[1]]);
        index.remove("key", ids[1]);
        assert!(index.0.is_empty());
    }
}
