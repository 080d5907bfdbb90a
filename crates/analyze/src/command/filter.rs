//! The filter on a command line: which packets are wanted.

use std::fs;
use std::path::{Path, PathBuf};

use tcprec_shared::filter::expression;

use super::Failure;
use super::number::port;
use crate::select::Selection;

/// Which packets are wanted; all must hold.
#[derive(Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// Only packets that pass this filter, in tcpdump's syntax (see
    /// pcap-filter(7)): one argument or several, as 'tcp port 80 and not host
    /// 10.0.0.9'. `print` and `convert` also leave out the events of connections that
    /// would not pass, and `convert` the processes of these; for `record` and `analyze`
    /// all are kept, to tell whose the packets are
    #[arg(value_name = "EXPRESSION")]
    words: Vec<String>,

    /// Read the filter from a file, where # begins a comment
    #[arg(
        short = 'F',
        long = "filter-file",
        value_name = "FILE",
        conflicts_with = "words"
    )]
    file: Option<PathBuf>,

    /// Leave out this TCP port; may be given more than once
    #[arg(long = "ignore-port", value_name = "PORT", value_parser = port, allow_negative_numbers = true)]
    ignored_ports: Vec<u16>,

    /// Only packets that begin with an HTTP/1 request or response, and those
    /// that begin and end connections
    #[arg(long)]
    http_only: bool,
}

impl FilterArgs {
    /// All that is wanted as one expression; none where that is everything.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn expression(&self) -> Result<Option<String>, Failure> {
        let given = match &self.file {
            Some(path) => read(path)?,
            None => self.words.join(" "),
        };
        let given = Some(given.trim()).filter(|given| !given.is_empty());
        let given = given.map(str::to_owned);
        let given = expression::both(given, expression::without_ports(&self.ignored_ports));
        let http = self.http_only.then(expression::http);
        Ok(expression::both(given, http))
    }

    /// What the expression selects.
    ///
    /// # Errors
    /// The file cannot be read, or the expression is wrong.
    pub(super) fn selection(&self) -> Result<Selection, Failure> {
        let selection = Selection::new(self.expression()?);
        selection.map_err(|error| {
            let hint = match self.words.first() {
                Some(word) if Path::new(word).exists() => {
                    format!(
                        "\n{word} was taken for a filter; several files are read by their \
                         folder, or those of a series by the name without what numbers them"
                    )
                }
                _ => String::new(),
            };
            Failure::Usage(format!("{error}{hint}"))
        })
    }
}

/// The expression in a file, without its comments.
fn read(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("the filter in {}: {error}", path.display())))?;
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
        .collect();
    Ok(lines.join("\n"))
}
