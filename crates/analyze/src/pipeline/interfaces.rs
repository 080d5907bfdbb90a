//! The interfaces that packets refer to, and what passed them.

use std::collections::BTreeMap;

use tcprec_shared::record::{Interface, MAX_INTERFACES};

use super::part::Traffic;
use crate::report::InterfaceSummary;

/// The interfaces by their ids.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// In the order in which they became known.
    all: Vec<InterfaceSummary>,
    /// By its id, the place of an interface among them.
    places: BTreeMap<u32, usize>,
}

impl Interfaces {
    /// Takes the record of an interface: a new one, or another of the same id.
    pub(super) fn insert(&mut self, interface: &Interface) {
        let interface = interface.clone();
        let known = self.place(interface.id);
        if let Some(known) = known.and_then(|place| self.all.get_mut(place)) {
            known.interface = interface;
        } else if self.all.len() < MAX_INTERFACES {
            self.places.insert(interface.id, self.all.len());
            self.all.push(InterfaceSummary {
                interface,
                packets: 0,
                wire_bytes: 0,
                copies: 0,
            });
        }
    }

    /// An interface by its id.
    pub(super) fn find(&self, id: u32) -> Option<&Interface> {
        Some(&self.all.get(self.place(id)?)?.interface)
    }

    /// Its id mostly is its place, for ids count from 0.
    fn place(&self, id: u32) -> Option<usize> {
        let place = id as usize;
        let is_there = |known: &InterfaceSummary| known.interface.id == id;
        if self.all.get(place).is_some_and(is_there) {
            return Some(place);
        }
        self.places.get(&id).copied()
    }

    /// Counts what passed an interface.
    pub(super) fn count(&mut self, id: u32, traffic: Traffic) {
        if let Some(on) = self.place(id).and_then(|place| self.all.get_mut(place)) {
            on.packets += traffic.packets;
            on.wire_bytes += traffic.wire_bytes;
        }
    }

    /// Counts a packet of an interface that another one had carried already.
    pub(super) fn count_copy(&mut self, id: u32) {
        if let Some(on) = self.place(id).and_then(|place| self.all.get_mut(place)) {
            on.copies += 1;
        }
    }

    /// All of them, by their ids.
    pub(super) fn into_summaries(mut self) -> Vec<InterfaceSummary> {
        self.all.sort_by_key(|known| known.interface.id);
        self.all
    }
}
