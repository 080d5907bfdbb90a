//! The sockets of the recorded host, as the kernel's events tell of them: one
//! entry for each incarnation of a tuple, and one for each listener.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMap, HashSet};
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{Event, EventKind, ProcessId, TcpState};

use super::entries::{Entries, Id, Index};
use super::holders::Holders;
use super::socket::{Socket, SocketKind};
use super::{End, KernelFacts};
use crate::span::Span;

/// At most so many sockets are known; beyond, the oldest eighth is forgotten though
/// some are open: no host comes near it, and a hostile file cannot fill the memory.
const MAX_SOCKETS: usize = 1 << 21;
const _: () = assert!(MAX_SOCKETS < Entries::<Socket>::MAX);

/// At most so many entries are known on one tuple, and so many listeners on
/// one port: each is looked at when an end is asked for.
const MAX_SAME: usize = 256;

/// How far an event without a socket may stand from the packet it belongs to:
/// the kernel tells of a reset before it leaves and after it arrived.
const STRAY_SLACK_NS: i64 = 100_000_000;

/// So far from a socket's life its packets may be, late ones: as long as the
/// kernel keeps a tuple from being used again (TCP_TIMEWAIT_LEN of net/tcp.h).
const MAX_APART_NS: i64 = 60_000_000_000;

/// And so far where they were seen in another namespace: what comes later may be of a
/// third one, whose sockets are not known.
const MAX_APART_ELSEWHERE_NS: i64 = 1_000_000_000;

/// The socket that an end is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) socket: Option<&'a Socket>,
    /// For packets of which time it is the same one.
    pub(super) span: Span,
}

/// All sockets that can still be asked for.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Entries<Socket>,
    /// The latest incarnation by namespace and cookie (before Linux 5.12
    /// cookies are unique within a namespace only).
    by_cookie: HashMap<(u32, u64), Id>,
    /// Incarnations and strays by their own and the other end, oldest first.
    by_tuple: Index<(Endpoint, Endpoint)>,
    listeners: Index<(u32, u16)>,
    /// Sockets that were asked to connect and have no port yet.
    without_port: HashSet<(u32, u64)>,
    /// The latest sockets that closed, in the order they did.
    closed: VecDeque<Id>,
    max_closed: usize,
}

impl Sockets {
    /// No sockets; so many will be remembered once they are closed.
    pub(super) fn new(max_closed: usize) -> Self {
        Self {
            sockets: Entries::new(),
            by_cookie: HashMap::default(),
            by_tuple: Index::new(),
            listeners: Index::new(),
            without_port: HashSet::default(),
            closed: VecDeque::new(),
            max_closed,
        }
    }

    pub(super) fn observe(&mut self, event: &Event) {
        let Some(id) = self.find_for(event).or_else(|| self.open(event)) else {
            return;
        };
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.observe(event);
        let has_port = socket.local.port != 0;
        if !has_port && event.local.port != 0 {
            self.bind(id, event.local, event.remote);
        }
        if event.kind == EventKind::Close {
            self.close(id, event.ts_ns);
        }
    }

    /// The socket that an event is of, if it is known already.
    fn find_for(&self, event: &Event) -> Option<Id> {
        let begins_again = matches!(event.kind, EventKind::Connect | EventKind::Listen);
        let fits = |socket: &Socket| {
            (socket.local.port == 0
                || event.local.port == 0
                || socket.is_between(event.local, event.remote))
                && !(begins_again && socket.closed_ns.is_some())
        };
        if let Some(cookie) = event.cookie {
            let id = *self.by_cookie.get(&(event.netns, cookie))?;
            return self.sockets.get(id).is_some_and(fits).then_some(id);
        }
        let same_end = self.by_tuple.get(&(event.local, event.remote));
        same_end.iter().rev().copied().find(|id| {
            self.sockets.get(*id).is_some_and(|socket| {
                socket.netns == event.netns
                    && socket.kind != SocketKind::Stray
                    && socket.closed_ns.is_none()
            })
        })
    }

