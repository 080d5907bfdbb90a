//! Which findings are one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Finding, FindingKind};
use crate::owner::Owners;

/// The same finding for more than so many clients is one finding, and so for servers and
/// for ports of a server: the trouble of what they have in common.
const MANY: usize = 10;

/// What makes findings one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: FindingKind,
    by_orig: Option<bool>,
    /// The name of the process, which may have been started many times.
    client: Option<String>,
    /// That of the one that acted instead of an owner.
    acting: Option<String>,
    is_foreign: bool,
    /// None if it is any of many, as in the next two.
    client_addr: Option<IpAddr>,
    server_addr: Option<IpAddr>,
    server_port: Option<u16>,
    route: Option<String>,
    /// Whether it is about payload, and not the handshake.
    has_byte: bool,
    error: Option<String>,
}

/// What the cases of one finding may differ in.
#[derive(Debug, Clone, Copy)]
enum Dimension {
    Ports,
    Clients,
    Servers,
}

impl Dimension {
    const ALL: [Self; 3] = [Self::Ports, Self::Clients, Self::Servers];
}

impl Key {
    /// The key of a finding by itself.
    pub(super) fn of(finding: &Finding, owners: &Owners) -> Self {
        let ends = finding.ends;
        // Who captured one direction only did so with all servers.
        let server = Some(ends.resp).filter(|_| finding.kind != FindingKind::OneSided);
        let comm = |id| owners.process(id).map(|process| process.comm.clone());
        Self {
            kind: finding.kind,
            by_orig: finding.by_orig,
            client: ends.orig_owner.and_then(|owner| comm(owner.process)),
            acting: finding.acting.and_then(comm),
            is_foreign: finding.is_foreign,
            client_addr: Some(ends.orig.addr),
            server_addr: server.map(|server| server.addr),
            server_port: server.map(|server| server.port),
            route: finding.route.clone(),
            has_byte: finding.at_byte.is_some(),
            error: finding.error.clone(),
        }
    }

    /// The key that it shares with those that differ in this alone; none if they are not
    /// one thing however many there are.
    fn widened(&self, dimension: Dimension) -> Option<Self> {
        use FindingKind::*;
        // These count the cases of one client and one server, or are about all of them.
        if matches!(self.kind, PortReuse | DelayedAck | OneSided | ServerErrors) {
            return None;
        }
        let mut wide = self.clone();
        match dimension {
            Dimension::Ports if !matches!(self.kind, Refused | Unanswered) => return None,
            Dimension::Ports => wide.server_port = None,
            Dimension::Clients => wide.client_addr = None,
            Dimension::Servers => wide.server_addr = None,
        }
        (wide != *self).then_some(wide)
    }

    /// Those that are wider in one dimension.
    fn wider(&self) -> impl Iterator<Item = Self> {
        let all = Dimension::ALL.into_iter();
        all.filter_map(|dimension| self.widened(dimension))
    }

    /// Itself, and those that are wider in any of the dimensions.
    fn all_wider(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        for dimension in Dimension::ALL {
            let wider: Vec<_> = all.iter().filter_map(|it| it.widened(dimension)).collect();
            all.extend(wider);
        }
        all
    }

    /// Marks the finding of this key as one of many.
    pub(super) fn mark(&self, finding: &mut Finding) {
        let has_server = self.kind != FindingKind::OneSided;
        finding.of_many_ports = has_server && self.server_port.is_none();
        finding.of_many_clients = self.client_addr.is_none();
        finding.of_many_servers = has_server && self.server_addr.is_none();
    }
}

/// The keys of findings, by the wider ones that they share.
#[derive(Debug, Default)]
pub(super) struct SharedKeys(BTreeMap<Key, Vec<Key>>);

impl SharedKeys {
    /// The key under which something is kept beside `found`, and the keys of findings that
    /// are one with it from now on.
    pub(super) fn widen(
        &mut self,
        mut key: Key,
        found: &BTreeMap<Key, Finding>,
    ) -> (Key, Vec<Key>) {
        let mut joined = Vec::new();
        // Mostly it is known.
        if found.contains_key(&key) {
            return (key, joined);
        }
        loop {
            let mut wider = key.all_wider().into_iter();
            if let Some(known) = wider.find(|wide| found.contains_key(wide)) {
                return (known, joined);
            }
            let is_common = |wide: &Key| self.0.get(wide).is_some_and(|all| all.len() >= MANY);
            let common = key.wider().find(is_common);
            let Some(wide) = common else {
                return (key, joined);
            };
            let narrow = self.0.remove(&wide).unwrap_or_default();
            narrow.iter().for_each(|key| self.remove(key));
            joined.extend(narrow);
            key = wide;
        }
    }

    /// Notes a key that something new is kept under.
    pub(super) fn insert(&mut self, key: &Key) {
        for wide in key.wider() {
            self.0.entry(wide).or_default().push(key.clone());
        }
    }

    fn remove(&mut self, key: &Key) {
        for wide in key.wider() {
            if let Some(all) = self.0.get_mut(&wide) {
                all.retain(|other| other != key);
                if all.is_empty() {
                    self.0.remove(&wide);
                }
            }
        }
    }
}

impl<'a> FromIterator<&'a Key> for SharedKeys {
    fn from_iter<I: IntoIterator<Item = &'a Key>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.insert(key));
        all
    }
}
