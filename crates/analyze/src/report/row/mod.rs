//! The objects of the JSON reports. `docs/report.md` documents each field.
//!
//! Connections and requests have the names of Zeek's `conn.log` and `http.log`
//! where these have the same thing. Times are seconds, as in those; a field
//! that cannot be known is left out or null.

mod http2;
pub(crate) mod sample;
mod times;
mod tls;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Capture, End, LossCause, Lost, Process, ProcessId};

use super::{
    Connection, EndFacts, Ending, Ends, InterfaceSummary, LeftOut, LossSummary, OwnerId,
    PacketCounts, ProcessSummary, Report, Request, Volume, findings::sentence,
};
use crate::contrast::Contrast;
use crate::finding::Finding;
use crate::gaps::Incomplete;
use crate::owner::Owners;
use crate::tcp;

pub(super) use self::times::LatencyRow;
use self::times::{stalls, times};

/// Nanoseconds as seconds, as exactly as a double can hold them: in our days
/// to a quarter of a microsecond.
#[allow(clippy::cast_precision_loss)]
fn seconds(ns: i64) -> f64 {
    const SECOND_NS: i64 = 1_000_000_000;
    // Not one division: 64 bits of nanoseconds are more than a double holds.
    (ns / SECOND_NS) as f64 + (ns % SECOND_NS) as f64 / 1e9
}

/// [`super::CaptureSummary`], with what belongs to it.
#[derive(Debug, Serialize)]
pub(super) struct CaptureRow<'a> {
    kind: &'static str,
    #[serde(flatten)]
    made: Option<&'a Capture>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    files: u64,
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
    packets: u64,
    wire_bytes: u64,
    copied_packets: u64,
}

pub(super) fn capture(report: &Report) -> CaptureRow<'_> {
    let capture = &report.capture;
    let PacketCounts {
        all,
        wire_bytes,
        captured_bytes,
        not_tcp,
        cut,
        malformed,
        unknown_link,
        copies,
        disagreements,
    } = capture.packets;
    let LeftOut {
        evicted_connections,
        findings,
        latencies,
    } = capture.left_out;
    let duration = |first: i64| Some(capture.last_ns?.saturating_sub(first));
    let (ending, ending_detail, totals) = match &capture.ending {
        Ending::Unknown => ("unknown", None, None),
        Ending::Abrupt => ("abrupt", None, None),
        Ending::Cut(detail) => ("cut", Some(detail.as_str()), None),
        Ending::Complete(end) => ("complete", Some(end.reason.as_str()), Some(totals(end))),
        Ending::Continued(end) => ("continued", Some(end.reason.as_str()), Some(totals(end))),
    };
    let is_series = capture.files > 1 || capture.missing_files > 0;
    CaptureRow {
        kind: "capture",
        made: capture.made.as_ref(),
        condition: capture.condition.as_deref(),
        files: capture.files,
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
        packets: summary.packets,
        wire_bytes: summary.wire_bytes,
        copied_packets: summary.copies,
    }
}

/// [`LossSummary`].
#[derive(Debug, Serialize)]
pub(super) struct LossRow {
    kind: &'static str,
    cause: LossCause,
    lost: Lost,
    count: u64,
    bytes: u64,
    first_ts: f64,
    last_ts: f64,
}

