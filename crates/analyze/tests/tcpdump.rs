//! What `print` shows is what tcpdump 4.99.3 showed of a fixture with the same options:
//! `TZ=UTC tcpdump -n -A -r input.pcap`, and others that the tests name.

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
fn lines_are_those_of_tcpdump() {
    let link = include_str!("../../../fixtures/vlan/tcpdump-link.txt");
    let link_hex = include_str!("../../../fixtures/vlan/tcpdump-link-hex.txt");
    let quick = include_str!("../../../fixtures/ethernet/tcpdump-quick.txt");
    assert_eq!(print("vlan", &["-#eSttt"]), link);
    assert_eq!(print("vlan", &["-ttxx", "-c3"]), link_hex);
    let cooked = include_str!("../../../fixtures/link-sll/tcpdump-link.txt");
    assert_eq!(print("link-sll", &["-et"]), cooked);
    // The name of an interface of the machine that reads it is left out of theirs.
    let cooked = include_str!("../../../fixtures/link-sll2/tcpdump-link.txt");
    assert_eq!(print("link-sll2", &["-et"]), cooked);
    assert_eq!(print("ethernet", &["-lqtttt"]), quick);
}

/// Segmentation offload leaves checksums wrong.
#[test]
fn what_is_verbose_is_as_tcpdump_shows_it() {
    let theirs = include_str!("../../../fixtures/ethernet/tcpdump-ip.txt");
    assert_eq!(print("ethernet", &["-vvt", "-c20"]), theirs);
    let unchecked = print("ethernet", &["-vKt", "-c20"]);
    assert!(theirs.contains("cksum") && !unchecked.contains("cksum"));
}

#[test]
fn what_was_not_captured_is_told() {
    let shown = print("cut-headers", &["-A"]);
    assert!(shown.contains("\nHost: exampl\n\t10 bytes more, not captured\n"));
}
