//! The sockets that are open, as far as events tell: what a rotated file says at
//! its head, so that owners are known from it alone.

use std::collections::HashMap;

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, ProcessId, TcpState};

/// How many sockets are remembered. Beyond, the older half is forgotten: as a
/// rule they are closed, and the event that said so was lost.
const MAX_SOCKETS: usize = 1 << 18;

/// The sockets that are open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// By network namespace and cookie.
    open: HashMap<(u32, u64), Socket>,
    /// How many sockets were entered so far.
    entered: u64,
}

#[derive(Debug)]
struct Socket {
    number: u64,
    local: Endpoint,
    remote: Endpoint,
    state: Option<TcpState>,
    holders: Holders,
}

/// Who holds a socket.
#[derive(Debug)]
enum Holders {
    /// The process that asked for it or took it, or was given it.
    Owner(ProcessId),
    /// Those that held it when the recording began, or did something to it.
    Users(Vec<ProcessId>),
}

impl Sockets {
    /// Takes in what an event tells.
    pub(crate) fn observe(&mut self, event: &Event) {
        let Some(cookie) = event.cookie else { return };
        let key = (event.netns, cookie);
        // The kernel tells of a socket after its end, too: of the reset of an abort (__tcp_close,
        // tcp_disconnect), and of the accept of a connection that its client has reset.
        if event.kind == EventKind::Close || event.new_state == Some(TcpState::Close) {
            self.open.remove(&key);
            return;
        }
        let is_opening = names_owner(event.kind) || event.kind == EventKind::Scan;
        if !is_opening && !self.open.contains_key(&key) {
            return;
        }
        if self.open.len() >= MAX_SOCKETS && !self.open.contains_key(&key) {
            self.forget_older_half();
        }
        let number = self.entered;
        let socket = self.open.entry(key).or_insert_with(|| {
            self.entered += 1;
            Socket {
                number,
                local: event.local,
                remote: event.remote,
                state: None,
                holders: Holders::Users(Vec::new()),
            }
        });
        // At the connect the port is not chosen yet.
        if event.local.port != 0 {
            socket.local = event.local;
            socket.remote = event.remote;
        }
        socket.state = event.new_state.or(socket.state);
        let Some(process) = event.process else { return };
        match (event.kind, &mut socket.holders) {
            (EventKind::Scan, Holders::Users(users)) => users.push(process),
            (kind, _) if names_owner(kind) => {
                socket.holders = Holders::Owner(process);
            }
            (_, Holders::Users(users)) if users.is_empty() => users.push(process),
            _ => {}
        }
    }

    fn forget_older_half(&mut self) {
        let mut numbers: Vec<_> = self.open.values().map(|socket| socket.number).collect();
        let middle = numbers.len() / 2;
        let (_, median, _) = numbers.select_nth_unstable(middle);
        self.open.retain(|_, socket| socket.number >= *median);
    }

    /// The sockets that are open and whose holder is known, as found by a scan
    /// at `ts_ns`; in the order they were opened.
    pub(crate) fn scan(&self, ts_ns: i64) -> Vec<Event> {
        let mut sockets: Vec<_> = self.open.iter().collect();
        sockets.sort_unstable_by_key(|(_, socket)| socket.number);
        let events = sockets.into_iter().flat_map(|((netns, cookie), socket)| {
            let holders = match &socket.holders {
                Holders::Owner(owner) => std::slice::from_ref(owner),
                Holders::Users(users) => users.as_slice(),
            };
            holders.iter().map(|process| Event {
                kind: EventKind::Scan,
                ts_ns,
                cookie: Some(*cookie),
                netns: *netns,
                local: socket.local,
                remote: socket.remote,
                process: Some(*process),
                tid: None,
                old_state: None,
                new_state: socket.state,
                direction: None,
                tcp: None,
            })
        });
        events.collect()
    }
}

/// Whether the process of such an event owns the socket from then on.
fn names_owner(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Connect | EventKind::Accept | EventKind::Listen | EventKind::Handover
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, cookie: u64, local_port: u16, pid: u32) -> Event {
        let host = std::net::Ipv4Addr::LOCALHOST.into();
        Event {
            cookie: Some(cookie),
            process: (pid != 0).then_some(ProcessId { pid, start_ns: 1 }),
            ..Event::new(
                kind,
                1,
                1,
                Endpoint::new(host, local_port),
                Endpoint::new(host, 80),
            )
        }
    }

    /// Cookie, local port and pid of what a scan says.
    fn told(sockets: &Sockets) -> Vec<(u64, u16, u32)> {
        let scan = sockets.scan(9).into_iter();
        scan.map(|event| {
            assert_eq!((event.kind, event.ts_ns), (EventKind::Scan, 9));
            (
                event.cookie.unwrap(),
                event.local.port,
                event.process.unwrap().pid,
            )
        })
        .collect()
    }

    #[test]
    fn open_sockets_are_told_with_their_holders() {
        let mut sockets = Sockets::default();
        for event in [
            event(EventKind::Scan, 1, 80, 10),
            event(EventKind::Scan, 1, 80, 11),
            event(EventKind::Connect, 2, 0, 20),
            event(EventKind::State, 2, 5000, 0),
            event(EventKind::Connect, 3, 0, 30),
            // Nobody is known to hold it.
            event(EventKind::State, 4, 6000, 0),
            event(EventKind::Accept, 5, 80, 50),
            event(EventKind::State, 5, 80, 51),
            event(EventKind::Close, 3, 5001, 0),
            // Who held it when the recording began still does.
            event(EventKind::State, 1, 80, 12),
        ] {
            sockets.observe(&event);
        }
        assert_eq!(
            told(&sockets),
            [(1, 80, 10), (1, 80, 11), (2, 5000, 20), (5, 80, 50)]
        );
    }

    #[test]
    fn what_comes_after_the_end_opens_nothing() {
        let mut sockets = Sockets::default();
        let closed = |kind, cookie| Event {
            new_state: Some(TcpState::Close),
            ..event(kind, cookie, 80, 10)
        };
        for event in [
            event(EventKind::Connect, 1, 0, 10),
            closed(EventKind::Close, 1),
            closed(EventKind::Reset, 1),
            // It was never accepted before.
            closed(EventKind::Close, 2),
            closed(EventKind::Accept, 2),
            // A SYN-ACK sent again: there may never be a socket.
            event(EventKind::Retransmit, 3, 80, 10),
            // Bound, and no more.
            closed(EventKind::Scan, 4),
        ] {
            sockets.observe(&event);
        }
        assert!(sockets.open.is_empty(), "{:?}", sockets.open);
    }

    #[test]
    fn the_older_half_goes_when_there_are_too_many() {
        let mut sockets = Sockets::default();
        let newest = MAX_SOCKETS as u64;
        for cookie in 0..=newest {
            sockets.observe(&event(EventKind::Accept, cookie, 80, 1));
        }
        assert_eq!(sockets.open.len(), MAX_SOCKETS / 2 + 1);
        assert!(sockets.open.contains_key(&(1, newest)));
        assert!(!sockets.open.contains_key(&(1, 0)));
    }
}
