//! The bytes of packets, as `print` shows them, are what tcpdump 4.99.3 showed of a fixture:
//! `TZ=UTC tcpdump -n -A -r input.pcap`, and the same with `-x` and `-X`.

#![allow(clippy::unwrap_used)] // a failure here is a test's

use std::path::Path;
use std::process::Command;

fn print(case: &str, options: &[&str]) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let output = Command::new(env!("CARGO_BIN_EXE_tcprec-analyze"))
        .args(["print", "--utc"])
        .args(options)
        .arg(fixtures.join(case).join("input.pcap"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bytes_are_shown_as_tcpdump_shows_them() {
    let text = include_str!("../../../fixtures/ethernet/tcpdump-text.txt");
    let hex = include_str!("../../../fixtures/ethernet/tcpdump-hex.txt");
    let hex_and_text = include_str!("../../../fixtures/ethernet/tcpdump-hex-and-text.txt");
    for (options, expected) in [
        (&["-A"][..], text),
        (&["-x"], hex),
        (&["-X"], hex_and_text),
        (&["-AXnr"], hex_and_text),
    ] {
        assert!(print("ethernet", options) == expected, "{options:?}");
    }
}

#[test]
fn what_was_not_captured_is_told() {
    let shown = print("cut-headers", &["-A"]);
    assert!(shown.contains("\nHost: exampl\n\t10 bytes more, not captured\n"));
}
