//! The blocks of packets. Nearly all blocks of a capture are, so they are laid
//! out here and not by way of `pcap_file`'s lists of options; the tests hold
//! them against what it lays out. Also what any such block begins and ends with.

use pcap_file::pcapng::blocks::ENHANCED_PACKET_BLOCK;
use pcap_file::pcapng::blocks::opt_common::COMMENT;

use crate::record::Direction;

use super::body::option;
use super::flags;

/// Process and thread of a packet; 0 is no thread.
const EPB_PROCESSID_THREADID: u16 = 8;

/// Place of a packet's process among the process blocks (libpcap of Apple, pcapng.h).
const EPB_DARWIN_PROCESS: u16 = 0x8001;

const END_OF_OPTIONS: [u8; 4] = [0; 4];

/// What a block says of a packet beside its options.
pub(super) struct Fields<'a> {
    /// Place of its interface among the blocks.
    pub(super) interface: u32,
    pub(super) ts_ns: i64,
    pub(super) wire_bytes: u32,
    pub(super) data: &'a [u8],
    /// Packets lost since the one before.
    pub(super) dropped: u64,
}

/// Appends a block with options that [`write_options()`] wrote.
pub(super) fn write(out: &mut Vec<u8>, fields: &Fields<'_>, options: &[u8]) {
    let Fields {
        interface,
        ts_ns,
        wire_bytes,
        data,
        dropped,
    } = *fields;
    let start = out.len();
    // All 64 bits, so that reading gives back a time before 1970.
    let ticks = ts_ns.cast_unsigned();
    let head = [
        ENHANCED_PACKET_BLOCK,
        0,
        interface,
        (ticks >> 32) as u32,
        ticks as u32,
        data.len() as u32,
        wire_bytes,
    ];
    out.extend_from_slice(head.map(u32::to_le_bytes).as_flattened());
    out.extend_from_slice(data);
    pad(out, start);
    if dropped > 0 {
        push_option(out, option::EPB_DROPCOUNT, &dropped.to_le_bytes());
    }
    out.extend_from_slice(options);
    if dropped > 0 || !options.is_empty() {
        out.extend_from_slice(&END_OF_OPTIONS);
    }
    end(out, start);
}

/// Begins a block: its type, and room for its length.
pub(super) fn begin(out: &mut Vec<u8>, kind: u32) -> usize {
    let start = out.len();
    out.extend_from_slice([kind, 0].map(u32::to_le_bytes).as_flattened());
    start
}

/// Ends the block that began at `start`: its length stands at both ends.
pub(super) fn end(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start + size_of::<u32>()) as u32;
    let length = length.to_le_bytes();
    out.extend_from_slice(&length);
    if let Some(at) = out.get_mut(start + 4..start + 8) {
        at.copy_from_slice(&length);
    }
}

/// Appends the options of a packet: those that all packets of one way of a
/// connection have in common.
pub(super) fn write_options(
    out: &mut Vec<u8>,
    direction: Option<Direction>,
    sender_pid: Option<u32>,
    process_place: Option<u32>,
    comment: &[u8],
) {
    if let Some(direction) = direction {
        let flags = match direction {
            Direction::In => flags::INBOUND,
            Direction::Out => flags::OUTBOUND,
        };
        push_option(out, option::EPB_FLAGS, &flags.to_le_bytes());
    }
    if let Some(pid) = sender_pid {
        push_option(out, EPB_PROCESSID_THREADID, &u64::from(pid).to_le_bytes());
    }
    if let Some(place) = process_place {
        push_option(out, EPB_DARWIN_PROCESS, &place.to_le_bytes());
    }
    push_option(out, COMMENT, comment);
}

/// Appends an option; one that is empty or too long is left out.
pub(super) fn push_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    if let Ok(len @ 1..) = u16::try_from(value.len()) {
        let start = out.len();
        out.extend_from_slice([code, len].map(u16::to_le_bytes).as_flattened());
        out.extend_from_slice(value);
        pad(out, start);
    }
}

/// Fills up to a multiple of four bytes, counted from `start`.
pub(super) fn pad(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    let padding = len.next_multiple_of(4) - len;
    out.extend_from_slice(&END_OF_OPTIONS[..padding]);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use byteorder_slice::LittleEndian;
    use pcap_file::DataLink;
    use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
    use pcap_file::pcapng::blocks::interface_description::{
        InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
    };
    use pcap_file::pcapng::blocks::opt_common::{CommonOption, UnknownOption};
    use pcap_file::pcapng::{PcapNgBlock as _, PcapNgState};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pcap_file_lays_it_out_the_same(
            ts_ns in any::<i64>(),
            data in proptest::collection::vec(any::<u8>(), 0..70),
            beyond in 0_u32..9,
            dropped in 0_u64..2,
            is_out in any::<Option<bool>>(),
            pid in any::<Option<u32>>(),
            place in any::<Option<u32>>(),
            comment in "[a-zé]{0,9}",
        ) {
            let direction = is_out.map(|is_out| if is_out { Direction::Out } else { Direction::In });
            let wire_bytes = data.len() as u32 + beyond;
            let mut options = Vec::new();
            write_options(&mut options, direction, pid, place, comment.as_bytes());
            let mut ours = Vec::new();
            let fields = Fields { interface: 0, ts_ns, wire_bytes, data: &data, dropped };
            write(&mut ours, &fields, &options);

            let other = |code, value: &[u8]| {
                let option = UnknownOption::new(code, value).into_owned();
                EnhancedPacketOption::Common(CommonOption::Unknown(option))
            };
            let flags = is_out.map(|is_out| if is_out { 2 } else { 1 });
            let comment = (!comment.is_empty()).then(|| CommonOption::Comment(comment.into()));
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_nanos(ts_ns.cast_unsigned()),
                original_len: wire_bytes,
                data: Cow::Borrowed(&data),
                options: [
                    (dropped > 0).then_some(EnhancedPacketOption::DropCount(dropped)),
                    flags.map(EnhancedPacketOption::Flags),
                    pid.map(|pid| other(8, &u64::from(pid).to_le_bytes())),
                    place.map(|place| other(0x8001, &place.to_le_bytes())),
                    comment.map(EnhancedPacketOption::Common),
                ]
                .into_iter()
                .flatten()
                .collect(),
            };
            let mut state = PcapNgState::default();
            state.update_from_block(&InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO)],
            }.into_block());
            let mut theirs = Vec::new();
            block.into_block().write_to::<LittleEndian, _>(&state, &mut theirs).unwrap();
            prop_assert_eq!(ours, theirs);
        }
    }
}
