//! What peers say, as text.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// So many texts are remembered, to be found again.
const MAX_TEXTS: usize = 1024;

/// Longer ones are not.
const MAX_TEXT_BYTES: usize = 256;

/// Bytes as text; those that are no UTF-8 as `\xff`.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly all is UTF-8, and that is quickly seen.
    if let Ok(text) = str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.into()
}

/// Texts that were met lately: most are met again and again, and then take no
/// memory of their own.
#[derive(Debug, Default)]
pub(super) struct Texts {
    hash: RandomState,
    /// Each at the place that its hash tells; another one may take it.
    known: Vec<Option<Arc<str>>>,
}

impl Texts {
    /// The text of bytes, as [`text`] makes it.
    pub(super) fn get(&mut self, bytes: &[u8]) -> Arc<str> {
        if bytes.len() > MAX_TEXT_BYTES {
            return text(bytes).into();
        }
        self.known.resize(MAX_TEXTS, None);
        let place = self.hash.hash_one(bytes) as usize % MAX_TEXTS;
        match self.known.get_mut(place) {
            Some(Some(known)) if known.as_bytes() == bytes => Arc::clone(known),
            Some(known) => Arc::clone(known.insert(text(bytes).into())),
            None => text(bytes).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_their_bytes_say_and_are_shared() {
        let mut texts = Texts::default();
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for _ in 0..2 {
            for number in 0..2 * MAX_TEXTS {
                assert_eq!(
                    &*texts.get(number.to_string().as_bytes()),
                    number.to_string()
                );
            }
            assert_eq!(&*texts.get(b"a\xff"), "a\\xff");
            assert_eq!(&*texts.get(long.as_bytes()), long);
        }
        let [one, other] = [texts.get(b"example.org"), texts.get(b"example.org")];
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(texts.known.len(), MAX_TEXTS);
    }
}
