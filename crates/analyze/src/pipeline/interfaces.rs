//! The interfaces that packets refer to.

use std::collections::BTreeMap;

use tcprec_shared::record::{Interface, MAX_INTERFACES};

/// The interfaces by their ids.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// In the order in which they became known.
    all: Vec<Interface>,
    /// By its id, the place of an interface among them.
    places: BTreeMap<u32, usize>,
}

impl Interfaces {
    /// Takes the record of an interface: a new one, or another of the same id.
    pub(super) fn insert(&mut self, interface: &Interface) {
        let interface = interface.clone();
        let known = self.place(interface.id);
        if let Some(known) = known.and_then(|place| self.all.get_mut(place)) {
            *known = interface;
        } else if self.all.len() < MAX_INTERFACES {
            self.places.insert(interface.id, self.all.len());
            self.all.push(interface);
        }
    }

    /// An interface by its id.
    pub(super) fn find(&self, id: u32) -> Option<&Interface> {
        self.all.get(self.place(id)?)
    }

    /// Its id mostly is its place, for ids count from 0.
    fn place(&self, id: u32) -> Option<usize> {
        let place = id as usize;
        let is_there = |known: &Interface| known.id == id;
        if self.all.get(place).is_some_and(is_there) {
            return Some(place);
        }
        self.places.get(&id).copied()
    }

    /// All of them, by their ids.
    pub(super) fn take(&mut self) -> Vec<Interface> {
        let mut all = std::mem::take(self).all;
        all.sort_by_key(|interface| interface.id);
        all
    }
}
