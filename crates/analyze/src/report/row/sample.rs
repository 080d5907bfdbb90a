//! Rows with every field that there can be: what their fields are called is told
//! by them, so that no list of names has to be kept beside.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::Value;
use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::{ProcessId, Provenance, TcpFacts};

use super::{Conn, FindingRow, Http, Names};
use crate::app::{
    self, Alert, Arrived, Asked, CipherSuite, Completion, Goaway, GoawayError, RequestMessage,
    ResponseMessage, Stream, StreamReset, Tls, Version,
};
use crate::finding::{Finding, FindingKind};
use crate::gaps::Incomplete;
use crate::owner::KernelFacts;
use crate::report::{Connection, EndFacts, Outcome, OwnerId, Request};
use crate::tcp::{
    self, Analysis, ConnState, ConnectionId, End, RoundTrips, Stall, StallCause, SynOptions,
};
use crate::timing::Timing;

const ANYONE: Endpoint = Endpoint {
    addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    port: 0,
};

const AT_ONCE: Arrived = Arrived {
    first_ns: 0,
    last_ns: 0,
    paused_ns: 0,
    pauses: 0,
};

/// Everybody has a name.
struct Named;

impl Names for Named {
    fn comm(&self, _: ProcessId) -> Option<&str> {
        Some("")
    }
}

/// A row of each kind that a condition may be about.
pub(crate) fn rows() -> Vec<Value> {
    let connection = connection();
    let request = request(&connection);
    let finding = finding(&connection);
    let names = &Named;
    let rows = [
        serde_json::to_value(Conn {
            names,
            connection: &connection,
        }),
        serde_json::to_value(Http {
            names,
            request: &request,
        }),
        serde_json::to_value(FindingRow {
            names,
            finding: &finding,
        }),
    ];
    rows.into_iter().filter_map(Result::ok).collect()
}

/// A connection of which everything is known.
pub(crate) fn connection() -> Connection {
    let facts = EndFacts {
        owner: Some(OwnerId {
            process: ProcessId {
                pid: 0,
                start_ns: 0,
            },
            provenance: Provenance::Connect,
            is_elsewhere: false,
        }),
        kernel: Some(KernelFacts {
            // Other than the wire's, so that the row says why.
            retransmits: 1,
            tcp: Some(TcpFacts {
                srtt_ns: 1, // none where it is 0
                ..TcpFacts::default()
            }),
            ..KernelFacts::default()
        }),
    };
    Connection {
        tcp: tcp_connection(),
        netns: Some(0),
        incomplete: Incomplete {
            packets: true,
            events: true,
            end: true,
        },
        orig: facts,
        resp: facts,
    }
}

fn tcp_connection() -> tcp::Connection {
    tcp::Connection {
        id: ConnectionId(0),
        scope: 0,
        orig: end(),
        resp: end(),
        first_ns: 0,
        last_ns: 0,
        left_ns: None,
        duration_ns: 0,
        state: ConnState::Sf,
        history: Default::default(),
        missed_bytes: 0,
        syn_synack_ns: Some(0),
        synack_ack_ns: Some(0),
        initial_rtt_ns: Some(0),
        syn_ns: Some(0),
        established_ns: Some(0),
        stalls: stalls(),
        delays: Vec::new(),
        bursts: Vec::new(),
        reused_ports: false,
        reused_after_ns: None,
        requests: 0,
        tls: Some(Box::new(Tls {
            client: ANYONE,
            offered_version: Some(Version(0)),
            version: Some(Version(0)),
            server_name: Some(String::new()),
            offered_alpn: vec![String::new()],
            alpn: Some(String::new()),
            cipher: Some(CipherSuite(0)),
            is_retried: false,
            is_resumed: Some(false),
            asks_certificate: Some(false),
            first_ns: Some(0),
            finished_ns: Some(0),
            is_established: false,
            alerts: vec![Alert {
                ts_ns: Some(0),
                by_client: true,
                level: 0,
                description: 0,
            }],
            client_encrypted_alerts: 0,
            server_encrypted_alerts: 0,
        })),
        goaway: Some(Box::new(Goaway {
            end: ANYONE,
            error: GoawayError {
                code: 0,
                said: String::new(),
                at_ns: None,
            },
        })),
        turns: Some(Box::default()),
        farewell: Default::default(),
    }
}

