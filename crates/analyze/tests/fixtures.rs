//! Golden tests: what each offline command says of each fixture is what stands
//! beside it. `TCPREC_BLESS=1 cargo test --test fixtures` writes it anew; the
//! differences are then git's to show.
//!
//! A fixture is a folder with an `input.*`, and every fixture has its whole
//! set of golden files. Its `README.md` says where the input comes from.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// A golden file, and the command whose output it is.
struct Golden {
    file: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const GOLDEN: [Golden; 3] = [
    Golden {
        file: "analyze.txt",
        before: &["analyze"],
        after: &["--utc", "--slow=10"],
    },
    Golden {
        file: "analyze.jsonl",
        before: &["analyze"],
        after: &["--format=jsonl"],
    },
    Golden {
        file: "print.txt",
        before: &["print"],
        after: &["--utc"],
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut trials: Vec<_> = inputs(&folder)
        .into_iter()
        .flat_map(|(case, input)| trials(&case, &input))
        .collect();
    if trials.is_empty() {
        // As in the package alone, without its repository.
        let name = format!("no fixtures in {}", folder.display());
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every case with its `input.*`.
fn inputs(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_input = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("input."))
    };
    let mut inputs = Vec::new();
    for case in entries(folder) {
        let found = entries(&case).into_iter().find(is_input);
        inputs.extend(found.map(|input| (case, input)));
    }
    inputs.sort();
    inputs
}

fn trials(case: &Path, input: &Path) -> Vec<Trial> {
    let name = case.file_name().unwrap_or_default().to_string_lossy();
    let mut trials = Vec::new();
    for golden in GOLDEN {
        let (case, input) = (case.to_owned(), input.to_owned());
        let name = format!("{name}/{}", golden.file);
        trials.push(Trial::test(name, move || check(&case, &input, &golden)));
    }
    for extension in ["jsonl.zst", "pcapng", "pcapng.zst"] {
        let input = input.to_owned();
        let name = format!("{name} is the same from {extension}");
        trials.push(Trial::test(name, move || {
            check_converted(&input, extension)
        }));
    }
    trials
}

fn check(case: &Path, input: &Path, golden: &Golden) -> Result<(), Failed> {
    let found = run(golden.before, input, golden.after)?;
    let path = case.join(golden.file);
    if std::env::var_os("TCPREC_BLESS").is_some() {
        fs::write(path, found)?;
        return Ok(());
    }
    let expected = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; TCPREC_BLESS=1 writes it", path.display()))?;
    same(&expected, &found)
}

/// Converted to another format, a capture is still the same.
fn check_converted(input: &Path, extension: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let converted = folder.path().join(format!("converted.{extension}"));
    run(&["convert"], input, &[&converted.to_string_lossy()])?;
    for golden in GOLDEN {
        let original = run(golden.before, input, golden.after)?;
        same(&original, &run(golden.before, &converted, golden.after)?)?;
    }
    Ok(())
}

fn run(before: &[&str], input: &Path, after: &[&str]) -> Result<String, Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcprec-analyze"))
        .args(before)
        .arg(input)
        .args(after)
        .env("TZ", "Asia/Kathmandu") // must have no influence
        .output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{before:?}: {}, {error}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn same(expected: &str, found: &str) -> Result<(), Failed> {
    let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
    if let Some((expected, found)) = differing {
        return Err(format!("expected: {expected}\n   found: {found}").into());
    }
    if expected != found {
        return Err("one has more lines than the other".into());
    }
    Ok(())
}
