//! How records are divided into batches, and how many threads work on them,
//! makes no difference to what is told of them: for each fixture, and for each
//! capture that others made.
//!
//! The latter are not part of the project. They are looked for in the folder
//! that the environment variable `TCPREC_ORACLE` names, else in
//! `../shared/oracle` beside the repository; without them the test is ignored.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use tcprec_analyze::pipeline::Pipeline;
use tcprec_analyze::report::{Keep, Sort, json, jsonl};
use tcprec_analyze::tcp::Limits;
use tcprec_shared::batch::Batch;
use tcprec_shared::format;
use tcprec_shared::record::Record;
use tcprec_shared::stream::{ReadError, Source as _};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let oracle = std::env::var_os("TCPREC_ORACLE");
    let oracle = oracle.map_or_else(|| project.join("../shared/oracle"), PathBuf::from);
    let mut trials = Vec::new();
    for folder in [project.join("fixtures"), oracle] {
        let mut captures = Vec::new();
        collect(&folder, &mut captures);
        if captures.is_empty() {
            let name = format!("no captures in {}", folder.display());
            trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        }
        trials.extend(captures.into_iter().map(|capture| {
            let name = capture.strip_prefix(&folder).unwrap_or(&capture);
            Trial::test(name.display().to_string(), move || check(&capture))
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All captures below a folder.
fn collect(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, to);
        } else if format::open(&path).is_ok() {
            to.push(path);
        }
    }
    to.sort();
}

/// A record, or the error that stands in its place.
type Entry = Result<Record<'static>, ReadError>;

fn check(capture: &Path) -> Result<(), Failed> {
    let mut input = format::open(capture)?;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        match input.next() {
            Ok(Some(record)) => entries.push(Ok(record.into_owned())),
            Ok(None) => break,
            Err(error) => entries.push(Err(error)),
        }
    }
    let small = Limits {
        connections: 64,
        lingering: 32,
        waiting_bytes: 64_000,
        kept_bytes: 64_000,
    };
    for limits in [Limits::default(), small] {
        let expected = one_by_one(&entries, limits)?;
        for (size, together) in [(1, 1), (3, 2), (10, 100), (100, 5), (usize::MAX, 1)] {
            for many_packets in [0, 50, usize::MAX] {
                let told = in_batches(&entries, limits, size, together, many_packets)?;
                if told != expected {
                    let how = format!("{together} batches of {size}, threads from {many_packets}");
                    return Err(how.into());
                }
            }
        }
        let filled = filled(capture, limits)?;
        if filled != expected {
            return Err("batches that the source filled".into());
        }
    }
    Ok(())
}

fn pipeline(limits: Limits) -> (Pipeline, jsonl::Writer<Vec<u8>>) {
    let keep = Keep {
        rows: None,
        sort: Sort::Bytes,
        slowest: 3,
    };
    (Pipeline::new(limits, keep), jsonl::Writer::new(Vec::new()))
}

/// All that is told.
fn finish(pipeline: Pipeline, mut lines: jsonl::Writer<Vec<u8>>) -> io::Result<Vec<u8>> {
    let report = pipeline.finish(&mut lines);
    let mut told = lines.finish(&report)?;
    json::write(&report, &mut told)?;
    Ok(told)
}

fn one_by_one(entries: &[Entry], limits: Limits) -> io::Result<Vec<u8>> {
    let (mut pipeline, mut lines) = pipeline(limits);
    for entry in entries {
        match entry {
            Ok(record) => pipeline.push(record, &mut lines),
            Err(error) => pipeline.read_error(error, &mut lines),
        }
    }
    finish(pipeline, lines)
}

fn in_batches(
    entries: &[Entry],
    limits: Limits,
    size: usize,
    together: usize,
    many_packets: usize,
) -> io::Result<Vec<u8>> {
    let (pipeline, mut lines) = pipeline(limits);
    let mut pipeline = pipeline.with_threads(many_packets);
    let mut entries = entries.iter().peekable();
    while entries.peek().is_some() {
        let mut left = together;
        let next = |mut batch: Batch| {
            batch.clear();
            left = left.checked_sub(1)?;
            for _ in 0..size {
                let Some(Ok(record)) = entries.next_if(|entry| entry.is_ok()) else {
                    break;
                };
                batch.push(record.clone());
            }
            (!batch.is_empty()).then_some(batch)
        };
        pipeline.take(next, &mut lines);
        if let Some(Err(error)) = entries.next_if(|entry| entry.is_err()) {
            pipeline.read_error(error, &mut lines);
        }
    }
    finish(pipeline, lines)
}

fn filled(capture: &Path, limits: Limits) -> Result<Vec<u8>, ReadError> {
    let mut input = format::open(capture)?;
    let (pipeline, mut lines) = pipeline(limits);
    let mut pipeline = pipeline.with_threads(1);
    let mut filled = Ok(true);
    loop {
        let next = |mut batch: Batch| {
            batch.clear();
            while batch.is_empty() && matches!(filled, Ok(true)) {
                filled = input.fill(&mut batch);
            }
            (!batch.is_empty()).then_some(batch)
        };
        pipeline.take(next, &mut lines);
        match mem::replace(&mut filled, Ok(true)) {
            Ok(_) => return Ok(finish(pipeline, lines)?),
            Err(error) => pipeline.read_error(&error, &mut lines),
        }
    }
}