    /// Enters a socket that was not known before.
    fn open(&mut self, event: &Event) -> Option<Id> {
        if event.local.port == 0 && event.cookie.is_none() {
            return None; // nothing could ever be joined to it
        }
        let acted_without_socket = event.cookie.is_none()
            && matches!(event.kind, EventKind::Retransmit | EventKind::Reset);
        let kind = if event.remote.port == 0 && event.kind != EventKind::Connect {
            SocketKind::Listener
        } else if acted_without_socket || event.old_state == Some(TcpState::NewSynRecv) {
            SocketKind::Stray
        } else {
            SocketKind::Connection
        };
        let before = self.end_earlier(event, kind);
        let id = self.sockets.insert(Socket {
            netns: event.netns,
            local: event.local,
            remote: event.remote,
            cookie: event.cookie,
            opened_ns: if kind == SocketKind::Stray || is_birth(event) {
                event.ts_ns
            } else {
                before
            },
            born_ns: is_birth(event).then_some(event.ts_ns),
            closed_ns: None,
            holders: Holders::default(),
            facts: KernelFacts::default(),
            resent_before: is_birth(event).then_some(0),
            kind,
        });
        if let Some(cookie) = event.cookie
            && kind != SocketKind::Stray
        {
            self.by_cookie.insert((event.netns, cookie), id);
            if event.local.port == 0 {
                self.without_port.insert((event.netns, cookie));
            }
        }
        let same = if kind == SocketKind::Listener {
            self.listeners.push((event.netns, event.local.port), id)
        } else if event.local.port != 0 {
            self.by_tuple.push((event.local, event.remote), id)
        } else {
            &[]
        };
        if let Some(oldest) = crowded_out(same) {
            self.forget(oldest);
        }
        if kind == SocketKind::Stray {
            self.close(id, event.ts_ns);
        }
        if self.sockets.len() > MAX_SOCKETS {
            self.forget_oldest(MAX_SOCKETS / 8);
        }
        Some(id)
    }

    /// Ends the incarnations that another one on the same tuple proves over,
    /// and says when the last of them ended.
    fn end_earlier(&mut self, event: &Event, kind: SocketKind) -> i64 {
        let mut last_ns = i64::MIN;
        if kind != SocketKind::Connection {
            return last_ns;
        }
        let same_end = self.by_tuple.get(&(event.local, event.remote)).to_vec();
        for id in same_end {
            let Some(socket) = self.sockets.get(id) else {
                continue;
            };
            if socket.netns != event.netns || socket.kind == SocketKind::Stray {
                continue;
            }
            if let Some(closed_ns) = socket.closed_ns {
                last_ns = last_ns.max(closed_ns);
            } else {
                self.close(id, event.ts_ns);
                last_ns = last_ns.max(event.ts_ns);
            }
        }
        last_ns
    }

