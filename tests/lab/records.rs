//! The records of a capture in JSON lines, as any program reads them.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// All records of a file.
pub(crate) fn read(path: &Path) -> Vec<Value> {
    parse(&fs::read_to_string(path).expect("a capture"))
}

/// All records of a text.
pub(crate) fn parse(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Those of a type.
pub(crate) fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["type"] == kind)
        .collect()
}
