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
    /// How many rounds there were.
    round: u64,
    /// Whether what was recorded are some processes' sockets only: others may listen.
    are_some_missing: bool,
}

/// What is known of an end, and where that was told.
#[derive(Debug, Clone, Copy)]
struct Known {
    is_server: bool,
    round: u64,
    place: Place,
}

impl Servers {
    /// Takes what the events of a round tell, each from its place on.
    pub(super) fn round(&mut self, parts: &[Part<'_>]) {
        self.round += 1;
        for (part, records) in (0..).zip(parts) {
            let others = (0..).map_while(|place| records.other(place));
            for (packet, record) in others {
                match record {
                    Record::Event(event) => self.event(event, Place { part, packet }),
                    Record::Capture(capture) => self.are_some_missing = capture.processes.is_some(),
                    _ => {}
                }
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
        let is_new = match self.ends.get(&key) {
            Some(known) => is_server && !known.is_server,
            None => self.ends.len() < MAX_ENDS,
        };
        if is_new {
            let known = Known {
                is_server,
                round: self.round,
                place,
            };
            self.ends.insert(key, known);
        }
    }

    /// What is known of two ends by this place of the round.
    pub(super) fn served(&self, scope: u32, ends: [Endpoint; 2], place: Place) -> Option<Served> {
        if self.ends.is_empty() {
            return None;
        }
        let known = |end| {
            let known = self.ends.get(&(scope, end))?;
            let is_told = known.round < self.round || known.place <= place;
            is_told.then_some(known.is_server)
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
