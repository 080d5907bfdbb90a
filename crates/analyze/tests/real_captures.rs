//! Every offline command on captures that others made: none fails, and a
//! converted capture gives the same report.
//!
//! The captures are not part of the project. They are looked for in the folder
//! that the environment variable `TCPREC_ORACLE` names, else in
//! `../shared/oracle` beside the repository; without them the test is ignored.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = oracle();
    let mut captures = Vec::new();
    collect(&root, &mut captures);
    let mut trials: Vec<_> = captures
        .into_iter()
        .map(|capture| {
            let name = capture.strip_prefix(&root).unwrap_or(&capture);
            let name = name.display().to_string();
            Trial::test(name, move || check(&capture))
        })
        .collect();
    if trials.is_empty() {
        let name = format!("no captures in {}", root.display());
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn oracle() -> PathBuf {
    std::env::var_os("TCPREC_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle"),
        PathBuf::from,
    )
}

/// All captures below a folder.
fn collect(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if path.is_dir() {
            collect(&path, to);
        } else if matches!(extension, Some("pcap" | "pcapng" | "gz")) {
            to.push(path);
        }
    }
    to.sort();
}

/// The rows that a converted capture must give as well. How the file ended is
/// not converted: what was read of a cut one is whole, so nothing is incomplete.
fn comparable(report: &str) -> Result<Vec<serde_json::Value>, serde_json::Error> {
    let mut rows: Vec<serde_json::Value> = report
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    rows.retain(|row| row["kind"] != "capture");
    for row in rows.iter_mut().filter_map(serde_json::Value::as_object_mut) {
        row.remove("incomplete");
    }
    Ok(rows)
}

fn check(capture: &Path) -> Result<(), Failed> {
    let path = capture.as_os_str();
    let report = run(&["analyze", "--format=jsonl"], &[path])?;
    let rows: Vec<serde_json::Value> = report
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let packets = rows.last().and_then(|capture| capture["packets"].as_u64());
    let document: serde_json::Value =
        serde_json::from_str(&run(&["analyze", "--format=json"], &[path])?)?;
    if document["capture"]["packets"].as_u64() != packets {
        return Err("the JSON document differs from the lines".into());
    }
    let text = run(&["analyze", "--utc", "--all"], &[path])?;
    if text.lines().any(|line| line.ends_with(' ')) {
        return Err("a line of the text ends in spaces".into());
    }
    let lines = run(&["print", "--utc"], &[path])?;
    let is_packet = |line: &&str| !line.contains(" lost ");
    let lines = lines.lines().filter(is_packet).count();
    if Some(lines as u64) != packets {
        return Err(format!("{packets:?} packets, but {lines} lines").into());
    }
    let folder = tempfile::tempdir()?;
    for name in ["converted.jsonl.zst", "converted.pcapng.zst"] {
        let converted = folder.path().join(name);
        run(&["convert"], &[path, converted.as_os_str()])?;
        let from_converted = run(&["analyze", "--format=jsonl"], &[converted.as_os_str()])?;
        if comparable(&from_converted)? != comparable(&report)? {
            return Err(format!("the report of {name} differs").into());
        }
    }
    Ok(())
}

fn run(command: &[&str], paths: &[&OsStr]) -> Result<String, Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcprec-analyze"))
        .args(command)
        .args(paths)
        .output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}, {error}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
