//! Filters against tcpdump: of each capture, the packets that pass each
//! expression are those that `tcpdump -r` writes, byte for byte.

mod captures;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use tcprec_shared::filter::{CompileError, compile};
use tcprec_shared::headers::LinkType;

const EXPRESSIONS: &str = include_str!("captures/expressions.txt");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let has_tcpdump = Command::new("tcpdump").arg("--version").output().is_ok();
    let mut trials: Vec<_> = captures::fixtures()
        .into_iter()
        .map(|(name, path)| trial(&name, path))
        .collect();
    trials.extend(captures::oracle(|capture, _| compare(capture, true)));
    let trials = trials
        .into_iter()
        .map(|trial| {
            let is_ignored = trial.has_ignored_flag() || !has_tcpdump;
            trial.with_ignored_flag(is_ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, path: PathBuf) -> Trial {
    Trial::test(format!("fixtures: {name}"), move || compare(&path, false))
}

/// tcpdump on a capture; it writes pcap.
fn tcpdump(capture: &Path, expression: &str) -> Result<Output, Failed> {
    let output = Command::new("tcpdump")
        .arg("-r")
        .arg(capture)
        .args(["-w", "-", "--", expression])
        .output()?;
    Ok(output)
}

struct Frame {
    link: LinkType,
    wire_bytes: u32,
    data: Vec<u8>,
}

fn compare(capture: &Path, is_foreign: bool) -> Result<(), Failed> {
    let mut frames = Vec::new();
    let is_read = captures::each_packet(capture, |link, packet| {
        frames.push(Frame {
            link,
            wire_bytes: packet.wire_bytes,
            data: packet.data.to_vec(),
        });
        Ok(())
    });
    let all = tcpdump(capture, "")?;
    // What a reader gets of a damaged file is its own affair, but none of ours is damaged.
    if !is_foreign {
        is_read
            .as_ref()
            .map_err(|error| Failed::from(format!("{error:?}")))?;
    }
    // tcpdump refuses what it does not know, as files of two link types.
    if is_read.is_err() || !all.status.success() || frames.is_empty() {
        return Ok(());
    }
    let link = frames
        .first()
        .map_or(LinkType::ETHERNET, |frame| frame.link);
    if written(&all.stdout) != frames.iter().map(|f| &*f.data).collect::<Vec<_>>() {
        return Err("tcpdump reads other packets than tcprec".into());
    }
    let mut differences = String::new();
    for expression in EXPRESSIONS.lines() {
        let output = tcpdump(capture, expression)?;
        match compile(link, expression) {
            Ok(program) => {
                let found: Vec<_> = frames
                    .iter()
                    .filter(|frame| program.passes(&frame.data, frame.wire_bytes))
                    .map(|frame| &*frame.data)
                    .collect();
                let expected = written(&output.stdout);
                if !output.status.success() || found != expected {
                    differences += &format!(
                        "{expression}: {} packets, of tcpdump {} ({})\n",
                        found.len(),
                        expected.len(),
                        output.status
                    );
                }
            }
            Err(CompileError::Expression { .. } | CompileError::Program(_))
                if !output.status.success() => {}
            Err(error) => differences += &format!("{expression}: {error}\n"),
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.into())
    }
}

/// The packets of a pcap file of this machine's byte order.
fn written(file: &[u8]) -> Vec<&[u8]> {
    const FILE_HEADER: usize = 24;
    const PACKET_HEADER: usize = 16;
    let mut packets = Vec::new();
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<PACKET_HEADER>() {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let Some((packet, after)) = after.split_at_checked(length as usize) else {
            break;
        };
        packets.push(packet);
        rest = after;
    }
    packets
}
