//! TCP connections from segments.
//!
//! [`Tracker`] takes the segments of a capture in file order and gives each
//! connection, and the requests on it, to an [`Observer`] once it is finished;
//! [`Fragments`] puts segments together that came in pieces.
//! Numbers have the definitions of Zeek and Wireshark, named where they are
//! computed. Reports and owners are others' to make.

mod analysis;
mod bursts;
mod connection;
mod direction;
mod ends;
mod fragments;
mod handshake;
mod history;
mod holes;
mod live;
mod nagle;
pub(crate) mod options;
mod packet;
mod pair;
mod ports;
mod ranges;
mod rare;
mod seq;
mod stalls;
mod state;
mod tracker;
mod turns;
mod unacked;
mod waiting;
mod waits;

pub(crate) use pair::{Pair, Side};

pub use connection::{
    Analysis, Burst, ConnState, Connection, ConnectionId, Delays, End, Probes, RoundTrips, Stall,
    StallCause, SynOptions,
};
pub use fragments::{Fragments, Whole};
pub use ports::Served;
pub use tracker::{Limits, Observer, Seen, Tracker, Unfinished};
pub use turns::{Farewell, Turn, Turns};
pub use waits::Waits;

#[cfg(test)]
mod tests;