pub(super) fn loss(loss: &LossSummary) -> LossRow {
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
pub(super) struct ProcessRow<'a> {
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

pub(super) fn process(summary: &ProcessSummary) -> ProcessRow<'_> {
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

/// Writes the fields of one end, each with the name of the end before it.
macro_rules! end_fields {
    ($to:expr, $prefix:literal, $($name:literal: $value:expr,)*) => {
        $($to.serialize_entry(concat!($prefix, $name), &$value)?;)*
    };
}

/// As [`end_fields`], but leaves out what is not known.
macro_rules! known_end_fields {
    ($to:expr, $prefix:literal, $($name:literal: $value:expr,)*) => {
        $(if let Some(value) = $value {
            $to.serialize_entry(concat!($prefix, $name), &value)?;
        })*
    };
}

macro_rules! tcp_end_fields {
    ($to:expr, $prefix:literal, $end:expr) => {{
        let end: &tcp::End = $end;
        let syn = end.syn_options;
        end_fields!($to, $prefix,
            "pkts": end.packets,
            "data_pkts": end.data_packets,
            "bytes": end.bytes,
            "wire_bytes": end.wire_bytes,
            "uniq_bytes": end.uniq_bytes,
            "gap_bytes": end.gap_bytes,
            "ip_bytes": end.ip_bytes,
            "syn": end.syn_packets,
            "fin": end.fin_packets,
            "rst": end.rst_packets,
            "zero_win_raw": end.zero_window_packets,
            "rexmt": end.retransmitted_packets,
            "dup_pkts": end.duplicate_packets,
            "late_pkts": end.late_packets,
            "mss": syn.and_then(|syn| syn.mss),
            "wscale": syn.and_then(|syn| syn.window_scale),
            "sack_perm": syn.map(|syn| syn.sack_permitted),
            "ts_opt": syn.map(|syn| syn.timestamps),
        );
        let analysis = &end.analysis;
        end_fields!($to, $prefix,
            "retrans": analysis.retransmissions,
            "fast_retrans": analysis.fast_retransmissions,
            "spurious": analysis.spurious_retransmissions,
            "ooo": analysis.out_of_order,
            "lost_seg": analysis.lost_segments,
            "ack_lost": analysis.acked_lost_segments,
            "dup_ack": analysis.duplicate_acks,
            "zero_win": analysis.zero_windows,
            "zwp": analysis.zero_window_probes,
            "zwp_ack": analysis.zero_window_probe_acks,
            "win_full": analysis.windows_full,
            "keep_alive": analysis.keep_alives,
            "keep_alive_ack": analysis.keep_alive_acks,
            "win_update": analysis.window_updates,
        );
        known_end_fields!($to, $prefix,
            "rtt_n": end.round_trips.map(|times| times.count),
            "rtt_min": end.round_trips.map(|times| seconds(times.min_ns)),
            "rtt_avg": end.round_trips.map(|times| seconds(times.mean_ns())),
            "rtt_max": end.round_trips.map(|times| seconds(times.max_ns)),
        );
    }};
}

macro_rules! owner_fields {
    ($to:expr, $prefix:literal, $names:expr, $owner:expr) => {{
        let (names, owner): (&dyn Names, Option<OwnerId>) = ($names, $owner);
        known_end_fields!($to, $prefix,
            "pid": owner.map(|owner| owner.process.pid),
            "pid_start_ns": owner.map(|owner| owner.process.start_ns),
            "comm": owner.and_then(|owner| names.comm(owner.process)),
            "owner": owner.map(|owner| owner.provenance),
        );
    }};
}

macro_rules! kernel_fields {
    ($to:expr, $prefix:literal, $facts:expr, $contrast:expr) => {{
        let facts: &EndFacts = $facts;
        let tcp = facts.kernel.and_then(|kernel| kernel.tcp);
        known_end_fields!($to, $prefix,
            "kernel_retransmits": facts.kernel.map(|kernel| kernel.retransmits),
            "retransmits_differ": $contrast,
            "kernel_resets_sent": facts.kernel.map(|kernel| kernel.resets_sent),
            "kernel_resets_received": facts.kernel.map(|kernel| kernel.resets_received),
            "kernel_srtt": tcp.and_then(|tcp| i64::try_from(tcp.srtt_ns).ok()).map(seconds),
            "kernel_sent_bytes": tcp.map(|tcp| tcp.sent_bytes),
            "kernel_acked_bytes": tcp.map(|tcp| tcp.acked_bytes),
            "kernel_received_bytes": tcp.map(|tcp| tcp.received_bytes),
        );
    }};
}

/// Knows the names of processes.
pub(crate) trait Names {
    fn comm(&self, process: ProcessId) -> Option<&str>;
}

impl Names for Owners {
    fn comm(&self, process: ProcessId) -> Option<&str> {
        self.process(process).map(|process| process.comm.as_str())
    }
}

impl Names for Report {
    fn comm(&self, process: ProcessId) -> Option<&str> {
        let summary = self.processes.get(&process);
        summary.map(|summary| summary.process.comm.as_str())
    }
}

fn ids<M: SerializeMap>(to: &mut M, ends: Ends) -> Result<(), M::Error> {
    let Ends { id, orig, resp, .. } = ends;
    if let Some(id) = id {
        to.serialize_entry("conn_id", &id.0)?;
    }
    to.serialize_entry("id.orig_h", &orig.addr)?;
    to.serialize_entry("id.orig_p", &orig.port)?;
    to.serialize_entry("id.resp_h", &resp.addr)?;
    to.serialize_entry("id.resp_p", &resp.port)
}

/// What may be missing, if anything.
fn missing<M: SerializeMap>(to: &mut M, incomplete: Incomplete) -> Result<(), M::Error> {
    if incomplete == Incomplete::default() {
        return Ok(());
    }
    let words: Vec<_> = incomplete.words().collect();
    to.serialize_entry("incomplete", &words)
}

/// A [`Connection`].
pub(crate) struct Conn<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) connection: &'a Connection,
}