fn end() -> End {
    End {
        endpoint: ANYONE,
        last_ns: None,
        cookie: None,
        packets: 0,
        data_packets: 0,
        bytes: 0,
        wire_bytes: 0,
        uniq_bytes: 0,
        gap_bytes: 0,
        unseen_bytes: 0,
        unacknowledged_bytes: 0,
        ip_bytes: 0,
        syn_packets: 0,
        fin_packets: 0,
        rst_packets: 0,
        zero_window_packets: 0,
        retransmitted_packets: 0,
        duplicate_packets: 0,
        late_packets: 0,
        syn_options: Some(SynOptions {
            mss: Some(0),
            window_scale: Some(0),
            sack_permitted: Some(false),
            timestamps: Some(false),
        }),
        is_multipath: false,
        foreign_ttl: None,
        analysis: Analysis::default(),
        round_trips: Some(RoundTrips {
            count: 0,
            min_ns: 0,
            max_ns: 0,
            sum_ns: 0,
        }),
    }
}

fn stalls() -> Vec<Stall> {
    vec![Stall {
        by_orig: true,
        cause: StallCause::Timeout,
        from_ns: 0,
        sent_ns: 0,
        to_ns: 0,
        is_open: false,
        payload_bytes: 0,
        at_byte: 0,
    }]
}

pub(crate) fn request(connection: &Connection) -> Request {
    Request {
        app: app::Request {
            connection: ConnectionId(0),
            index: 0,
            client: ANYONE,
            server: ANYONE,
            request: Some(RequestMessage {
                asked: Arc::new(Asked {
                    method: Some("".into()),
                    target: Some("".into()),
                    version: Some("".into()),
                    host: Some("".into()),
                    user_agent: Some("".into()),
                }),
                arrived: AT_ONCE,
                body_bytes: Some(0),
                completion: Completion::Seen,
            }),
            response: Some(ResponseMessage {
                status: Some(0),
                arrived: AT_ONCE,
                body_bytes: Some(0),
                completion: Completion::Seen,
                is_endless: false,
            }),
            may_be_answered: false,
            stream: Some(Stream {
                id: 0,
                is_pushed: true,
                grpc_status: Some(0),
                reset: Some(StreamReset {
                    by_client: true,
                    code: 0,
                    at_ns: None,
                }),
                lacks_frames: true,
            }),
        },
        ends: connection.ends(),
        // Where packets are missing, not all times are told.
        incomplete: Incomplete {
            packets: false,
            end: false,
            ..connection.incomplete
        },
        timing: Some(Timing {
            connect_ns: Some(0),
            send_ns: 0,
            wait_ns: 0,
            network_ns: Some(0),
            receive_ns: 0,
            stalled_ns: 0,
            stalls: stalls(),
        }),
    }
}

pub(crate) fn finding(connection: &Connection) -> Finding {
    Finding {
        kind: FindingKind::Refused,
        count: 0,
        elsewhere: 0,
        ends: connection.ends(),
        by_orig: Some(true),
        acting: Some(ProcessId {
            pid: 0,
            start_ns: 0,
        }),
        is_foreign: true,
        ttls: Some([0, 0]),
        first_ns: 0,
        last_ns: 0,
        of_several: true,
        of_many_ports: true,
        of_many_clients: true,
        of_many_servers: true,
        at_byte: Some(0),
        packets: Some(0),
        silence_ns: Some(0),
        segment_bytes: Some(0),
        error: Some(String::new()),
        route: Some(String::new()),
        outcome: Some(Outcome::GrpcFailed(Some(0), 0)),
        answers: Some(0),
    }
}
