//! The options of a SYN (RFC 9293 section 3.1).

use super::SynOptions;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

impl SynOptions {
    /// Reads them as far as they were captured and make sense.
    pub(super) fn read(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NO_OPERATION => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&length) = rest.first() else { break };
            let Some((option, next)) = bytes.split_at_checked(usize::from(length)) else {
                break;
            };
            match *option {
                [MAXIMUM_SEGMENT_SIZE, _, high, low] => {
                    options.mss = Some(u16::from_be_bytes([high, low]));
                }
                [WINDOW_SCALE, _, shift] => options.window_scale = Some(shift),
                [SACK_PERMITTED, _] => options.sack_permitted = true,
                [TIMESTAMPS, _, ..] if option.len() == 10 => options.timestamps = true,
                // A length that leaves no room for itself.
                [] | [_] => break,
                _ => {}
            }
            bytes = next;
        }
        options
    }
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
}
