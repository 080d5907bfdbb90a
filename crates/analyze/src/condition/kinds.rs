//! What a field can be compared with.

use std::fmt;

use serde_json::Value;

use super::{Comparison, Literal};

/// What the values of a field are. Some are this in one row and that in another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kinds {
    number: bool,
    text: bool,
    truth: bool,
    /// The only texts that there are; none where any text may be.
    words: Option<&'static [&'static str]>,
}

impl Kinds {
    /// Of a field with these values; those of a list are compared one by one.
    pub(super) fn of(values: &[Value]) -> Self {
        let mut kinds = Self::default();
        for value in values {
            match value {
                Value::Number(_) => kinds.number = true,
                Value::String(_) => kinds.text = true,
                Value::Bool(_) => kinds.truth = true,
                Value::Array(all) => kinds = kinds.or(Self::of(all)),
                Value::Null | Value::Object(_) => {}
            }
        }
        kinds
    }

    /// The same of a field that has one of these words.
    pub(super) const fn with_words(self, words: &'static [&'static str]) -> Self {
        Self {
            words: Some(words),
            ..self
        }
    }

    const fn or(self, other: Self) -> Self {
        Self {
            words: self.words,
            number: self.number || other.number,
            text: self.text || other.text,
            truth: self.truth || other.truth,
        }
    }

    pub(super) fn takes(self, comparison: Comparison) -> bool {
        self.text || comparison != Comparison::Contains
    }

    /// What a word means; none where no value can be like it.
    pub(super) fn word(self, word: &str) -> Option<Literal> {
        let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
        match (word, number) {
            ("true", _) if self.truth => Some(Literal::Bool(true)),
            ("false", _) if self.truth => Some(Literal::Bool(false)),
            (_, Some(number)) if self.number => Some(Literal::Number(number)),
            _ => self.quoted(word),
        }
    }

    /// The same of a text in quotes.
    pub(super) fn quoted(self, text: &str) -> Option<Literal> {
        self.text.then(|| Literal::Text(text.to_owned()))
    }

    /// Whether a text is one that there may be, where it is to be the whole.
    pub(super) fn may_be(self, comparison: Comparison, text: &str) -> bool {
        let is_whole = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        !is_whole || self.words.is_none_or(|words| words.contains(&text))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.number, "a number"),
            (self.text, "a text"),
            (self.truth, "true or false"),
        ];
        if let Some(words) = self.words {
            return write!(f, "one of {}", words.join(", "));
        }
        let names = names.iter().filter_map(|(is, name)| is.then_some(*name));
        let names: Vec<_> = names.collect();
        match &names[..] {
            [] => f.write_str("there or not, without a value to compare"),
            names => f.write_str(&names.join(" or ")),
        }
    }
}
