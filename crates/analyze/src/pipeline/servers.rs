//! Which ends of connections are servers, as the kernel's events told by then. A
//! connection from before the recording shows no SYN, and who sends first in it need not
//! be who asked for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::HashMap;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, Record};

use super::part::Part;
use super::shard::Place;
use crate::tcp::Served;

/// At most so many ends are remembered, the first: a hostile file cannot fill the memory.
const MAX_ENDS: usize = 1 << 18;

/// What is known of ends of sockets, by their namespace.
#[derive(Debug, Default)]
pub(super) struct Servers {
    ends: HashMap<(u32, Endpoint), Known>,
    /// Whether what was recorded are some processes' sockets only: others may listen.
    are_some_missing: bool,
}

/// What is known of an end, and from which place on.
#[derive(Debug, Default)]
struct Known {
    is_client: Option<Place>,
    is_server: Option<Place>,
}

impl Servers {
    /// Takes what the events of the next part tell, each from its place on.
    pub(super) fn part(&mut self, number: u64, part: &Part<'_>) {
        let others = (0..).map_while(|place| part.other(place));
        for (packet, record) in others {
            let place = Place {
                part: number,
                packet,
            };
            match record {
                Record::Event(event) => self.event(event, place),
                Record::Capture(capture) => self.are_some_missing = capture.processes.is_some(),
                _ => {}
            }
        }
    }

    fn event(&mut self, event: &Event, place: Place) {
        let is_server = match event.kind {
            EventKind::Listen | EventKind::Accept => true,
            EventKind::Scan => event.remote.port == 0,
            _ => return,
        };
        if !is_server && self.are_some_missing {
            return;
        }
        let key = (event.netns, event.local);
        if self.ends.len() >= MAX_ENDS && !self.ends.contains_key(&key) {
            return;
        }
        let known = self.ends.entry(key).or_default();
        let is_so = if is_server {
            &mut known.is_server
        } else {
            &mut known.is_client
        };
        is_so.get_or_insert(place);
    }

    /// What is known of two ends by this place.
    pub(super) fn served(&self, scope: u32, ends: [Endpoint; 2], place: Place) -> Option<Served> {
        if self.ends.is_empty() {
            return None;
        }
        let known = |end| {
            let known = self.ends.get(&(scope, end))?;
            let by_then = |since: Option<Place>| since.is_some_and(|since| since <= place);
            (by_then(known.is_server) || by_then(known.is_client)).then(|| by_then(known.is_server))
        };
        let listens = |end: Endpoint| {
            let any = |addr: IpAddr| Endpoint { addr, ..end };
            let v4 = any(Ipv4Addr::UNSPECIFIED.into());
            // That of IPv6 mostly takes both.
            let v6 = any(Ipv6Addr::UNSPECIFIED.into());
            [end, v4, v6].map(known).contains(&Some(true))
        };
        let is_sure = ends.iter().any(|end| listens(*end));
        let [first, second] = ends.map(|end| {
            if is_sure {
                listens(end)
            } else {
                // A socket where nobody listens was asked to connect.
                known(end).is_some()
            }
        });
        (first != second).then_some(Served {
            by_first: first == is_sure,
            is_sure,
        })
    }
}
