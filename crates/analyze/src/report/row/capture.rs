//! The rows of a capture as a whole: itself, what it lost, and who had a part in
//! it.

use serde::Serialize;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, End, LossCause, Lost, Process};

use super::seconds;
use crate::report::{
    Ending, InterfaceSummary, LeftOut, LossSummary, PacketCounts, ProcessSummary, Report, Volume,
};

/// [`crate::report::CaptureSummary`], with what belongs to it.
#[derive(Debug, Serialize)]
pub(in crate::report) struct CaptureRow<'a> {
    kind: &'static str,
    #[serde(flatten)]
    made: Option<&'a Capture>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    files: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    several_recordings: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_files: Option<u64>,
    first_ts: Option<f64>,
    last_ts: Option<f64>,
    duration: Option<f64>,
    interfaces: Vec<InterfaceRow<'a>>,
    packets: u64,
    wire_bytes: u64,
    captured_bytes: u64,
    not_tcp_packets: u64,
    cut_packets: u64,
    malformed_packets: u64,
    unassembled_packets: u64,
    unknown_link_packets: u64,
    copied_packets: u64,
    parser_disagreements: u64,
    events: u64,
    scanned_sockets: u64,
    has_events: bool,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    attributed: Option<AttributedRow>,
    ending: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
    damaged_records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<&'a str>,
    evicted_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_findings: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_latencies: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_services: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_processes: Option<u64>,
}

/// What has an owner.
#[derive(Debug, Serialize)]
struct AttributedRow {
    attributed_connections: u64,
    attributed_packets: u64,
    attributed_bytes: u64,
}

/// The recorder's own totals ([`tcprec_shared::record::End`]).
#[derive(Debug, Serialize)]
struct Totals {
    seen_packets: u64,
    recorded_packets: u64,
    lost_packets: u64,
    seen_events: u64,
    recorded_events: u64,
    lost_events: u64,
    wire_bytes: u64,
}

#[derive(Debug, Serialize)]
struct InterfaceRow<'a> {
    id: u32,
    name: Option<&'a str>,
    link_type: LinkType,
    netns: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    behind: bool,
    packets: u64,
    wire_bytes: u64,
    copied_packets: u64,
}

pub(in crate::report) fn capture(report: &Report) -> CaptureRow<'_> {
    let capture = &report.capture;
    let PacketCounts {
        all,
        wire_bytes,
        captured_bytes,
        not_tcp,
        cut,
        malformed,
        unassembled,
        unknown_link,
        copies,
        disagreements,
    } = capture.packets;
    let LeftOut {
        evicted_connections,
        findings,
        latencies,
        services,
        processes,
    } = capture.left_out;
    let duration = |first: i64| Some(capture.last_ns?.saturating_sub(first));
    let (ending, ending_detail, totals) = match &capture.ending {
        Ending::Unknown => ("unknown", None, None),
        Ending::Abrupt => ("abrupt", None, None),
        Ending::Cut(detail) => ("cut", Some(detail.as_str()), None),
        Ending::Complete(end) => ("complete", Some(end.reason.as_str()), Some(totals(end))),
        Ending::Continued(end) => ("continued", Some(end.reason.as_str()), Some(totals(end))),
        Ending::Failed(end) => ("failed", None, Some(totals(end))),
    };
    let is_series = capture.files > 1 || capture.missing_files > 0;
    CaptureRow {
        kind: "capture",
        made: capture.made.as_ref(),
        condition: capture.condition.as_deref(),
        files: capture.files,
        several_recordings: capture.has_several_recordings,
        missing_files: is_series.then_some(capture.missing_files),
        unfinished_files: is_series.then_some(capture.unfinished_files),
        first_ts: capture.first_ns.map(seconds),
        last_ts: capture.last_ns.map(seconds),
        duration: capture.first_ns.and_then(duration).map(seconds),
        interfaces: report.interfaces.iter().map(interface).collect(),
        packets: all,
        wire_bytes,
        captured_bytes,
        not_tcp_packets: not_tcp,
        cut_packets: cut,
        malformed_packets: malformed,
        unassembled_packets: unassembled,
        unknown_link_packets: unknown_link,
        copied_packets: copies,
        parser_disagreements: disagreements,
        events: capture.events,
        scanned_sockets: capture.scanned_sockets,
        has_events: capture.has_events(),
        attributed: capture
            .has_events()
            .then(|| attributed(report.totals.owned.attributed)),
        ending,
        ending_detail,
        totals,
        damaged_records: capture.damaged_records,
        damage: capture.damage.as_deref(),
        evicted_connections,
        forgotten_findings: Some(findings).filter(|count| *count > 0),
        forgotten_latencies: Some(latencies).filter(|count| *count > 0),
        forgotten_services: Some(services).filter(|count| *count > 0),
        forgotten_processes: Some(processes).filter(|count| *count > 0),
    }
}

fn attributed(volume: Volume) -> AttributedRow {
    AttributedRow {
        attributed_connections: volume.connections,
        attributed_packets: volume.packets,
        attributed_bytes: volume.bytes,
    }
}

fn totals(end: &End) -> Totals {
    Totals {
        seen_packets: end.seen_packets,
        recorded_packets: end.recorded_packets,
        lost_packets: end.lost_packets,
        seen_events: end.seen_events,
        recorded_events: end.recorded_events,
        lost_events: end.lost_events,
        wire_bytes: end.wire_bytes,
    }
}

fn interface(summary: &InterfaceSummary) -> InterfaceRow<'_> {
    InterfaceRow {
        id: summary.interface.id,
        name: summary.interface.name.as_deref(),
        link_type: summary.interface.link_type,
        netns: summary.interface.netns,
        behind: summary.interface.behind,
        packets: summary.packets,
        wire_bytes: summary.wire_bytes,
        copied_packets: summary.copies,
    }
}

/// [`LossSummary`].
#[derive(Debug, Serialize)]
pub(in crate::report) struct LossRow {
    kind: &'static str,
    cause: LossCause,
    lost: Lost,
    count: u64,
    bytes: u64,
    first_ts: f64,
    last_ts: f64,
}

pub(in crate::report) fn loss(loss: &LossSummary) -> LossRow {
    LossRow {
        kind: "loss",
        cause: loss.cause,
        lost: loss.lost,
        count: loss.count,
        bytes: loss.bytes,
        first_ts: seconds(loss.first_ns),
        last_ts: seconds(loss.last_ns),
    }
}

/// [`ProcessSummary`].
#[derive(Debug, Serialize)]
pub(in crate::report) struct ProcessRow<'a> {
    kind: &'static str,
    #[serde(flatten)]
    process: &'a Process,
    connections_made: u64,
    connections_taken: u64,
    requests_made: u64,
    requests_taken: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

pub(in crate::report) fn process(summary: &ProcessSummary) -> ProcessRow<'_> {
    let part = summary.part;
    ProcessRow {
        kind: "process",
        process: &summary.process,
        connections_made: part.connections_made,
        connections_taken: part.connections_taken,
        requests_made: part.requests_made,
        requests_taken: part.requests_taken,
        sent_bytes: part.sent_bytes,
        received_bytes: part.received_bytes,
    }
}
