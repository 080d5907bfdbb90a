//! What is said of TLS and of HTTP/2, held against what tshark says of the same
//! packets: recordings of our own, `fixtures/tls` and `fixtures/http2`, with
//! what tshark said, written by `record.sh` beside them.

#![allow(clippy::panic, clippy::unwrap_used)] // a failure here is a test's

mod http2;
mod tls;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A fixture that has what tshark said; none in the package alone, without its
/// repository.
struct Fixture(PathBuf);

impl Fixture {
    fn find(name: &str) -> Option<Self> {
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        Some(Self(fixtures.join(name))).filter(|fixture| fixture.0.is_dir())
    }

    /// What tshark said.
    fn tshark(&self) -> Vec<Value> {
        objects(&fs::read_to_string(self.0.join("tshark.jsonl")).unwrap())
    }

    /// The rows of a kind that the report of a capture has.
    fn rows(&self, capture: &str, kind: &str) -> Vec<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_tcprec-analyze"))
            .args(["analyze", "--format=jsonl"])
            .arg(self.0.join(capture))
            .output()
            .unwrap();
        let mut rows = objects(&String::from_utf8(output.stdout).unwrap());
        rows.retain(|row| row["kind"] == kind);
        rows
    }
}

fn objects(lines: &str) -> Vec<Value> {
    let objects = lines.lines().map(serde_json::from_str);
    objects.collect::<Result<_, _>>().unwrap()
}

/// Seconds since the epoch, or between two moments.
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
