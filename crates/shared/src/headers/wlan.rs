//! IEEE 802.11 data frames, and what capturing programs put before them.

use super::rest::Rest;
use super::{Layer, Other, Step};

/// A frame.
pub(super) fn frame(rest: Rest<'_>) -> Step<'_> {
    padded_frame(rest, false)
}

/// A frame whose header may be padded to a multiple of 4 bytes.
fn padded_frame(rest: Rest<'_>, padded: bool) -> Step<'_> {
    const DATA: u8 = 2;
    let [control, flags] = rest.bytes(0)?;
    let (kind, subtype) = (control >> 2 & 3, control >> 4);
    let (is_null, is_qos) = (subtype & 4 != 0, subtype & 8 != 0);
    let (between_stations, protected, ordered) =
        (flags & 3 == 3, flags & 0x40 != 0, flags & 0x80 != 0);
    if kind != DATA || is_null || protected {
        return Err(Other::NotTcp);
    }
    let mut header_bytes = 24;
    if between_stations {
        header_bytes += 6;
    }
    let mut is_aggregate = false;
    if is_qos {
        is_aggregate = rest.u8(header_bytes)? & 0x80 != 0;
        header_bytes += 2;
        if ordered {
            header_bytes += 4;
        }
    }
    if padded {
        header_bytes = header_bytes.next_multiple_of(4);
    }
    // Of the packets in an aggregate (A-MSDU) the first is taken: a record is
    // one packet. Its own header has two addresses and a length.
    if is_aggregate {
        header_bytes += 14;
    }
    Ok((Layer::Llc, rest.skip(header_bytes)?))
}

/// A frame behind a [radiotap](https://www.radiotap.org) header.
pub(super) fn radiotap(rest: Rest<'_>) -> Step<'_> {
    const TSFT: u8 = 0x01;
    const FLAGS: u8 = 0x02;
    const MORE_WORDS: u8 = 0x80;
    const DATA_PADDED: u8 = 0x20;
    let [_, _, l0, l1, present, ..] = rest.bytes::<8>(0)?;
    let header_bytes = u16::from_le_bytes([l0, l1]).into();
    let mut padded = false;
    if present & FLAGS != 0 {
        // The fields stand behind the last word of the bitmap, each aligned to its size.
        let mut at = 4;
        while rest.u8(at + 3)? & MORE_WORDS != 0 {
            at += 4;
        }
        at += 4;
        if present & TSFT != 0 {
            at = at.next_multiple_of(8) + 8;
        }
        padded = rest.u8(at)? & DATA_PADDED != 0;
    }
    padded_frame(rest.skip(header_bytes)?, padded)
}

/// A frame behind a Prism or an AVS header. Both have their length behind
/// their first 4 bytes: AVS in network byte order, Prism in that of the host.
pub(super) fn prism(rest: Rest<'_>) -> Step<'_> {
    let length = rest.bytes(4).map(u32::from_be_bytes)?;
    let header_bytes = length.min(length.swap_bytes());
    frame(rest.skip(usize::try_from(header_bytes).unwrap_or(usize::MAX))?)
}
