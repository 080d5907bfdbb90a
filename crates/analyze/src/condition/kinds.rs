//! What a field can be compared with.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;
use strum::VariantNames as _;

use super::{Comparison, Literal, full_name, moment};
use crate::finding::FindingKind;
use crate::tcp::ConnState;

/// Fields that have one of these words.
const WORDS: [(&str, &[&str]); 4] = [
    ("conn_state", ConnState::VARIANTS),
    ("end", &["orig", "resp"]),
    ("finding", FindingKind::VARIANTS),
    ("kind", &["conn", "http", "finding"]),
];

/// What the values of a field are. Some are this in one row and that in another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kinds {
    number: bool,
    /// The numbers are moments.
    moment: bool,
    text: bool,
    /// The texts are addresses.
    address: bool,
    truth: bool,
    /// The only texts that there are; none where any text may be.
    words: Option<&'static [&'static str]>,
}

impl Kinds {
    /// Of a field of this name that has values like these.
    pub(super) fn of(name: &str, values: &[Value]) -> Self {
        let mut kinds = Self::default();
        for value in values {
            kinds.add(value);
        }
        let words = WORDS.iter().find(|(field, _)| *field == full_name(name));
        Self {
            moment: kinds.number && moment::is_name_of_one(name),
            words: words.map(|(_, words)| *words),
            ..kinds
        }
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Number(_) => self.number = true,
            Value::String(text) => {
                self.text = true;
                self.address = text.parse::<IpAddr>().is_ok();
            }
            Value::Bool(_) => self.truth = true,
            // Those of a list are compared one by one.
            Value::Array(all) => all.iter().for_each(|one| self.add(one)),
            Value::Null | Value::Object(_) => {}
        }
    }

    pub(super) fn takes(self, comparison: Comparison) -> bool {
        self.text || comparison != Comparison::Contains
    }

    /// What a word means, or a text in quotes; none where no value can be like it.
    pub(super) fn literal(
        self,
        comparison: Comparison,
        text: &str,
        is_quoted: bool,
    ) -> Option<Literal> {
        let is_whole = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        if self.address && is_whole {
            return text.parse().ok().map(Literal::Network);
        }
        if self.moment
            && let Ok(moment) = text.parse()
        {
            return Some(Literal::Moment(moment));
        }
        if !is_quoted {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            match (text, number) {
                ("true", _) if self.truth => return Some(Literal::Bool(true)),
                ("false", _) if self.truth => return Some(Literal::Bool(false)),
                (_, Some(number)) if self.number => return Some(Literal::Number(number)),
                _ => {}
            }
        }
        let may_be = !is_whole || self.words.is_none_or(|words| words.contains(&text));
        (self.text && may_be).then(|| Literal::Text(text.to_owned()))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.number && !self.moment, "a number"),
            (self.moment, moment::FORMS),
            (self.text && !self.address, "a text"),
            (self.address, "an address, or several as 10.0.0.0/8"),
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