impl Serialize for Conn<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { names, connection } = *self;
        let Connection {
            tcp,
            netns,
            incomplete,
            orig,
            resp,
        } = connection;
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("kind", "conn")?;
        row.serialize_entry("ts", &seconds(tcp.first_ns))?;
        ids(&mut row, connection.ends())?;
        row.serialize_entry("community_id", &tcp.flow().community_id())?;
        if let Some(netns) = netns {
            row.serialize_entry("netns", netns)?;
        }
        missing(&mut row, *incomplete)?;
        owner_fields!(row, "orig_", names, orig.owner);
        owner_fields!(row, "resp_", names, resp.owner);
        row.serialize_entry("conn_state", tcp.state.word())?;
        row.serialize_entry("history", &tcp.history)?;
        row.serialize_entry("duration", &seconds(tcp.duration_ns))?;
        row.serialize_entry("duration_raw", &seconds(tcp.raw_duration_ns()))?;
        row.serialize_entry("missed_bytes", &tcp.missed_bytes)?;
        row.serialize_entry("syn_synack_rtt", &tcp.syn_synack_ns.map(seconds))?;
        row.serialize_entry("synack_ack_rtt", &tcp.synack_ack_ns.map(seconds))?;
        row.serialize_entry("initial_rtt", &tcp.initial_rtt_ns.map(seconds))?;
        row.serialize_entry("reused_ports", &tcp.reused_ports)?;
        row.serialize_entry("requests", &tcp.requests)?;
        if let Some(facts) = &tcp.tls {
            row.serialize_entry("tls", &tls::row(facts, tcp))?;
        }
        stalls(&mut row, &tcp.stalls)?;
        tcp_end_fields!(row, "orig_", &tcp.orig);
        tcp_end_fields!(row, "resp_", &tcp.resp);
        let [orig_contrast, resp_contrast] = Contrast::of(connection);
        kernel_fields!(row, "orig_", orig, orig_contrast);
        kernel_fields!(row, "resp_", resp, resp_contrast);
        row.end()
    }
}

/// A [`Request`].
pub(crate) struct Http<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) request: &'a Request,
}

impl Serialize for Http<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { names, request } = *self;
        let Request {
            app,
            ends,
            incomplete,
            timing,
        } = request;
        let (asked, answered) = (app.request.as_ref(), app.response.as_ref());
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("kind", "http")?;
        row.serialize_entry("ts", &app.first_ns().map(seconds))?;
        ids(&mut row, *ends)?;
        owner_fields!(row, "orig_", names, ends.orig_owner);
        owner_fields!(row, "resp_", names, ends.resp_owner);
        missing(&mut row, *incomplete)?;
        row.serialize_entry("index", &app.index)?;
        if let Some(stream) = app.stream {
            http2::stream(&mut row, &stream, request.client_is_orig())?;
        }
        row.serialize_entry("method", &asked.map(|message| &message.method))?;
        row.serialize_entry("host", &asked.and_then(|message| message.host.as_deref()))?;
        row.serialize_entry("uri", &asked.and_then(|message| message.target.as_deref()))?;
        row.serialize_entry("version", &asked.map(|message| &message.version))?;
        row.serialize_entry(
            "user_agent",
            &asked.and_then(|message| message.user_agent.as_deref()),
        )?;
        row.serialize_entry("status_code", &answered.and_then(|message| message.status))?;
        let is_whole = !incomplete.lacks_packets();
        for (name, ns) in [
            ("req_ts_first", asked.map(|message| message.first_ns)),
            ("req_ts_last", asked.map(|message| message.last_ns)),
            ("resp_ts_first", answered.map(|message| message.first_ns)),
            ("resp_ts_last", answered.map(|message| message.last_ns)),
            ("latency_ttfb", app.ttfb_ns().filter(|_| is_whole)),
            ("latency_total", app.total_ns().filter(|_| is_whole)),
        ] {
            row.serialize_entry(name, &ns.map(seconds))?;
        }
        if let Some(timing) = timing {
            times(&mut row, timing)?;
        }
        // Zeek's rule: of a message that was not seen there were 0 bytes.
        let body_bytes = asked.map_or(0, |message| message.body_bytes);
        row.serialize_entry("request_body_len", &body_bytes)?;
        let body_bytes = answered.map_or(0, |message| message.body_bytes);
        row.serialize_entry("response_body_len", &body_bytes)?;
        row.end()
    }
}

/// A [`Finding`].
pub(crate) struct FindingRow<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) finding: &'a Finding,
}

impl Serialize for FindingRow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { names, finding } = *self;
        let mut row = to.serialize_map(None)?;
        row.serialize_entry("kind", "finding")?;
        row.serialize_entry("finding", finding.kind.word())?;
        row.serialize_entry("text", &sentence(names, finding))?;
        row.serialize_entry("count", &finding.count)?;
        if let Some(by_orig) = finding.by_orig {
            row.serialize_entry("end", end_word(by_orig))?;
        }
        row.serialize_entry("ts", &seconds(finding.first_ns))?;
        row.serialize_entry("last_ts", &seconds(finding.last_ns))?;
        row.serialize_entry("duration", &seconds(finding.duration_ns()))?;
        if let Some(at_byte) = finding.at_byte {
            row.serialize_entry("at_byte", &at_byte)?;
        }
        if let Some(packets) = finding.packets {
            row.serialize_entry("packets", &packets)?;
        }
        if let Some(alert) = &finding.alert {
            row.serialize_entry("alert", alert)?;
        }
        if let Some(route) = &finding.route {
            row.serialize_entry("route", route)?;
        }
        let ends = finding.ends;
        ids(&mut row, ends)?;
        owner_fields!(row, "orig_", names, ends.orig_owner);
        owner_fields!(row, "resp_", names, ends.resp_owner);
        row.end()
    }
}

const fn end_word(is_orig: bool) -> &'static str {
    if is_orig { "orig" } else { "resp" }
}
