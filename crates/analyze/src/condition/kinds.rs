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
}

impl Kinds {
    /// Of a field with these values; those of a list are compared one by one.
    pub(super) fn of(values: &[Value]) -> Self {
        values.iter().fold(Self::default(), |kinds, value| {
            let here = match value {
                Value::Number(_) => Self {
                    number: true,
                    ..kinds
                },
                Value::String(_) => Self {
                    text: true,
                    ..kinds
                },
                Value::Bool(_) => Self {
                    truth: true,
                    ..kinds
                },
                Value::Array(all) => kinds.or(Self::of(all)),
                Value::Null | Value::Object(_) => kinds,
            };
            kinds.or(here)
        })
    }

    const fn or(self, other: Self) -> Self {
        Self {
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
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.number, "a number"),
            (self.text, "a text"),
            (self.truth, "true or false"),
        ];
        let names = names.iter().filter_map(|(is, name)| is.then_some(*name));
        let names: Vec<_> = names.collect();
        match &names[..] {
            [] => f.write_str("there or not, without a value to compare"),
            names => f.write_str(&names.join(" or ")),
        }
    }
}
