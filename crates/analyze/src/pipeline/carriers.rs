//! Packets that several interfaces see.

use std::collections::BTreeMap;

use foldhash::HashMap;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Interface, MAX_INTERFACES};

use crate::tcp::Seen;

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
        if self.interfaces.len() >= MAX_INTERFACES {
            self.interfaces.retain(|known, _| *known == netns);
        }
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

/// After so long a silence of the carrier, what another interface sees is no copy. One
/// follows its packet within milliseconds, also behind a tunnel or a full queue.
const SILENCE_NS: i64 = 100_000_000;

/// Which interface carries a direction of a connection, where several of one
/// network namespace see its packets (`-i any`, a bridge and its ports): the
/// one that saw the first. The others have copies. When it falls silent, another one
/// takes over: a bond or a route goes another way after a failure, and an interface that
/// gets another name, or is there again, has another id.
#[derive(Debug)]
pub(super) struct Carriers {
    /// Of so many directions at most it is known.
    most: usize,
    all: HashMap<(u32, Endpoint, Endpoint), Carrier>,
    /// How many copies there were on each interface.
    copies: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Carrier {
    interface: u32,
    /// When it carried something last.
    last_ns: i64,
}

impl Carrier {
    const fn is_silent(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.last_ns) > SILENCE_NS
    }
}

impl Carriers {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            all: HashMap::default(),
            copies: BTreeMap::new(),
        }
    }

    /// Whether another interface of the namespace had carried a packet. Copies are counted.
    pub(super) fn is_copy(
        &mut self,
        Seen { scope, ts_ns, .. }: Seen,
        src: Endpoint,
        dst: Endpoint,
        interface: u32,
    ) -> bool {
        if scope == 0 {
            return false;
        }
        if self.all.len() >= self.most {
            self.make_room(ts_ns);
        }
        let new = Carrier {
            interface,
            last_ns: ts_ns,
        };
        let carrier = self.all.entry((scope, src, dst)).or_insert(new);
        if carrier.interface == interface {
            carrier.last_ns = carrier.last_ns.max(ts_ns);
        } else if carrier.is_silent(ts_ns) {
            *carrier = Carrier {
                interface,
                last_ns: ts_ns,
            };
        }
        let is_copy = carrier.interface != interface;
        if is_copy {
            *self.copies.entry(interface).or_default() += 1;
        }
        is_copy
    }

    /// How many copies there were, by interface.
    pub(super) const fn copies(&self) -> &BTreeMap<u32, u64> {
        &self.copies
    }

    /// Forgets those that are silent: of them nothing is known that matters. Where most are
    /// not, all are found out anew, for looking at each takes long.
    fn make_room(&mut self, now_ns: i64) {
        self.all.retain(|_, carrier| !carrier.is_silent(now_ns));
        if self.all.len() > self.most / 2 {
            self.all.clear();
        }
    }

    pub(super) fn forget(&mut self, scope: u32, a: Endpoint, b: Endpoint) {
        if !self.all.is_empty() {
            self.all.remove(&(scope, a, b));
            self.all.remove(&(scope, b, a));
        }
    }
}
