//! The options of a packet (RFC 9293 section 3.1): those of a SYN, and of an ACK what it
//! says of packets that came twice.

use std::iter;

use super::SynOptions;
use super::seq::Seq;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

impl SynOptions {
    /// Reads them as far as they were captured and make sense.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut options = Self::default();
        for option in each(bytes) {
            match *option {
                [MAXIMUM_SEGMENT_SIZE, _, high, low] => {
                    options.mss = Some(u16::from_be_bytes([high, low]));
                }
                [WINDOW_SCALE, _, shift] => options.window_scale = Some(shift),
                [SACK_PERMITTED, _] => options.sack_permitted = true,
                [TIMESTAMPS, _, ..] if option.len() == 10 => options.timestamps = true,
                _ => {}
            }
        }
        options
    }
}

/// What an ACK says to have come twice: the numbers from the first to one past the last.
/// It is the first block of SACK where that is below the ACK (RFC 2883 section 4).
pub(super) fn came_twice(options: &[u8], ack: Seq) -> Option<(Seq, Seq)> {
    let block = each(options).find_map(|option| match *option {
        [SACK, _, a, b, c, d, e, f, g, h, ..] => Some(([a, b, c, d], [e, f, g, h])),
        _ => None,
    })?;
    let [begin, end] = [block.0, block.1].map(|edge| Seq(u32::from_be_bytes(edge)));
    (end.since(begin) > 0 && end.since(ack) <= 0).then_some((begin, end))
}

/// Each option with its kind and its length, as far as they were captured and make
/// sense.
fn each(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        while let [NO_OPERATION, rest @ ..] = bytes {
            bytes = rest;
        }
        let [kind, length, ..] = *bytes else {
            return None;
        };
        // A length has to leave room for itself.
        let is_one = kind != END && length >= 2;
        let (option, rest) = bytes.split_at_checked(length.into()).filter(|_| is_one)?;
        bytes = rest;
        Some(option)
    })
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
            sack_permitted: true,
            timestamps: true,
        };
        assert_eq!(SynOptions::read(&bytes), options);
    }

    #[test]
    fn up_to_what_makes_no_sense() {
        for end in [&[2, 0][..], &[3, 1], &[8, 200, 1], &[2], &[0, 4, 2]] {
            let bytes = [&[2, 4, 5, 180][..], end].concat();
            let options = SynOptions {
                mss: Some(1460),
                ..SynOptions::default()
            };
            assert_eq!(SynOptions::read(&bytes), options);
        }
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
