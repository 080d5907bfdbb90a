//! Connections and requests of real captures against what tshark and Zeek say
//! of them: one trial for each capture and tool.
//!
//! The captures are not part of the project. They are looked for in the folder
//! that `TCPREC_ORACLE` names, else in `../shared/oracle` beside the
//! repository; where there are none, the one trial is ignored.

mod compare;
mod differences;
mod expected;
mod figures;
mod found;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

use expected::Tool;

fn main() {
    let arguments = Arguments::from_args();
    let trials = match captures_folder() {
        Some(folder) => trials(&folder),
        None => vec![
            Trial::test("captures with known results (none found)", || Ok(()))
                .with_ignored_flag(true),
        ],
    };
    libtest_mimic::run(&arguments, trials).exit();
}

fn captures_folder() -> Option<PathBuf> {
    let oracle = env::var_os("TCPREC_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle"),
        PathBuf::from,
    );
    let folder = oracle.join("shared_set");
    folder.is_dir().then_some(folder)
}

fn trials(folder: &Path) -> Vec<Trial> {
    let mut expectations = Vec::new();
    list_expectations(folder, &mut expectations);
    expectations.sort();
    let all = expectations.clone();
    let figures = Trial::test("the figures of docs/accuracy.md", move || figures(&all));
    let mut trials = vec![figures];
    for (path, tool) in expectations {
        let capture = capture_of(&path);
        let name = capture
            .strip_prefix(folder)
            .unwrap_or(&capture)
            .to_string_lossy()
            .into_owned();
        trials.push(Trial::test(format!("{name} ({tool})"), move || {
            check(&name, &capture, tool, &path)
        }));
    }
    trials
}

/// The capture that an expectation is of.
fn capture_of(expectation: &Path) -> PathBuf {
    expectation.with_extension("").with_extension("")
}

/// Holds the page's figures against those of now.
fn figures(expectations: &[(PathBuf, Tool)]) -> Result<(), Failed> {
    let mut all: BTreeMap<Tool, figures::Figures> = BTreeMap::new();
    for (path, tool) in expectations {
        let expected = expected::read(path)?;
        let found = found::read(&capture_of(path))?;
        let comparison = compare::compare(&expected, &found);
        all.entry(*tool).or_default().add(&comparison.figures);
    }
    let table = figures::table(&all);
    let page = fs::read_to_string(differences::page())?;
    let (text, told) = differences::parts(&page)?;
    if told == table {
        Ok(())
    } else if env::var_os("TCPREC_BLESS").is_some() {
        // Other tests read the page meanwhile.
        let new = differences::page().with_extension("new");
        fs::write(&new, format!("{text}{table}"))?;
        Ok(fs::rename(new, differences::page())?)
    } else {
        Err(format!("the figures are other ones (TCPREC_BLESS=1 writes them):\n{table}").into())
    }
}

fn list_expectations(folder: &Path, to: &mut Vec<(PathBuf, Tool)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list_expectations(&path, to);
        } else if let Some(tool) = Tool::of(&path) {
            to.push((path, tool));
        }
    }
}

fn check(name: &str, capture: &Path, tool: Tool, expectation: &Path) -> Result<(), Failed> {
    let expected = expected::read(expectation)?;
    let found = found::read(capture)?;
    let mut report = compare::compare(&expected, &found).mismatches;
    differences::settle(name, tool, &mut report)?;
    if report.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = report.iter().map(ToString::to_string).collect();
    Err(lines.join("\n").into())
}
