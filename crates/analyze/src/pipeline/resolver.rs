//! Whose connections and requests are, and what may be missing of them.

use serde::Serialize;

use crate::app::{self, Completion};
use crate::condition::Condition;
use crate::gaps::{Gaps, Incomplete};
use crate::owner::{self, Owners};
use crate::report::{Rows, row};
use crate::resolved::{Connection, EndFacts, OwnerId, Request};
use crate::span::Span;
use crate::summary::Summary;
use crate::tcp;
use crate::timing::Timing;

/// Takes connections and requests as they finish, finds out what is known of
/// them by then, and hands them on.
pub(super) struct Resolver<'a, R> {
    pub(super) owners: &'a Owners,
    pub(super) gaps: &'a Gaps,
    /// Which rows are wanted, if not all.
    pub(super) condition: Option<&'a Condition>,
    pub(super) summary: &'a mut Summary,
    pub(super) rows: &'a mut R,
    /// The latest time so far.
    pub(super) now_ns: i64,
}

impl<R: Rows> Resolver<'_, R> {
    pub(super) fn resolve(&self, tcp: tcp::Connection) -> Connection {
        let (orig, resp) = (&tcp.orig, &tcp.resp);
        Connection {
            orig: self.facts(&tcp, orig, resp),
            resp: self.facts(&tcp, resp, orig),
            netns: Some(tcp.scope).filter(|scope| *scope != 0),
            incomplete: self.gaps.of_connection(&tcp),
            tcp,
        }
    }

    fn facts(&self, connection: &tcp::Connection, end: &tcp::End, other: &tcp::End) -> EndFacts {
        if connection.scope == 0 {
            return EndFacts::default();
        }
        let end = owner::End {
            netns: connection.scope,
            local: end.endpoint,
            remote: other.endpoint,
            cookie: end.cookie,
            span: Span {
                first_ns: connection.first_ns,
                last_ns: connection.last_ns,
            },
        };
        let facts = self.owners.facts(&end);
        EndFacts {
            owner: facts.owner.map(|owner| OwnerId {
                process: owner.process.id,
                provenance: owner.provenance,
                is_elsewhere: facts.is_elsewhere,
            }),
            kernel: facts.kernel,
        }
    }

    fn wants(&self, row: &impl Serialize) -> bool {
        self.condition.is_none_or(|condition| condition.holds(row))
    }

    fn hand_on(&mut self, connection: &Connection, requests: Vec<app::Request>) {
        for app in requests {
            let request = self.resolve_request(connection, app);
            self.summary
                .findings
                .request(&request, connection, self.owners, self.now_ns);
            if self.wants(&row::Http {
                names: self.owners,
                request: &request,
            }) {
                self.rows.request(&request, self.owners);
                self.summary.request(&request);
            }
        }
    }

    pub(super) fn resolve_request(
        &self,
        connection: &Connection,
        mut app: app::Request,
    ) -> Request {
        let incomplete = self.incomplete(connection, &app);
        let tcp = &connection.tcp;
        let lacks_payload = tcp.has_unseen_payload(app.server) || tcp.is_multipath();
        app.may_be_answered |= lacks_payload;
        if let Some(asked) = &mut app.request
            && asked.completion == Completion::Missing
            && tcp.has_unseen_payload(app.client)
        {
            asked.completion = Completion::Unseen;
        }
        if let Some(response) = &mut app.response {
            if response.completion == Completion::AtClose && !tcp.is_closed_by(app.server) {
                response.completion = Completion::Missing;
            }
            let is_unseen = incomplete.lacks_packets() || lacks_payload;
            if response.completion == Completion::Missing && is_unseen {
                response.completion = Completion::Unseen;
            }
        }
        let is_known = !incomplete.lacks_packets() && !app.is_unheard(tcp);
        let timing = Timing::of(&app, connection).filter(|_| is_known);
        Request {
            app,
            ends: connection.ends(),
            incomplete,
            timing,
        }
    }

    fn incomplete(&self, connection: &Connection, request: &app::Request) -> Incomplete {
        let asked = request.request.as_ref();
        let answered = request.response.as_ref();
        self.gaps.of_part(
            &connection.tcp,
            connection.incomplete,
            asked.map(|message| message.arrived.first_ns),
            answered
                .filter(|message| message.completion == Completion::Seen)
                .map(|message| message.arrived.last_ns),
        )
    }

    /// Takes a finished connection, and the requests on it that were not given before.
    pub(super) fn connection(&mut self, connection: tcp::Connection, requests: Vec<app::Request>) {
        let connection = self.resolve(connection);
        self.hand_on(&connection, requests);
        self.summary
            .findings
            .connection(&connection, self.owners, self.now_ns);
        if self.wants(&row::Conn {
            names: self.owners,
            connection: &connection,
        }) {
            self.rows.connection(&connection, self.owners);
            self.summary.connection(&connection, self.owners);
        }
    }

    /// Takes requests of a connection that goes on.
    pub(super) fn requests(&mut self, so_far: tcp::Connection, requests: Vec<app::Request>) {
        let connection = self.resolve(so_far);
        self.hand_on(&connection, requests);
    }
}
