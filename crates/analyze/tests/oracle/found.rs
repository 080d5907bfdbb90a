//! What this analyzer says of a capture, under the same names.

use std::collections::HashMap;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tcprec_analyze::app::Request;
use tcprec_analyze::tcp::{
    Connection, End, Fragments, Limits, Observer, Seen, Tracker, Unfinished, Whole,
};
use tcprec_shared::format;
use tcprec_shared::headers::{self, Headers, LinkType};
use tcprec_shared::record::Record;
use tcprec_shared::stream::{ReadError, Source as _};

use crate::expected::{Fields, Records};

/// Analyzes a capture, up to where it is cut.
pub(crate) fn read(capture: &Path) -> Result<Records, Failed> {
    let mut input = format::open(capture)?;
    let mut links: HashMap<u32, LinkType> = HashMap::new();
    let mut tracker = Tracker::new(Limits::default());
    let mut fragments = Fragments::default();
    let mut all = All::default();
    loop {
        match input.next() {
            Ok(Some(Record::Interface(interface))) => {
                links.insert(interface.id, interface.link_type);
            }
            Ok(Some(Record::Packet(packet))) => {
                let seen = Seen {
                    ts_ns: packet.ts_ns,
                    ..Seen::default()
                };
                let Some(link) = links.get(&packet.interface) else {
                    return Err("a packet of an unknown interface".into());
                };
                match headers::parse(*link, &packet.data, packet.wire_bytes) {
                    Headers::Segment(segment) => {
                        tracker.segment(seen, &segment, &mut all);
                    }
                    headers => {
                        let whole = fragments.take(seen, &headers);
                        if let Some(segment) = whole.as_ref().and_then(Whole::segment) {
                            tracker.segment(seen, &segment, &mut all);
                        }
                    }
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(ReadError::Truncated { .. }) => break,
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (connection, requests) in tracker.finish().map(Unfinished::finish) {
        all.connection(connection, requests, true);
    }
    Ok(Records {
        connections: Some(all.connections),
        requests: Some(all.requests),
    })
}

#[derive(Default)]
struct All {
    connections: Vec<Fields>,
    requests: Vec<Fields>,
}

impl All {
    /// Takes requests, but for those of HTTP/2: both tools tell of HTTP/1 here.
    fn add(&mut self, requests: &[Request]) {
        let of_http1 = requests.iter().filter(|request| request.stream.is_none());
        self.requests.extend(of_http1.map(request_fields));
    }
}

impl Observer for All {
    fn connection(&mut self, connection: Connection, requests: Vec<Request>, _: bool) {
        self.connections.push(connection_fields(&connection));
        self.add(&requests);
    }

    fn requests(&mut self, _: Connection, requests: Vec<Request>) {
        self.add(&requests);
    }
}

fn seconds(ns: i64) -> Value {
    json!(ns as f64 / 1e9)
}

fn maybe_seconds(ns: Option<i64>) -> Value {
    ns.map_or(Value::Null, seconds)
}

fn connection_fields(connection: &Connection) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("ts", seconds(connection.first_ns));
    add("duration", seconds(connection.duration_ns));
    add("duration_raw", seconds(connection.raw_duration_ns()));
    add("conn_state", json!(connection.state.word()));
    add("history", json!(connection.history));
    add("missed_bytes", json!(connection.missed_bytes));
    add("reused_ports", json!(connection.reused_ports));
    add("syn_synack_rtt", maybe_seconds(connection.syn_synack_ns));
    add("synack_ack_rtt", maybe_seconds(connection.synack_ack_ns));
    add("initial_rtt", maybe_seconds(connection.initial_rtt_ns));
    end_fields("orig", &connection.orig, &mut fields);
    end_fields("resp", &connection.resp, &mut fields);
    fields
}

fn end_fields(prefix: &str, end: &End, to: &mut Fields) {
    let mut add = |name: &str, value: Value| to.insert(format!("{prefix}_{name}"), value);
    add("pkts", json!(end.packets));
    add("data_pkts", json!(end.data_packets));
    add("bytes", json!(end.bytes));
    add("wire_bytes", json!(end.wire_bytes));
    add("uniq_bytes", json!(end.uniq_bytes));
    add("gap_bytes", json!(end.gap_bytes));
    add("ip_bytes", json!(end.ip_bytes));
    add("syn", json!(end.syn_packets));
    add("fin", json!(end.fin_packets));
    add("rst", json!(end.rst_packets));
    add("zero_win_raw", json!(end.zero_window_packets));
    add("rexmt", json!(end.retransmitted_packets));
    add("dup_pkts", json!(end.duplicate_packets));
    add("late_pkts", json!(end.late_packets));
    let analysis = end.analysis;
    add("retrans", json!(analysis.retransmissions));
    add("fast_retrans", json!(analysis.fast_retransmissions));
    add("spurious", json!(analysis.spurious_retransmissions));
    add("ooo", json!(analysis.out_of_order));
    add("lost_seg", json!(analysis.lost_segments));
    add("ack_lost", json!(analysis.acked_lost_segments));
    add("dup_ack", json!(analysis.duplicate_acks));
    add("zero_win", json!(analysis.zero_windows));
    add("zwp", json!(analysis.zero_window_probes));
    add("zwp_ack", json!(analysis.zero_window_probe_acks));
    add("win_full", json!(analysis.windows_full));
    add("keep_alive", json!(analysis.keep_alives));
    add("keep_alive_ack", json!(analysis.keep_alive_acks));
    add("win_update", json!(analysis.window_updates));
    if let Some(times) = end.round_trips {
        add("rtt_n", json!(times.count));
        add("rtt_min", seconds(times.min_ns));
        add("rtt_avg", seconds(times.mean_ns()));
        add("rtt_max", seconds(times.max_ns));
    }
    if let Some(options) = end.syn_options {
        add("mss", json!(options.mss));
        add("wscale", json!(options.window_scale));
        add("sack_perm", json!(options.sack_permitted));
        add("ts_opt", json!(options.timestamps));
    }
    to.insert(format!("id.{prefix}_h"), json!(end.endpoint.addr));
    to.insert(format!("id.{prefix}_p"), json!(end.endpoint.port));
}

fn request_fields(found: &Request) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("id.orig_h", json!(found.client.addr));
    add("id.orig_p", json!(found.client.port));
    add("id.resp_h", json!(found.server.addr));
    add("id.resp_p", json!(found.server.port));
    if let Some(request) = &found.request {
        add("method", json!(request.method));
        add("uri", json!(request.target.as_deref()));
        add("version", json!(request.version));
        add("host", json!(request.host.as_deref()));
        add("user_agent", json!(request.user_agent.as_deref()));
        add("req_ts_first", seconds(request.arrived.first_ns));
        add("req_ts_last", seconds(request.arrived.last_ns));
        add("request_body_len", json!(request.body_bytes));
    }
    if let Some(response) = &found.response {
        add("status_code", json!(response.status));
        add("resp_ts_first", seconds(response.arrived.first_ns));
        add("resp_ts_last", seconds(response.arrived.last_ns));
        add("response_body_len", json!(response.body_bytes));
    }
    add("latency_ttfb", maybe_seconds(found.ttfb_ns()));
    add("latency_total", maybe_seconds(found.total_ns()));
    fields
}
