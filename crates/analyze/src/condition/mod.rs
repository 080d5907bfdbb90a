//! Which rows of a report are wanted: a condition on their fields, as
//! `process == "nginx" and duration_ms > 100`.
//!
//! The fields are those of the rows as `report` writes them; here is what a
//! condition means, in `parse` how it is written.

mod kinds;
mod moment;
mod network;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use self::kinds::Kinds;
use self::moment::Moment;
use self::network::Network;
use crate::report::row::sample;

/// Shorter names for fields.
const ALIASES: [(&str, &str); 4] = [
    ("process", "comm"),
    ("state", "conn_state"),
    ("status", "status_code"),
    ("path", "uri"),
];

/// Names for fields of both ends that do not begin with the end.
const OF_ENDS: [(&str, [&str; 2]); 2] = [
    ("addr", ["id.orig_h", "id.resp_h"]),
    ("port", ["id.orig_p", "id.resp_p"]),
];

/// A condition on the fields of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: String,
    test: Test,
    /// What times of day are of.
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare(String, Comparison, Literal),
    /// The field is there, and neither null, 0, false nor empty.
    Holds(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Number(f64),
    Moment(Moment),
    Text(String),
    Network(Network),
    Bool(bool),
}

/// A condition that makes no sense, with the place shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the condition is wrong: {what}\n    {text}\n    {:column$}^", "")]
pub struct ConditionError {
    what: String,
    text: String,
    /// Where the caret stands, in characters.
    column: usize,
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let known = sample::rows();
        let kinds = |name: &str| {
            let values: Vec<_> = known.iter().flat_map(|row| values(row, name)).collect();
            (!values.is_empty()).then(|| Kinds::of(name, &values))
        };
        Ok(Self {
            text: text.to_owned(),
            test: parse::parse(text, kinds)?,
            zone: TimeZone::UTC,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// The same, where times of day are those of a time zone.
    pub(crate) fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// Whether a row is wanted. What it has no field for does not hold of it.
    pub(crate) fn holds(&self, row: &impl Serialize) -> bool {
        serde_json::to_value(row).is_ok_and(|row| self.test.holds(&row, &self.zone))
    }
}

impl Test {
    fn holds(&self, row: &Value, zone: &TimeZone) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(row, zone)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(row, zone)),
            Self::Not(test) => !test.holds(row, zone),
            Self::Holds(name) => values(row, name).iter().any(is_something),
            Self::Compare(name, comparison, literal) => values(row, name)
                .iter()
                .any(|found| compare(found, *comparison, literal, zone)),
        }
    }
}

/// The values of a field: of both ends where the name says neither. In
/// milliseconds where it ends so, and the row has seconds.
fn values(row: &Value, name: &str) -> Vec<Value> {
    let found = plain_values(row, name);
    if !found.is_empty() {
        return found;
    }
    let Some(seconds) = name.strip_suffix("_ms") else {
        return found;
    };
    let found = plain_values(row, seconds).into_iter();
    let milliseconds = found.map(|value| value.as_f64().map_or(value, |it| (it * 1e3).into()));
    milliseconds.collect()
}

/// The name of a field, of which this may be a shorter one.
fn full_name(name: &str) -> &str {
    let mut aliases = ALIASES.iter();
    aliases
        .find_map(|(short, name_of)| (*short == name).then_some(*name_of))
        .unwrap_or(name)
}

fn plain_values(row: &Value, name: &str) -> Vec<Value> {
    let name = full_name(name);
    if let Some(value) = field(row, name) {
        return vec![value.clone()];
    }
    let ends = OF_ENDS.iter().find(|(short, _)| *short == name);
    let ends = ends.map_or_else(
        || [format!("orig_{name}"), format!("resp_{name}")],
        |(_, ends)| ends.map(str::to_owned),
    );
    let found = ends.iter().filter_map(|name| field(row, name));
    found.cloned().collect()
}

/// A field, or one of an object that is one, as `tls.version`.
fn field<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    row.get(name).or_else(|| {
        let (object, name) = name.split_once('.')?;
        row.get(object)?.get(name)
    })
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(_) => true,
    }
}

fn compare(found: &Value, comparison: Comparison, literal: &Literal, zone: &TimeZone) -> bool {
    if let Value::Array(all) = found {
        return all
            .iter()
            .any(|one| compare(one, comparison, literal, zone));
    }
    let order = match (found, literal) {
        (Value::Number(number), Literal::Number(wanted)) => number
            .as_f64()
            .and_then(|number| number.partial_cmp(wanted)),
        (Value::Number(number), Literal::Moment(wanted)) => number
            .as_f64()
            .and_then(|seconds| wanted.order(seconds, zone)),
        (Value::String(text), Literal::Network(wanted)) => {
            let is_in = text.parse().is_ok_and(|addr| wanted.contains(addr));
            return is_in == (comparison == Comparison::Equal);
        }
        (Value::String(text), Literal::Text(wanted)) => {
            if comparison == Comparison::Contains {
                return text.contains(wanted.as_str());
            }
            Some(text.as_str().cmp(wanted))
        }
        (Value::Bool(is), Literal::Bool(wanted)) => Some(is.cmp(wanted)),
        _ => None,
    };
    order.is_some_and(|order| match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Unequal => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Contains => false,
    })
}

/// The names of all fields, for people.
#[must_use]
pub fn help() -> String {
    let mut names = BTreeSet::new();
    for row in sample::rows() {
        collect("", &row, &mut names);
    }
    let ends = |name: &str| {
        let rest = name.strip_prefix("orig_")?;
        names
            .contains(&format!("resp_{rest}"))
            .then(|| rest.to_owned())
    };
    let of_ends: BTreeSet<String> = names.iter().filter_map(|name| ends(name)).collect();
    let is_of_end = |name: &str| {
        let rest = name.strip_prefix("orig_").or(name.strip_prefix("resp_"));
        rest.is_some_and(|rest| of_ends.contains(rest))
    };
    let others = names.iter().filter(|name| !is_of_end(name));
    let others: Vec<_> = others.map(String::as_str).collect();
    let of_ends: Vec<_> = of_ends.iter().map(String::as_str).collect();
    format!(
        "Only connections, requests and findings that meet this condition, such as 'process == \
         \"nginx\" and duration_ms > 100', 'status >= 500' or 'state == REJ'. Operators: == != < \
         <= > >=, ~ (contains), and, or, not, parentheses. A comparison is false for a row \
         without the field. A field in seconds can be compared in milliseconds by adding _ms to \
         its name. process is comm, state is conn_state, status is status_code, path is uri; addr \
         and port match either end. A moment is HH:MM, HH:MM:SS.fff (of any day), YYYY-MM-DD, or \
         both as in 2026-11-30T14:03:05, in the time zone of the report, and covers the interval \
         of its precision: 'ts >= 14:03 and ts <= 14:05'. An address may be a network: 'addr == \
         10.0.0.0/8'.\n\n\
         Fields of each end, with orig_ or resp_ before the name, or without for either: \
         {}\n\nOther fields: {}",
        of_ends.join(", "),
        others.join(", ")
    )
}

fn collect(prefix: &str, row: &Value, names: &mut BTreeSet<String>) {
    for (name, value) in row.as_object().into_iter().flatten() {
        let name = format!("{prefix}{name}");
        if value.is_object() {
            collect(&format!("{name}."), value, names);
        } else {
            names.insert(name);
        }
    }
}
