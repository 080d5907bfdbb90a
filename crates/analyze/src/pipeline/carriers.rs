//! Packets that several interfaces see.

use std::collections::HashMap;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::Interface;

/// At most so many ways of connections over several interfaces are known;
/// beyond, all are found out anew.
const MAX_CARRIERS: usize = 1 << 21;

/// Which interface carries a direction of a connection, where several of one
/// network namespace see its packets (`-i any`, a bridge and its ports): the
/// one that saw the first. The others have copies.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    /// The interfaces of each namespace that is known.
    interfaces: HashMap<u32, Vec<u32>>,
    /// Whether any namespace has several.
    is_needed: bool,
    first: HashMap<(u32, Endpoint, Endpoint), u32>,
}

impl Carriers {
    pub(super) fn interface(&mut self, interface: &Interface) {
        let Some(netns) = interface.netns else { return };
        let known = self.interfaces.entry(netns).or_default();
        if known.len() < 2 && !known.contains(&interface.id) {
            known.push(interface.id);
        }
        self.is_needed |= known.len() > 1;
    }

    pub(super) fn is_copy(
        &mut self,
        scope: u32,
        src: Endpoint,
        dst: Endpoint,
        interface: u32,
    ) -> bool {
        if !self.is_needed || scope == 0 {
            return false;
        }
        if self.first.len() >= MAX_CARRIERS {
            self.first.clear();
        }
        *self.first.entry((scope, src, dst)).or_insert(interface) != interface
    }

    pub(super) fn forget(&mut self, scope: u32, a: Endpoint, b: Endpoint) {
        if self.is_needed {
            self.first.remove(&(scope, a, b));
            self.first.remove(&(scope, b, a));
        }
    }
}
