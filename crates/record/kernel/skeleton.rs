//! The generated skeletons: how the BPF objects are opened and loaded, and the
//! Rust types of `bpf/tcprec.h`.

#![allow(
    clippy::all,
    clippy::expect_used,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    unused_qualifications
)]

pub(super) mod packets {
    include!(concat!(env!("OUT_DIR"), "/packets.skel.rs"));
}

pub(super) mod events {
    include!(concat!(env!("OUT_DIR"), "/events.skel.rs"));
}

pub(super) mod top {
    include!(concat!(env!("OUT_DIR"), "/top.skel.rs"));
}

pub(super) mod tracepoints {
    include!(concat!(env!("OUT_DIR"), "/tracepoints.skel.rs"));
}
