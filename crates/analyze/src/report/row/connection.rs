//! The row of a connection.

use serde::{Serialize, Serializer};

use super::fields::{self, Fields, Row};
use super::times::stalls;
use super::{Names, http2, ids, known_end_fields, missing, owners, seconds, tls, turns};
use crate::contrast::Contrast;
use crate::report::{Connection, EndFacts};
use crate::tcp;

/// Writes the fields of one end, each with the name of the end before it.
macro_rules! end_fields {
    ($to:expr, $prefix:literal, $($name:literal: $value:expr,)*) => {
        $($to.field(concat!($prefix, $name), &$value)?;)*
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
            "sack_perm": syn.and_then(|syn| syn.sack_permitted),
            "ts_opt": syn.and_then(|syn| syn.timestamps),
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

macro_rules! kernel_fields {
    ($to:expr, $prefix:literal, $facts:expr, $contrast:expr) => {{
        let facts: &EndFacts = $facts;
        let tcp = facts.kernel.and_then(|kernel| kernel.tcp);
        known_end_fields!($to, $prefix,
            "kernel_retransmits": facts.kernel.map(|kernel| kernel.retransmits),
            "retransmits_differ": $contrast,
            "kernel_resets_sent": facts.kernel.map(|kernel| kernel.resets_sent),
            "kernel_resets_received": facts.kernel.map(|kernel| kernel.resets_received),
            "kernel_srtt": tcp.and_then(|tcp| tcp.round_trip_ns()).map(seconds),
            "kernel_sent_bytes": tcp.map(|tcp| tcp.sent_bytes),
            "kernel_acked_bytes": tcp.map(|tcp| tcp.acked_bytes),
            "kernel_received_bytes": tcp.map(|tcp| tcp.received_bytes),
        );
    }};
}

/// A [`Connection`].
pub(crate) struct Conn<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) connection: &'a Connection,
}

impl Row for Conn<'_> {
    fn fields<F: Fields>(&self, to: &mut F) -> Result<(), F::Error> {
        let Self { names, connection } = *self;
        let Connection {
            tcp,
            netns,
            incomplete,
            orig,
            resp,
        } = connection;
        to.field("kind", "conn")?;
        to.field("ts", &seconds(tcp.first_ns))?;
        ids(to, connection.ends())?;
        to.field("community_id", &tcp.flow().community_id())?;
        if let Some(netns) = netns {
            to.field("netns", netns)?;
        }
        missing(to, *incomplete)?;
        owners(to, names, orig.owner, resp.owner)?;
        to.field("conn_state", tcp.state.word())?;
        to.field("history", &tcp.history)?;
        to.field("duration", &seconds(tcp.duration_ns))?;
        to.field("duration_raw", &seconds(tcp.raw_duration_ns()))?;
        to.field("missed_bytes", &tcp.missed_bytes)?;
        to.field("syn_synack_rtt", &tcp.syn_synack_ns.map(seconds))?;
        to.field("synack_ack_rtt", &tcp.synack_ack_ns.map(seconds))?;
        to.field("initial_rtt", &tcp.initial_rtt_ns.map(seconds))?;
        to.field("reused_ports", &tcp.reused_ports)?;
        to.field("requests", &tcp.requests)?;
        if let Some(facts) = &tcp.tls {
            to.field("tls", &tls::row(facts, tcp))?;
        }
        if let Some(goaway) = &tcp.goaway {
            to.field("goaway", &http2::goaway(goaway, tcp))?;
        }
        if let Some(turns) = &tcp.turns {
            to.field("turns", &turns::row(turns))?;
        }
        stalls(to, &tcp.stalls)?;
        tcp_end_fields!(to, "orig_", &tcp.orig);
        tcp_end_fields!(to, "resp_", &tcp.resp);
        let [orig_contrast, resp_contrast] = Contrast::of(connection);
        kernel_fields!(to, "orig_", orig, orig_contrast);
        kernel_fields!(to, "resp_", resp, resp_contrast);
        Ok(())
    }
}

impl Serialize for Conn<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields::serialize(self, to)
    }
}
