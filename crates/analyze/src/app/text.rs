//! What peers say, as text.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Asked;

/// So many texts are remembered, to be found again.
const MAX_TEXTS: usize = 1024;

/// Longer ones are not.
const MAX_TEXT_BYTES: usize = 256;

/// Nor is what was asked with more.
const MAX_ASKED_BYTES: usize = 1024;

/// Bytes as text; those that are no UTF-8 as `\xff`.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly all is UTF-8, and that is quickly seen.
    if let Ok(text) = str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text.into()
}

/// Texts that were met lately, and what was asked with them: most are met again and
/// again, and then take no memory of their own. Each is at the place that its hash
/// tells; another one may take it.
#[derive(Debug, Default)]
pub(super) struct Texts {
    hash: RandomState,
    known: Vec<Option<Arc<str>>>,
    asked: Vec<Option<Arc<Asked>>>,
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

    /// What was asked with `parts`: what was met lately if it `is_same`, or is made.
    pub(super) fn asked(
        &mut self,
        parts: &impl Hash,
        is_same: impl Fn(&Asked) -> bool,
        make: impl FnOnce(&mut Self) -> Asked,
    ) -> Arc<Asked> {
        self.asked.resize(MAX_TEXTS, None);
        let place = self.hash.hash_one(parts) as usize % MAX_TEXTS;
        if let Some(Some(known)) = self.asked.get(place)
            && is_same(known)
        {
            return Arc::clone(known);
        }
        let made = Arc::new(make(self));
        if made.text_bytes() <= MAX_ASKED_BYTES
            && let Some(known) = self.asked.get_mut(place)
        {
            *known = Some(Arc::clone(&made));
        }
        made
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
