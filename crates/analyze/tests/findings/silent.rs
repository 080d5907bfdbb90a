//! Ends that do not respond, or do not read, any more.

use tcprec_analyze::finding::{Finding, FindingKind};
use tcprec_shared::record::{End, Record};

use super::steps::{ACK, FIN, HANDSHAKE, RST, Step, pipeline, segment};
use FindingKind::{HalfOpen, Reset, Timeout, Unresponsive};

/// Kind, whether it is the originator's doing, how many packets, for how many milliseconds,
/// and after how many of silence.
type Found = (FindingKind, Option<bool>, Option<u64>, i64, Option<i64>);

fn findings(steps: &[(i64, Step<'_>)]) -> Vec<Finding> {
    let mut pipeline = pipeline();
    for (ms, step) in steps {
        let packet = segment(ms * 1_000_000, *step);
        pipeline.push(&Record::Packet(packet), &mut ());
    }
    pipeline.finish(&mut ()).findings
}

fn found(steps: &[(i64, Step<'_>)]) -> Vec<Found> {
    findings(steps)
        .into_iter()
        .map(|it| {
            let silence_ms = it.silence_ns.map(|ns| ns / 1_000_000);
            let ms = it.duration_ns() / 1_000_000;
            (it.kind, it.by_orig, it.packets, ms, silence_ms)
        })
        .collect()
}

/// As where a part of the path has a smaller MTU.
#[test]
fn what_does_not_come_through_is_told_with_its_size() {
    let large = "large".repeat(200);
    let mut steps = HANDSHAKE.to_vec();
    let sent_ms = [5, 220, 630, 1450];
    steps.extend(sent_ms.map(|ms| (ms, (true, ACK, 1, 1001, large.as_str()))));
    let sizes = |steps: &_| {
        let all = findings(steps).into_iter();
        all.map(|it| (it.kind, it.segment_bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(&steps), [(Unresponsive, Some(1000))]);
    steps.push((1500, (false, FIN | ACK, 1001, 1, "")));
    assert_eq!(sizes(&steps), [(Timeout, Some(1000))]);
}

/// What is found after a question and its answer, where the next question is asked at these
/// milliseconds and something else happens then.
fn found_of_asking_again(asked_ms: &[i64], rest: &[(i64, Step<'_>)]) -> Vec<Found> {
    let mut steps = HANDSHAKE.to_vec();
    steps.push((5, (true, ACK, 1, 1001, "ask")));
    steps.push((6, (false, ACK, 1001, 4, "answer")));
    steps.push((7, (true, ACK, 4, 1007, "")));
    steps.extend(
        asked_ms
            .iter()
            .map(|ms| (*ms, (true, ACK, 4, 1007, "again"))),
    );
    steps.extend(rest);
    found(&steps)
}

/// As behind a firewall that has forgotten the connection, or where the host is gone.
#[test]
fn what_is_sent_again_in_vain_tells_of_a_silent_end() {
    let again = [4006, 4210, 4620, 5440];
    let silent = (Unresponsive, Some(false), Some(3), 1434, Some(4000));
    assert_eq!(found_of_asking_again(&again, &[]), [silent]);
    // At once, and one more.
    let soon = [10, 220, 630, 1450, 3050];
    let at_once = (Unresponsive, Some(false), Some(4), 3040, None);
    assert_eq!(found_of_asking_again(&soon, &[]), [at_once]);
    // That it gives up then, or closes, is no other cause.
    let reset = (5500, (true, RST | ACK, 9, 1007, ""));
    assert_eq!(found_of_asking_again(&again, &[reset]), [silent]);
    let close = (5500, (true, FIN | ACK, 9, 1007, ""));
    assert_eq!(found_of_asking_again(&again, &[close]), [silent]);
    // One that comes back has lost segments, and one that resets does respond.
    let back = (5441, (false, ACK, 1007, 9, ""));
    let lost = |found: Vec<Found>| found.iter().all(|it| it.0 == Timeout);
    assert!(lost(found_of_asking_again(&again, &[back])));
    let refused = (5441, (false, RST, 1007, 0, ""));
    assert_eq!(found_of_asking_again(&again, &[refused])[0].0, Reset);
    assert!(lost(found_of_asking_again(&again[..3], &[])));
}

/// What was lost before is another matter.
#[test]
fn what_was_sent_again_before_is_told_too() {
    let part = |ms, part: u32| (ms, (true, ACK, 4 + part * 5, 1007, "again"));
    let mut steps: Vec<_> = (0..12).map(|number| part(10, number)).collect();
    steps.extend((0..12).map(|number| part(50, number)));
    steps.push((51, (false, ACK, 1007, 64, "")));
    steps.extend([5060, 5270, 5690, 6500].map(|ms| part(ms, 12)));
    let found = found_of_asking_again(&[], &steps);
    let kinds: Vec<_> = found.iter().map(|it| (it.0, it.2)).collect();
    let resent = (FindingKind::Retransmissions, Some(12));
    assert_eq!(kinds, [(Unresponsive, Some(3)), resent]);
}

/// Its beginning, and the other end, were before the recording.
#[test]
fn an_end_may_be_silent_from_the_beginning() {
    let step = |ms| (ms, (true, ACK, 4, 1007, "again"));
    let steps = [10, 220, 630, 1450].map(step);
    let silent = (Unresponsive, Some(false), Some(3), 1440, None);
    assert_eq!(found(&steps), [silent]);
    // Its answers may not be in the capture.
    let goes_on = |ms, seq| (ms, (true, ACK, seq, 1007, "again"));
    let more = [
        goes_on(0, 4),
        goes_on(210, 4),
        goes_on(1000, 9),
        goes_on(1210, 9),
        goes_on(2000, 14),
        goes_on(2210, 14),
    ];
    assert_eq!(found(&more)[0].0, FindingKind::OneSided);
}

/// All was acknowledged, and nothing is sent but probes (RFC 9293 section 3.8.4).
#[test]
fn probes_without_an_answer_tell_of_a_silent_end() {
    let probe = |ms| (ms, (true, ACK, 3, 1007, ""));
    let answer = |ms| (ms, (false, ACK, 1007, 4, ""));
    let probes = [1000, 2000, 3000].map(probe);
    let silent = |ms| (Unresponsive, Some(false), Some(3), ms, None);
    assert_eq!(found_of_asking_again(&[], &probes), [silent(2994)]);
    let reset = (4000, (true, RST | ACK, 4, 1007, ""));
    let given_up = [&probes[..], &[reset]].concat();
    assert_eq!(found_of_asking_again(&[], &given_up), [silent(3994)]);
    assert_eq!(found_of_asking_again(&[], &probes[1..]), []);
    // Each that is answered, and those of one that answers late.
    let answered = [1000, 2000, 3000].map(|ms| [probe(ms), answer(ms + 1)]);
    assert_eq!(found_of_asking_again(&[], answered.as_flattened()), []);
    let late = [&probes[..], &[answer(3001), reset]].concat();
    assert_eq!(
        found_of_asking_again(&[], &late),
        [(Reset, Some(true), None, 4000, None)]
    );
    let closed = (3001, (false, FIN | ACK, 1007, 4, ""));
    let left = [&probes[..], &[closed, (20_000, (true, ACK, 4, 1008, ""))]].concat();
    assert!(
        found_of_asking_again(&[], &left)
            .iter()
            .all(|it| it.0 == HalfOpen)
    );
}

/// What asks whether it has opened comes ever later, and the recording goes on.
#[test]
fn a_window_is_closed_until_it_opens() {
    let found = |opens: bool| {
        let mut pipeline = pipeline();
        let mut steps = HANDSHAKE.to_vec();
        steps.push((5, (false, ACK, 1001, 1, "much")));
        steps.push((6, (true, ACK, 1, 1005, "")));
        steps.push((3000, (false, ACK, 1004, 1, "")));
        steps.push((3001, (true, ACK, 1, 1005, "")));
        for (place, (ms, step)) in steps.into_iter().enumerate() {
            let mut packet = segment(ms * 1_000_000, step);
            if place == 4 || place == 6 && !opens {
                packet.data.to_mut()[34..36].fill(0); // the window
            }
            pipeline.push(&Record::Packet(packet), &mut ());
        }
        let end = End {
            ts_ns: 9_006_000_000,
            ..End::default()
        };
        pipeline.push(&Record::End(end), &mut ());
        let found = pipeline.finish(&mut ()).findings.into_iter();
        let told = found.map(|it| (it.kind, it.by_orig, it.duration_ns() / 1_000_000));
        told.collect::<Vec<_>>()
    };
    let closed_for = |ms| [(FindingKind::ZeroWindow, Some(true), ms)];
    assert_eq!(found(true), closed_for(2995));
    assert_eq!(found(false), closed_for(9000));
}
