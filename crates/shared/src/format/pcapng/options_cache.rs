//! What the options of packets came to, kept for the packets that follow on
//! the same way of a connection. Which packets those are is told by the number
//! of their annotation.

use crate::record::Direction;

/// As many are kept: those of the annotations with the latest numbers, and
/// older ones as long as no later one takes their place.
const MAX_KEPT: usize = 1 << 14;

/// What packets have in common whose options are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The number of the annotation.
    pub(super) annotation: u64,
    pub(super) direction: Option<Direction>,
    pub(super) cookie: Option<u64>,
    /// How many blocks tell of processes: options refer to the latest.
    pub(super) process_blocks: u32,
}

/// Options by the way that has them.
#[derive(Debug, Default)]
pub(super) struct OptionsCache(Vec<(Option<Key>, Vec<u8>)>);

impl OptionsCache {
    /// The options of packets of this way.
    pub(super) fn get(&self, way: &Key) -> Option<&[u8]> {
        let (kept, options) = self.0.get(place(way))?;
        (kept.as_ref() == Some(way)).then_some(options)
    }

    /// Keeps the options of packets of this way.
    pub(super) fn keep(&mut self, way: Key, options: &[u8]) {
        let place = place(&way);
        if self.0.len() <= place {
            self.0.resize_with(place + 1, Default::default);
        }
        let (kept, room) = &mut self.0[place];
        *kept = Some(way);
        room.clear();
        room.extend_from_slice(options);
    }
}

fn place(way: &Key) -> usize {
    way.annotation as usize % MAX_KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_one_takes_the_place_of_one_that_is_much_older() {
        let way = |annotation| Key {
            annotation,
            direction: None,
            cookie: None,
            process_blocks: 0,
        };
        let mut kept = OptionsCache::default();
        let later = 7 + MAX_KEPT as u64;
        for annotation in [7, 8, later] {
            kept.keep(way(annotation), &[annotation as u8]);
        }
        assert_eq!(kept.get(&way(8)), Some(&[8][..]));
        assert_eq!(kept.get(&way(later)), Some(&[later as u8][..]));
        assert_eq!(kept.get(&way(7)), None);
        let other = Key {
            process_blocks: 1,
            ..way(8)
        };
        assert_eq!(kept.get(&other), None);
    }
}
