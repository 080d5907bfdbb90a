//! What other tools say of a capture.

use std::fmt;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Map, Value};

/// A tool whose word is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Tshark,
    Zeek,
}

impl Tool {
    /// The tool that an expectation is of, by its file's name.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name.ends_with(".tshark.jsonl") {
            Some(Self::Tshark)
        } else if name.ends_with(".zeek.jsonl") {
            Some(Self::Zeek)
        } else {
            None
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tshark => "tshark",
            Self::Zeek => "zeek",
        })
    }
}

/// One connection or request: fields by name.
pub(crate) type Fields = Map<String, Value>;

/// All that is expected or found of a capture. None is for a kind of record
/// that nothing is said of.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) connections: Option<Vec<Fields>>,
    pub(crate) requests: Option<Vec<Fields>>,
}

/// Reads an expectation.
pub(crate) fn read(path: &Path) -> Result<Records, Failed> {
    let text = fs::read_to_string(path)?;
    let mut records = Records::default();
    for line in text.lines() {
        let fields: Fields = serde_json::from_str(line)?;
        match fields.get("kind").and_then(Value::as_str) {
            // tshark's cover both kinds, Zeek's say which.
            Some("file") => {
                let has = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(true);
                if has("has_conn") {
                    records.connections.get_or_insert_default();
                }
                if has("has_http") {
                    records.requests.get_or_insert_default();
                }
            }
            Some("conn") => records.connections.get_or_insert_default().push(fields),
            Some("http") => records.requests.get_or_insert_default().push(fields),
            _ => {}
        }
    }
    Ok(records)
}
