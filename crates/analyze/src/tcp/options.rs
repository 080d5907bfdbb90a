//! The options of a segment (RFC 9293 section 3.1): all of them, those of a SYN, and of an
//! ACK what it says of packets that came twice.

use std::iter;

use super::SynOptions;
use super::seq::Seq;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
pub(crate) const MAXIMUM_SEGMENT_SIZE: u8 = 2;
pub(crate) const WINDOW_SCALE: u8 = 3;
pub(crate) const SACK_PERMITTED: u8 = 4;
pub(crate) const SACK: u8 = 5;
pub(crate) const TIMESTAMPS: u8 = 8;
const MULTIPATH: u8 = 30;

/// What stands in a list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpOption<'a> {
    End,
    NoOperation,
    /// Any other, by its kind, and its value.
    Of(u8, &'a [u8]),
    /// Its length makes no sense.
    Malformed,
    /// It goes on behind what was captured; its kind, if that was.
    Cut(Option<u8>),
}

/// What stands in a list, up to its end or to what cannot be read; `is_cut` says that not
/// all of it was captured.
pub(crate) fn list(mut bytes: &[u8], mut is_cut: bool) -> impl Iterator<Item = TcpOption<'_>> {
    iter::from_fn(move || {
        let beyond = |kind| {
            if is_cut {
                TcpOption::Cut(Some(kind))
            } else {
                TcpOption::Malformed
            }
        };
        let (option, rest) = match *bytes {
            [] if is_cut => (TcpOption::Cut(None), None),
            [] => return None,
            [END, ..] => (TcpOption::End, None),
            [NO_OPERATION, ref rest @ ..] => (TcpOption::NoOperation, Some(rest)),
            // A length has to leave room for itself.
            [_, 0 | 1, ..] => (TcpOption::Malformed, None),
            [kind, length, ..] => match bytes.split_at_checked(length.into()) {
                Some(([_, _, value @ ..], rest)) => (TcpOption::Of(kind, value), Some(rest)),
                _ => (beyond(kind), None),
            },
            [kind] => (beyond(kind), None),
        };
        is_cut &= rest.is_some();
        bytes = rest.unwrap_or_default();
        Some(option)
    })
}

impl SynOptions {
    /// Reads them as far as they were captured and make sense.
    pub(super) fn read(bytes: &[u8], is_cut: bool) -> Self {
        let mut options = Self {
            sack_permitted: Some(false),
            timestamps: Some(false),
            ..Self::default()
        };
        for option in list(bytes, is_cut) {
            match option {
                TcpOption::Of(MAXIMUM_SEGMENT_SIZE, &[high, low]) => {
                    options.mss = Some(u16::from_be_bytes([high, low]));
                }
                TcpOption::Of(WINDOW_SCALE, &[shift]) => options.window_scale = Some(shift),
                TcpOption::Of(SACK_PERMITTED, []) => options.sack_permitted = Some(true),
                TcpOption::Of(TIMESTAMPS, [_, _, _, _, _, _, _, _]) => {
                    options.timestamps = Some(true);
                }
                TcpOption::Cut(kind) => {
                    // What was not seen so far may come there.
                    let is_known = |is_there, of| is_there == Some(true) || kind == Some(of);
                    let sack_permitted = is_known(options.sack_permitted, SACK_PERMITTED);
                    let timestamps = is_known(options.timestamps, TIMESTAMPS);
                    options.sack_permitted = sack_permitted.then_some(true);
                    options.timestamps = timestamps.then_some(true);
                }
                _ => {}
            }
        }
        options
    }
}

/// Whether one is of Multipath TCP.
pub(super) fn has_multipath(options: &[u8]) -> bool {
    list(options, false).any(|option| matches!(option, TcpOption::Of(MULTIPATH, _)))
}

/// What an ACK says to have come twice: the numbers from the first to one past the last.
/// It is the first block of SACK where that is below the ACK (RFC 2883 section 4).
pub(super) fn came_twice(options: &[u8], ack: Seq) -> Option<(Seq, Seq)> {
    let block = list(options, false).find_map(|option| match option {
        TcpOption::Of(SACK, blocks) => blocks.first_chunk(),
        _ => None,
    })?;
    let [begin, end] = two_numbers(*block).map(Seq);
    (end.since(begin) > 0 && end.since(ack) <= 0).then_some((begin, end))
}

/// The edges of a block of SACK (RFC 2018 section 3), or the two timestamps (RFC 7323
/// section 3).
pub(crate) fn two_numbers([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u32; 2] {
    [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_usual_syn() {
        let bytes = [
            2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let options = SynOptions {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: Some(true),
            timestamps: Some(true),
        };
        assert_eq!(SynOptions::read(&bytes, false), options);
    }

    #[test]
    fn up_to_what_makes_no_sense() {
        for end in [&[2, 0][..], &[3, 1], &[8, 200, 1], &[2], &[0, 4, 2]] {
            let bytes = [&[2, 4, 5, 180][..], end].concat();
            let options = SynOptions {
                mss: Some(1460),
                ..SynOptions::read(&[], false)
            };
            assert_eq!(SynOptions::read(&bytes, false), options);
        }
    }

    #[test]
    fn what_was_cut_off_may_have_been_there() {
        let syn = [
            2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let known = |captured: usize| {
            let options = SynOptions::read(&syn[..captured], true);
            (options.sack_permitted, options.timestamps)
        };
        assert_eq!(known(0), (None, None));
        assert_eq!(known(4), (None, None));
        assert_eq!(known(6), (Some(true), None));
        assert_eq!(known(14), (Some(true), Some(true)));
        let ended = SynOptions::read(&[2, 4, 5, 180, 0], true);
        assert_eq!(ended.timestamps, Some(false));
    }

    #[test]
    fn what_came_twice_stands_below_the_ack() {
        let of = |blocks: &[[u32; 2]]| {
            let mut bytes = vec![1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, SACK];
            bytes.push(2 + 8 * u8::try_from(blocks.len()).unwrap());
            bytes.extend(blocks.iter().flatten().flat_map(|edge| edge.to_be_bytes()));
            came_twice(&bytes, Seq(500)).map(|(begin, end)| [begin.0, end.0])
        };
        assert_eq!(of(&[[100, 200]]), Some([100, 200]));
        assert_eq!(of(&[[400, 500], [600, 700]]), Some([400, 500]));
        assert_eq!(of(&[[600, 700]]), None);
        assert_eq!(of(&[[600, 700], [100, 200]]), None);
        assert_eq!(of(&[[200, 100]]), None);
        assert_eq!(of(&[]), None);
    }
}
