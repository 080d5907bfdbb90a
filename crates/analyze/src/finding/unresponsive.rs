//! Ends that fell silent while their peer still asked for a word: a host that is gone, a way
//! that broke, or a firewall that has forgotten the connection.

use super::connection::of;
use super::{Finding, FindingKind};
use crate::resolved::Connection;
use crate::tcp::StallCause;

/// After so many attempts in vain it is no single loss any more (R1 in RFC 1122 section
/// 4.2.3.5).
const MANY_TRIES: u64 = 3;

/// What has been silent for so long before may have been forgotten on the way.
const LONG_SILENCE_NS: i64 = 1_000_000_000;

/// An end of which nothing came any more, however often the other sent the same again, or
/// asked whether it is still there.
pub(super) fn unresponsive(connection: &Connection) -> Option<Finding> {
    [true, false]
        .into_iter()
        .find_map(|by_orig| in_vain(connection, by_orig).or_else(|| probed(connection, by_orig)))
}

/// What the end `by_orig` sent again and again until it gave up, or the capture ended.
fn in_vain(connection: &Connection, by_orig: bool) -> Option<Finding> {
    let tcp = &connection.tcp;
    let other = if by_orig { &tcp.resp } else { &tcp.orig };
    if tcp.syn_ns.is_some() && tcp.established_ns.is_none() {
        return None; // a SYN that nobody answers is another finding
    }
    let is_since = |ns: i64| other.last_ns.is_none_or(|heard_ns| ns > heard_ns);
    let mut tries = tcp.stalls.iter().filter(|stall| {
        stall.cause == StallCause::Timeout && stall.by_orig == by_orig && is_since(stall.to_ns)
    });
    let first = tries.next()?;
    let (mut last, mut count) = (first, 1);
    for stall in tries {
        (last, count) = (stall, count + 1);
    }
    // Of one way alone there may have been answers, between what was lost.
    let is_same = other.last_ns.is_some() || last.at_byte == first.at_byte;
    let silence_ns = other.last_ns.map(|ns| first.sent_ns.saturating_sub(ns));
    (count >= MANY_TRIES && is_same).then(|| Finding {
        first_ns: first.sent_ns,
        last_ns: last.to_ns,
        at_byte: Some(first.at_byte),
        packets: Some(count),
        silence_ns: silence_ns.filter(|ns| *ns >= LONG_SILENCE_NS),
        segment_bytes: Some(last.payload_bytes).filter(|bytes| *bytes > 0),
        ..of(connection, FindingKind::Unresponsive, Some(!by_orig))
    })
}

/// The keep-alives of the end `by_orig` that were not answered.
fn probed(connection: &Connection, by_orig: bool) -> Option<Finding> {
    let tcp = &connection.tcp;
    let (end, other) = if by_orig {
        (&tcp.orig, &tcp.resp)
    } else {
        (&tcp.resp, &tcp.orig)
    };
    let probes = end.analysis.probes;
    let is_silent = other.last_ns == Some(probes.heard_ns);
    (is_silent && probes.count >= MANY_TRIES).then(|| Finding {
        first_ns: probes.heard_ns,
        last_ns: end.last_ns.unwrap_or(tcp.last_ns),
        packets: Some(probes.count),
        ..of(connection, FindingKind::Unresponsive, Some(!by_orig))
    })
}
