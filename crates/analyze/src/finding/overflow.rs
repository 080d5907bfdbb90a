//! Servers that accept too slowly.

use super::connection::of;
use super::{Finding, FindingKind, LONG_NS};
use crate::resolved::Connection;
use crate::tcp::StallCause;

/// A connection that its server's kernel took long after its client had ended the handshake,
/// and had sent something: the queue of those to accept was full (ListenOverflows), so Linux
/// dropped the ACK (`tcp_v4_syn_recv_sock`, which is asked before the socket is made). Without
/// payload it may be dropped by intent (`TCP_DEFER_ACCEPT`).
pub(super) fn overflow(connection: &Connection) -> Option<Finding> {
    let tcp = &connection.tcp;
    let taken_ns = connection.resp.kernel?.taken_ns?;
    let sent_again = tcp.stalls.iter().find(|stall| {
        stall.by_orig
            && stall.cause == StallCause::Timeout
            && stall.at_byte == 0
            && stall.from_ns >= tcp.established_ns.unwrap_or(i64::MAX)
    })?;
    let first_ns = sent_again.sent_ns;
    (taken_ns.saturating_sub(first_ns) >= LONG_NS).then(|| Finding {
        first_ns,
        last_ns: taken_ns,
        ..of(connection, FindingKind::ListenOverflow, Some(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Findings;
    use crate::owner::{KernelFacts, Owners};
    use crate::report::row::sample;
    use crate::tcp::{ConnState, Stall};

    #[test]
    fn what_the_kernel_takes_late_was_not_lost() {
        let found = |taken_ms: Option<i64>| {
            let mut connection = sample::connection();
            connection.incomplete = Default::default();
            let tcp = &mut connection.tcp;
            (tcp.tls, tcp.goaway, tcp.state) = (None, None, ConnState::Sf);
            let ns = |ms| ms * 1_000_000;
            tcp.established_ns = Some(ns(10));
            tcp.resp.last_ns = Some(ns(1491));
            let resent = |from, to, by_orig| Stall {
                by_orig,
                cause: StallCause::Timeout,
                from_ns: ns(from),
                sent_ns: ns(20),
                to_ns: ns(to),
                is_open: false,
                payload_bytes: 0,
                at_byte: 0,
            };
            tcp.stalls = vec![
                resent(20, 230, true),
                resent(10, 1010, false),
                resent(230, 650, true),
                resent(650, 1490, true),
            ];
            connection.resp.kernel = taken_ms.map(|taken_ms| KernelFacts {
                taken_ns: Some(ns(taken_ms)),
                ..KernelFacts::default()
            });
            let (mut findings, owners) = (Findings::default(), Owners::new(0));
            findings.connection(&connection, &owners, 0);
            let found = findings.finish(&owners).into_iter();
            found
                .map(|it| (it.kind, it.by_orig, it.count, it.duration_ns() / ns(1)))
                .collect::<Vec<_>>()
        };
        let by_server = Some(false);
        assert_eq!(
            found(Some(1490)),
            [(FindingKind::ListenOverflow, by_server, 1, 1470)]
        );
        // By the ACK of a SYN-ACK that was sent again: the client's timer goes on.
        assert_eq!(
            found(Some(1010)),
            [(FindingKind::ListenOverflow, by_server, 1, 990)]
        );
        // It was taken at once: what was sent again, or its ACK, was lost.
        for taken_ms in [Some(10), None] {
            let mut lost = found(taken_ms).into_iter();
            assert!(lost.all(|it| it.0 == FindingKind::Timeout), "{taken_ms:?}");
        }
    }
}
