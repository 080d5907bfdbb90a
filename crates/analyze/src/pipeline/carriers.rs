//! Packets that several interfaces see.

use foldhash::HashMap;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::Interface;

/// The network namespaces, as far as copies are concerned.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// The first interfaces of each namespace that is known.
    interfaces: HashMap<u32, Vec<u32>>,
    have_several: bool,
}

impl Namespaces {
    pub(super) fn interface(&mut self, interface: &Interface) {
        let Some(netns) = interface.netns else { return };
        let known = self.interfaces.entry(netns).or_default();
        if known.len() < 2 && !known.contains(&interface.id) {
            known.push(interface.id);
        }
        self.have_several |= known.len() > 1;
    }

    /// Whether any has several interfaces.
    pub(super) const fn have_several(&self) -> bool {
        self.have_several
    }
}

/// Which interface carries a direction of a connection, where several of one
/// network namespace see its packets (`-i any`, a bridge and its ports): the
/// one that saw the first. The others have copies.
#[derive(Debug)]
pub(super) struct Carriers {
    /// Of so many directions at most it is known; beyond, of all it is found out anew.
    most: usize,
    first: HashMap<(u32, Endpoint, Endpoint), u32>,
}

impl Carriers {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            first: HashMap::default(),
        }
    }

    pub(super) fn is_copy(
        &mut self,
        scope: u32,
        src: Endpoint,
        dst: Endpoint,
        interface: u32,
    ) -> bool {
        if scope == 0 {
            return false;
        }
        if self.first.len() >= self.most {
            self.first.clear();
        }
        *self.first.entry((scope, src, dst)).or_insert(interface) != interface
    }

    pub(super) fn forget(&mut self, scope: u32, a: Endpoint, b: Endpoint) {
        if !self.first.is_empty() {
            self.first.remove(&(scope, a, b));
            self.first.remove(&(scope, b, a));
        }
    }
}
