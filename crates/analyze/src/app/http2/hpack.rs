//! Header compression (RFC 7541), read where it may have begun before the
//! capture, or lost something meanwhile.
//!
//! Entries of the dynamic table are numbered from the newest, so what came in
//! after a loss is found by its number, and what came before is not known: it
//! is given out as such, never as something else. Decoders of other crates end
//! at an entry that they do not have, and lose what follows.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

mod table;

use self::table::STATIC;
use crate::app::budget::{Budget, Share};

/// What an entry takes beside its texts (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// The size that a table has until its encoder says otherwise (RFC 9113
/// section 6.5.2).
const DEFAULT_TABLE_BYTES: usize = 4096;

/// A table is not made larger: older entries than fit are then not known.
const MAX_TABLE_BYTES: usize = 1 << 14;

/// Name and value of a field.
type Field<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// The dynamic table of one direction. Where there is no room for an entry, neither it nor
/// any before it is known.
#[derive(Debug)]
pub(super) struct Table {
    budget: Budget,
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    limit_bytes: usize,
}

/// An entry of the table.
#[derive(Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Box<[u8]>,
    /// What it takes of the table.
    bytes: usize,
    /// What it takes of the budget.
    _share: Share,
}

/// A block that makes no sense.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl Table {
    /// A table without entries.
    pub(super) const fn new(budget: Budget) -> Self {
        Self {
            budget,
            entries: VecDeque::new(),
            bytes: 0,
            limit_bytes: DEFAULT_TABLE_BYTES,
        }
    }

    /// Takes it that a header block was not seen, or not all of it.
    pub(super) fn lose(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Reads a header block, and gives the fields; `is_whole` says that its end
    /// was captured.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        is_whole: bool,
        give: impl FnMut(Option<&[u8]>, Option<&[u8]>),
    ) {
        if self.fields(block, give).is_err() || !is_whole {
            self.lose();
        }
    }

    fn fields(
        &mut self,
        mut block: &[u8],
        mut give: impl FnMut(Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), Malformed> {
        while let Some(&first) = block.first() {
            // RFC 7541 section 6: the first bits say what it is.
            if first & 0x80 != 0 {
                let (name, value) = self.get(number(&mut block, 7)?)?;
                give(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = number(&mut block, 5)?;
                self.limit_bytes = size.min(MAX_TABLE_BYTES);
                self.evict(0);
            } else {
                let is_kept = first & 0x40 != 0;
                let index = number(&mut block, if is_kept { 6 } else { 4 })?;
                let name = match index {
                    0 => Some(text(&mut block)?),
                    index => self.get(index)?.0.map(<[u8]>::to_vec),
                };
                let value = text(&mut block)?;
                give(name.as_deref(), Some(&value));
                if is_kept {
                    self.insert(name.as_deref(), &value);
                }
            }
        }
        Ok(())
    }

    /// Name and value of an entry, as far as they are known.
    fn get(&self, index: usize) -> Result<Field<'_>, Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((Some(name.as_bytes()), Some(value.as_bytes())));
        }
        let entry = self.entries.get(index - STATIC.len());
        Ok(entry.map_or((None, None), |entry| {
            (entry.name.as_deref(), Some(&*entry.value))
        }))
    }

    fn insert(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let bytes = name.map_or(0, <[u8]>::len) + value.len() + ENTRY_OVERHEAD;
        self.evict(bytes);
        if bytes > self.limit_bytes {
            return;
        }
        let mut share = self.budget.share();
        if !share.grow(bytes - ENTRY_OVERHEAD + size_of::<Entry>()) {
            return self.lose();
        }
        self.bytes += bytes;
        self.entries.push_front(Entry {
            name: name.map(Into::into),
            value: value.into(),
            bytes,
            _share: share,
        });
    }

    /// Makes room.
    fn evict(&mut self, bytes: usize) {
        while self.bytes + bytes > self.limit_bytes
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

/// A number whose first `bits` stand at the end of the first byte (RFC 7541
/// section 5.1).
fn number(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (&first, mut rest) = block.split_first().ok_or(Malformed)?;
    let most = (1usize << bits) - 1;
    let mut number = usize::from(first) & most;
    if number == most {
        // More than five bytes are more than any number that makes sense.
        for shift in [0, 7, 14, 21, 28, 35] {
            let (&byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            let part = u64::from(byte & 0x7f) << shift;
            let part = u32::try_from(part).map_err(|_| Malformed)?;
            number = number.checked_add(part as usize).ok_or(Malformed)?;
            if byte & 0x80 == 0 {
                *block = rest;
                return Ok(number);
            }
        }
        return Err(Malformed);
    }
    *block = rest;
    Ok(number)
}

/// A text (RFC 7541 section 5.2).
fn text(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let is_huffman = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = number(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if !is_huffman {
        return Ok(bytes.to_vec());
    }
    let mut text = Vec::with_capacity(bytes.len() * 2);
    httlib_huffman::decode(bytes, &mut text, DecoderSpeed::FourBits).map_err(|_| Malformed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn empty() -> Table {
        Table::new(Budget::new(1 << 20))
    }

    fn read(table: &mut Table, block: &[u8], is_whole: bool) -> Vec<String> {
        let mut fields = Vec::new();
        let word = |text: Option<&[u8]>| {
            text.map_or("?".into(), |text| {
                String::from_utf8_lossy(text).into_owned()
            })
        };
        table.read(block, is_whole, |name, value| {
            fields.push(format!("{}={}", word(name), word(value)));
        });
        fields
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter(|char| *char != ' ').collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// RFC 7541 appendix C.4.
    const REQUESTS: [&str; 3] = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];

    #[test]
    fn the_examples_of_the_rfc() {
        let mut table = empty();
        let fields = REQUESTS.map(|hex| read(&mut table, &bytes(hex), true));
        let first = [
            ":method=GET",
            ":scheme=http",
            ":path=/",
            ":authority=www.example.com",
        ];
        assert_eq!(fields[0], first);
        assert_eq!(
            fields[1],
            [&first[..], &["cache-control=no-cache"]].concat()
        );
        assert_eq!(
            fields[2],
            [
                ":method=GET",
                ":scheme=https",
                ":path=/index.html",
                ":authority=www.example.com",
                "custom-key=custom-value",
            ]
        );
        assert_eq!(table.bytes, 164);
        // Appendix C.6, in a table of 256 bytes: entries give way.
        let mut table = empty();
        read(&mut table, &bytes("3fe1 01"), true);
        let responses = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
             ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
        ];
        let fields = responses.map(|hex| read(&mut table, &bytes(hex), true));
        assert_eq!(
            fields[1],
            [
                ":status=307",
                "cache-control=private",
                "date=Mon, 21 Oct 2013 20:13:21 GMT",
                "location=https://www.example.com",
            ]
        );
        assert_eq!(table.bytes, 222);
    }

    #[test]
    fn what_came_before_a_loss_is_not_known() {
        let mut table = empty();
        read(&mut table, &bytes(REQUESTS[0]), true);
        table.lose();
        assert_eq!(
            read(&mut table, &bytes(REQUESTS[1]), true),
            [
                ":method=GET",
                ":scheme=http",
                ":path=/",
                "?=?",
                "cache-control=no-cache"
            ]
        );
        // What came after it is, by its number.
        assert_eq!(
            read(&mut table, &[0xbe, 0xbf], true),
            ["cache-control=no-cache", "?=?"]
        );
        // A value that is new, of a name that is not known; and then the entry.
        assert_eq!(
            read(&mut table, &[0x7f, 0, 1, b'a', 0xbe], true),
            ["?=a", "?=a"]
        );
    }

    #[test]
    fn without_a_budget_entries_are_not_known() {
        let mut table = Table::new(Budget::new(0));
        let first = read(&mut table, &bytes(REQUESTS[0]), true);
        assert_eq!(
            first.last().map(String::as_str),
            Some(":authority=www.example.com")
        );
        assert_eq!(read(&mut table, &[0xbe], true), ["?=?"]);
    }

    #[test]
    fn a_block_that_is_cut_gives_what_there_is() {
        let block = bytes(REQUESTS[2]);
        let whole = read(&mut empty(), &block, true);
        for kept in 0..block.len() {
            let mut table = empty();
            let fields = read(&mut table, &block[..kept], false);
            let known = fields
                .iter()
                .zip(&whole)
                .filter(|(a, b)| a == b || a.as_str() == "?=?");
            assert_eq!(known.count(), fields.len());
            assert!(table.entries.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_block(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..10)) {
            let mut table = empty();
            for block in blocks {
                read(&mut table, &block, true);
                prop_assert!(table.bytes <= table.limit_bytes);
                let bytes = table.entries.iter().map(|entry| entry.bytes);
                prop_assert_eq!(table.bytes, bytes.sum::<usize>());
            }
        }

        #[test]
        fn any_text(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut encoded = Vec::new();
            httlib_huffman::encode(&text, &mut encoded).unwrap();
            let mut block = vec![0, 0, 0x7f | 0x80];
            let mut length = encoded.len();
            if length < 127 {
                block[2] = 0x80 | u8::try_from(length).unwrap();
            } else {
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).unwrap() | 0x80);
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend(encoded);
            let mut values = Vec::new();
            empty().read(&block, true, |_, value| values.push(value.map(<[u8]>::to_vec)));
            prop_assert_eq!(values, [Some(text)]);
        }
    }
}
