//! Servers that answer many requests with an error of their own.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tcprec_shared::flow::Endpoint;

use super::{Finding, FindingKind};
use crate::forget;
use crate::latency::route;
use crate::report::{Outcome, Request};
use crate::resolved::OwnerId;
use crate::span::Span;

/// So many errors of a server are worth a word: anybody makes one.
const MANY_ERRORS: u64 = 5;

/// So often an error is worth a word: services mostly promise that 99.9 % of answers are
/// none.
const ANSWERS_PER_ERROR: u64 = 1000;

/// The answers of at most so many servers are counted; beyond, the half with the fewest
/// errors is forgotten.
const MAX_SERVERS: usize = 1 << 13;

/// The answers of servers, so far.
#[derive(Debug, Default)]
pub(super) struct ServerErrors(BTreeMap<Endpoint, Answers>);

#[derive(Debug, Default)]
struct Answers {
    all: u64,
    /// The first error, with the count of all.
    errors: Option<Finding>,
}

impl Answers {
    fn error_count(&self) -> u64 {
        self.errors.as_ref().map_or(0, |finding| finding.count)
    }
}

impl ServerErrors {
    /// Looks at a finished request. Says how many servers with errors it forgot.
    pub(super) fn take(&mut self, request: &Request) -> u64 {
        let [client, server] = request.owners();
        // What is recorded in two namespaces is not to count twice.
        let is_elsewhere = OwnerId::count_elsewhere(client, server);
        let outcome = request.outcome();
        let is_answered = matches!(outcome, Outcome::Status(_) | Outcome::GrpcFailed(..));
        if is_elsewhere || !is_answered {
            return 0;
        }
        let endpoint = request.app.server;
        let forgotten = match self.0.len() {
            MAX_SERVERS.. if !self.0.contains_key(&endpoint) => self.forget(),
            _ => 0,
        };
        let answers = self.0.entry(endpoint).or_default();
        answers.all += 1;
        if let Some(error) = error(request, outcome) {
            answers.errors = Some(match answers.errors.take() {
                Some(known) => joined(known, error),
                None => error,
            });
        }
        forgotten
    }

    fn forget(&mut self) -> u64 {
        let rest = forget::half(&mut self.0, |_, answers| {
            Reverse((answers.error_count(), answers.all))
        });
        let rest = rest.iter().filter(|(_, answers)| answers.errors.is_some());
        rest.count() as u64
    }

    /// What is worth a word.
    pub(super) fn finish(self) -> impl Iterator<Item = Finding> {
        self.0.into_values().filter_map(|answers| {
            let finding = answers.errors?;
            let is_often = finding.count.saturating_mul(ANSWERS_PER_ERROR) >= answers.all;
            (finding.count >= MANY_ERRORS && is_often).then_some(Finding {
                answers: Some(answers.all),
                ..finding
            })
        })
    }
}

/// A request that was answered with an error of the server.
fn error(request: &Request, outcome: Outcome) -> Option<Finding> {
    let arrived = request.app.response.as_ref()?.arrived;
    outcome.is_server_error().then(|| {
        let by_orig = Some(!request.client_is_orig());
        let span = Span::at(arrived.first_ns);
        let asked = request.app.request.as_ref().and_then(|asked| asked.route());
        Finding {
            route: asked.map(|(method, target)| format!("{method} {}", route(target))),
            outcome: Some(outcome),
            ..Finding::new(FindingKind::ServerErrors, request.ends, by_orig, span)
        }
    })
}

/// The first of both, for the time of both.
fn joined(one: Finding, other: Finding) -> Finding {
    let count = one.count + other.count;
    let last_ns = one.last_ns.max(other.last_ns);
    let began = |it: &Finding| (it.first_ns, it.ends.id);
    let first = if began(&other) < began(&one) {
        other
    } else {
        one
    };
    Finding {
        count,
        last_ns,
        ..first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::sample;

    /// A request to this port that is answered so at this time.
    fn request(port: u16, outcome: Outcome, ts_ns: i64) -> Request {
        let mut request = sample::request(&sample::connection());
        request.app.server = Endpoint::new([10, 0, 0, 2].into(), port);
        let (status, grpc_status) = match outcome {
            Outcome::GrpcFailed(status, failure) => (status, Some(failure)),
            Outcome::Status(status) => (Some(status), None),
            _ => (None, None),
        };
        if let (Some(response), Some(stream)) = (&mut request.app.response, &mut request.app.stream)
        {
            response.status = status;
            response.arrived.first_ns = ts_ns;
            stream.grpc_status = grpc_status;
        }
        request
    }

    #[test]
    fn calls_of_grpc_fail_by_their_server() {
        let found = |failure| {
            let mut errors = ServerErrors::default();
            for _ in 0..MANY_ERRORS {
                errors.take(&request(80, Outcome::GrpcFailed(Some(200), failure), 0));
            }
            errors.finish().count() == 1
        };
        let failures: Vec<_> = (0..20).filter(|failure| found(*failure)).collect();
        assert_eq!(failures, [2, 4, 12, 13, 14, 15]);
    }

    /// Connections that go on for long are finished late.
    #[test]
    fn the_first_error_is_shown_whenever_it_comes() {
        let mut errors = ServerErrors::default();
        for (status, ts_ns) in [(500, 30), (502, 10), (503, 50), (504, 20), (500, 40)] {
            errors.take(&request(80, Outcome::Status(status), ts_ns));
        }
        let found: Vec<_> = errors.finish().collect();
        let first = found
            .first()
            .map(|it| (it.outcome, it.first_ns, it.last_ns));
        assert_eq!(first, Some((Some(Outcome::Status(502)), 10, 50)));
    }

    #[test]
    fn servers_without_errors_are_forgotten() {
        let mut errors = ServerErrors::default();
        let mut forgotten = 0;
        for port in 0..20_000 {
            let status = if port < 4_100 { 500 } else { 200 };
            forgotten += errors.take(&request(port, Outcome::Status(status), 0));
        }
        for port in (0..20).cycle().take(100) {
            forgotten += errors.take(&request(port, Outcome::Status(500), 0));
        }
        assert!(errors.0.len() <= MAX_SERVERS);
        assert_eq!(forgotten, 4);
        assert_eq!(errors.finish().count(), 20);
    }
}
