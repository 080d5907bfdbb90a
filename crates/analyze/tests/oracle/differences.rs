//! Where this analyzer and another tool differ, and why: `docs/accuracy.md`
//! says it, in a table that is read here, so that none is there for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;

use crate::compare::Mismatch;
use crate::expected::Tool;

/// The headings of the differences and of the figures, which end the page.
const DIFFERENCES: &str = "\n## Differences\n";
const FIGURES: &str = "\n## Figures\n";

/// Differences that have one reason.
#[derive(Debug)]
struct Known {
    capture: String,
    tool: String,
    /// What the mismatch's place begins with.
    place: String,
    fields: Vec<String>,
}

/// The page that explains them.
pub(crate) fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/accuracy.md")
}

/// The page up to the table of figures, and that.
pub(crate) fn parts(page: &str) -> Result<(&str, &str), Failed> {
    let heading = page.find(FIGURES).ok_or("no figures in the page")?;
    let table = page[heading..].find("\n| ").ok_or("no table of figures")?;
    Ok(page.split_at(heading + table + 1))
}

/// The rows of the page's table: capture, tool, where, fields, why.
fn known() -> Result<Vec<Known>, Failed> {
    let page = fs::read_to_string(page())?;
    let (text, _) = parts(&page)?;
    let (_, table) = text.split_once(DIFFERENCES).ok_or("no differences")?;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let all = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [capture, tool, place, fields, why] = cells[..] else {
            return Err(format!("not five cells: {row}").into());
        };
        if why.is_empty() {
            return Err(format!("no reason: {row}").into());
        }
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        Ok(Known {
            capture: plain(capture),
            tool: tool.to_lowercase(),
            place: plain(place),
            fields: fields.split(", ").map(plain).collect(),
        })
    });
    all.collect()
}

/// Takes known differences out of `mismatches`, and puts in those that are
/// no more.
pub(crate) fn settle(
    capture: &str,
    tool: Tool,
    mismatches: &mut Vec<Mismatch>,
) -> Result<(), Failed> {
    for known in known()? {
        if known.capture != capture || known.tool != tool.to_string() {
            continue;
        }
        for field in known.fields {
            let before = mismatches.len();
            mismatches.retain(|mismatch| {
                !(mismatch.place.starts_with(&known.place) && mismatch.field == field)
            });
            if mismatches.len() == before {
                mismatches.push(Mismatch {
                    place: known.place.clone(),
                    field,
                    expected: "a difference, as docs/accuracy.md says".into(),
                    found: "none".into(),
                });
            }
        }
    }
    Ok(())
}