    fn close(&mut self, id: Id, ts_ns: i64) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.closed_ns.is_none() {
            socket.closed_ns = Some(ts_ns);
            self.closed.push_back(id);
        }
        if let Some(cookie) = socket.cookie
            && socket.local.port == 0
        {
            self.without_port.remove(&(socket.netns, cookie));
        }
        if self.closed.len() > self.max_closed
            && let Some(oldest) = self.closed.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// Gives a socket the ends that were not known when it was opened.
    fn bind(&mut self, id: Id, local: Endpoint, remote: Endpoint) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.local = local;
        socket.remote = remote;
        if let Some(cookie) = socket.cookie {
            self.without_port.remove(&(socket.netns, cookie));
        }
        if let Some(oldest) = crowded_out(self.by_tuple.push((local, remote), id)) {
            self.forget(oldest);
        }
    }

    /// The socket of an event, by its cookie.
    pub(super) fn of(&self, event: &Event) -> Option<&Socket> {
        let id = self.by_cookie.get(&(event.netns, event.cookie?))?;
        self.sockets.get(*id)
    }

    /// Whether [`Self::learn_port`] could be of use.
    pub(super) fn await_ports(&self) -> bool {
        !self.without_port.is_empty()
    }

    /// Gives the socket of a cookie its ends, if it has no port yet, and says
    /// whether it did.
    pub(super) fn learn_port(
        &mut self,
        netns: u32,
        cookie: u64,
        local: Endpoint,
        remote: Endpoint,
    ) -> bool {
        if local.port != 0
            && self.without_port.contains(&(netns, cookie))
            && let Some(id) = self.by_cookie.get(&(netns, cookie)).copied()
        {
            self.bind(id, local, remote);
            return true;
        }
        false
    }

    /// The incarnation that an end is: by cookie, else the one on the same
    /// tuple that shares the most time with it, else the nearest in time; else that
    /// of the cookie on another tuple, for ends are translated on the way (NAT).
    ///
    /// Where no socket of the namespace is the end, and `is_local` does not say
    /// that one must be, one of another namespace stands for it (a container's,
    /// seen from its host's side of the veth pair): if there are such sockets in
    /// one namespace only. Not on loopback, which every namespace has its own of.
    pub(super) fn find(&self, end: &End, is_local: impl Fn() -> bool) -> Found<'_> {
        if let Some(socket) = self.of_cookie(end) {
            return Found {
                socket: Some(socket),
                span: Span::ALWAYS,
            };
        }
        let ids = self.by_tuple.get(&(end.local, end.remote));
        match self.nearest(ids, end, is_local) {
            Some(socket) => Found {
                socket: Some(socket),
                span: self.span_of_nearest(ids, end),
            },
            None => Found {
                socket: self.translated(end),
                span: if end.cookie.is_some() {
                    end.span
                } else {
                    self.span_of_nearest(ids, end)
                },
            },
        }
    }

    fn of_cookie(&self, end: &End) -> Option<&Socket> {
        self.with_cookie(end)
            .filter(|it| it.local.port == 0 || it.is_between(end.local, end.remote))
    }

    /// A socket that sent the packets at that time, whatever their ends are. A cookie
    /// goes along when a socket connects anew.
    fn translated(&self, end: &End) -> Option<&Socket> {
        self.with_cookie(end)
            .filter(|socket| socket.nearness(end.span).1 == 0)
    }

    fn with_cookie(&self, end: &End) -> Option<&Socket> {
        let id = *self.by_cookie.get(&(end.netns, end.cookie?))?;
        let socket = self.sockets.get(id);
        socket.filter(|socket| socket.kind == SocketKind::Connection)
    }

    fn nearest(&self, ids: &[Id], end: &End, is_local: impl Fn() -> bool) -> Option<&Socket> {
        let near = || {
            self.at(ids, end, &is_local)
                .filter(|socket| socket.kind == SocketKind::Connection)
                .map(|socket| (socket.nearness(end.span), socket))
                .filter(|((_, apart_ns), socket)| *apart_ns <= max_apart_ns(socket, end))
        };
        let ((_, apart_ns), nearest) = near().max_by_key(|((shared_ns, apart_ns), socket)| {
            let is_same_netns = socket.netns == end.netns;
            (is_same_netns, *shared_ns, Reverse(*apart_ns))
        })?;
        let is_rival = |((_, apart), socket): ((i64, i64), &Socket)| {
            socket.netns != nearest.netns && apart <= apart_ns
        };
        (nearest.netns == end.netns || !near().any(is_rival)).then_some(nearest)
    }

    /// For packets of which time [`Self::nearest`] gives the same.
    fn span_of_nearest(&self, ids: &[Id], end: &End) -> Span {
        let only = match *ids {
            [] => return Span::ALWAYS,
            [id] => self.sockets.get(id),
            _ => None,
        };
        let only = only.map(|socket| (socket, max_apart_ns(socket, end)));
        only.filter(|(socket, max_ns)| socket.nearness(end.span).1 <= *max_ns)
            .map_or(end.span, |(socket, max_ns)| Span {
                first_ns: socket.opened_ns.saturating_sub(max_ns),
                last_ns: (socket.closed_ns.unwrap_or(i64::MAX)).saturating_add(max_ns),
            })
    }

    /// What the kernel did at an end without a socket.
    pub(super) fn strays(
        &self,
        end: &End,
        is_local: impl Fn() -> bool,
    ) -> impl Iterator<Item = &KernelFacts> {
        let ids = self.by_tuple.get(&(end.local, end.remote));
        self.at(ids, end, is_local)
            .filter(|socket| {
                let (_, apart_ns) = socket.nearness(end.span);
                socket.kind == SocketKind::Stray && apart_ns <= STRAY_SLACK_NS
            })
            .map(|socket| &socket.facts)
    }

    /// Of the entries on the tuple of an end: those of its namespace, and where
    /// that does not have the address, of others.
    fn at(
        &self,
        ids: &[Id],
        end: &End,
        is_local: impl Fn() -> bool,
    ) -> impl Iterator<Item = &Socket> {
        ids.iter()
            .filter_map(|id| self.sockets.get(*id))
            .filter(move |socket| {
                socket.netns == end.netns || !is_local() && !socket.local.addr.is_loopback()
            })
    }

    /// Who listens where a connection to `local` would have come to: at the most
    /// specific address. None where several do, each with a socket of its own.
    pub(super) fn listener(&self, netns: u32, local: Endpoint, span: Span) -> Option<ProcessId> {
        let ids = self.listeners.get(&(netns, local.port));
        let matching = || {
            ids.iter()
                .filter_map(|id| self.sockets.get(*id))
                .filter(|socket| socket.nearness(span).1 == 0)
                .filter_map(|socket| Some((specificity(socket.local.addr, local.addr)?, socket)))
        };
        let most = matching().map(|(specificity, _)| specificity).max()?;
        let mut best = matching().filter(|(specificity, _)| *specificity == most);
        let claim = |socket: &Socket| socket.claim().map(|(process, _)| process);
        let (_, first) = best.next()?;
        best.all(|(_, other)| claim(other) == claim(first))
            .then(|| claim(first))?
    }

    fn forget_oldest(&mut self, count: usize) {
        let mut ids: Vec<Id> = self.sockets.ids().collect();
        ids.sort_unstable();
        for id in ids.into_iter().take(count) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(socket) = self.sockets.remove(id) else {
            return;
        };
        if let Some(cookie) = socket.cookie {
            let key = (socket.netns, cookie);
            if self.by_cookie.get(&key) == Some(&id) {
                self.by_cookie.remove(&key);
                self.without_port.remove(&key);
            }
        }
        if socket.kind == SocketKind::Listener {
            self.listeners.remove((socket.netns, socket.local.port), id);
        } else {
            self.by_tuple.remove((socket.local, socket.remote), id);
        }
    }
}

const fn max_apart_ns(socket: &Socket, end: &End) -> i64 {
    if socket.netns == end.netns {
        MAX_APART_NS
    } else {
        MAX_APART_ELSEWHERE_NS
    }
}

/// Which of the entries on one tuple, or of the listeners on one port, has to go.
fn crowded_out(same: &[Id]) -> Option<Id> {
    same.first().copied().filter(|_| same.len() > MAX_SAME)
}

/// Whether the socket came to be with this event. Of any other event it is
/// older: than the recording, or than the first event that was not lost.
fn is_birth(event: &Event) -> bool {
    matches!(event.kind, EventKind::Connect | EventKind::Listen)
        || matches!(
            event.old_state,
            Some(TcpState::Close | TcpState::SynRecv | TcpState::NewSynRecv)
        )
}

/// How closely a listener's address matches; none if not at all. A `::`
/// listener takes IPv4 too, unless it was told not to, which no event says.
fn specificity(listening: IpAddr, asked: IpAddr) -> Option<u8> {
    const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if listening == asked {
        Some(2)
    } else if listening == ANY_V6 {
        Some(u8::from(asked.is_ipv6()))
    } else if listening == ANY_V4 && asked.is_ipv4() {
        Some(1)
    } else {
        None
    }
}
