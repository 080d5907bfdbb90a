//! How many values of each field are as expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::expected::Tool;

/// The figures of each field. The two ends of a connection are one field.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, Figure>);

#[derive(Debug, Default, Clone, Copy)]
struct Figure {
    all: u64,
    exact: u64,
    nonzero: u64,
    exact_nonzero: u64,
}

impl Figures {
    /// Counts a value. `nonzero` says that the expected or the found one is
    /// something else than none, 0 or false, which are easily right.
    pub(crate) fn count(&mut self, field: &str, nonzero: bool, exact: bool) {
        let figure = self.0.entry(merged(field)).or_default();
        figure.all += 1;
        figure.exact += u64::from(exact);
        figure.nonzero += u64::from(nonzero);
        figure.exact_nonzero += u64::from(nonzero && exact);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (field, other) in &other.0 {
            let figure = self.0.entry(field.clone()).or_default();
            figure.all += other.all;
            figure.exact += other.exact;
            figure.nonzero += other.nonzero;
            figure.exact_nonzero += other.exact_nonzero;
        }
    }
}

/// The name without the end that it is of.
fn merged(field: &str) -> String {
    // `resp_ts_first` and `resp_ts_last` are of a response, not of an end.
    let of_message = field.ends_with("_ts_first") || field.ends_with("_ts_last");
    let rest = ["orig_", "resp_"]
        .iter()
        .find_map(|end| field.strip_prefix(end));
    rest.filter(|_| !of_message).unwrap_or(field).to_owned()
}

/// A Markdown table of what was compared with each tool.
pub(crate) fn table(of: &BTreeMap<Tool, Figures>) -> String {
    let empty = Figures::default();
    let both = [Tool::Tshark, Tool::Zeek].map(|tool| of.get(&tool).unwrap_or(&empty));
    let fields: BTreeSet<_> = both.iter().flat_map(|figures| figures.0.keys()).collect();
    let mut table = String::from(
        "| field | tshark | not zero | Zeek | not zero |\n| --- | --: | --: | --: | --: |\n",
    );
    for field in fields {
        let _ = write!(table, "| `{field}` |");
        for figures in both {
            let _ = match figures.0.get(field) {
                None => write!(table, " | |"),
                Some(figure) => write!(
                    table,
                    " {}/{} | {}/{} |",
                    figure.exact, figure.all, figure.exact_nonzero, figure.nonzero
                ),
            };
        }
        table.push('\n');
    }
    table
}
