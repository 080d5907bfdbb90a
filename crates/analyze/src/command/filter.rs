//! The filter on a command line: which packets are wanted.

use std::ffi::OsString;
use std::fs;
use std::path::{self, Path, PathBuf};

use tcprec_shared::filter::expression;
use tcprec_shared::format;

use super::Failure;
use super::number::port;
use crate::select::Selection;

/// Which packets are wanted; all must hold.
#[derive(Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// Only packets that pass this filter, in tcpdump's syntax (see pcap-filter(7)): one argument
    /// or several, such as 'tcp port 80 and not host 10.0.0.9'. `print` and `convert` also leave
    /// out the events of connections that do not pass, and `convert` their processes; `record` and
    /// `analyze` keep all events, to know the owners of packets
    #[arg(value_name = "EXPRESSION")]
    words: Vec<OsString>,

    /// Read the filter from a file; # begins a comment
    #[arg(short = 'F', long = "filter-file", value_name = "FILE")]
    file: Option<PathBuf>,

    /// Leave out this TCP port; may be repeated
    #[arg(long = "ignore-port", value_name = "PORT", value_parser = port, allow_negative_numbers = true)]
    ignored_ports: Vec<u16>,

    /// Only packets that begin with an HTTP/1 request or response, and those that open and close
    /// connections
    #[arg(long)]
    http_only: bool,
}

impl FilterArgs {
    /// All that is wanted as one expression; none where that is everything.
    ///
    /// # Errors
    /// The file cannot be read, or another filter is given beside it.
    pub fn expression(&self) -> Result<Option<String>, Failure> {
        let words: Vec<_> = self.words.iter().map(|it| it.to_string_lossy()).collect();
        let given = match &self.file {
            Some(_) if !words.is_empty() => {
                return Err(Failure::Usage(format!(
                    "a filter is given in a file (-F) and on the command line: {}",
                    words.join(" ")
                )));
            }
            Some(path) => read(path)?,
            None => words.join(" "),
        };
        let given = Some(given.trim()).filter(|given| !given.is_empty());
        let given = given.map(str::to_owned);
        let given = expression::both(given, expression::without_ports(&self.ignored_ports));
        let http = self.http_only.then(expression::http);
        Ok(expression::both(given, http))
    }

    /// Takes out the captures that stand before the filter.
    pub(super) fn take_captures(&mut self) -> Vec<PathBuf> {
        let words = self.words.iter();
        let count = words.take_while(|word| is_capture(word)).count();
        self.words.drain(..count).map(PathBuf::from).collect()
    }

    /// What the expression selects.
    ///
    /// # Errors
    /// The file cannot be read, or the expression is wrong.
    pub(super) fn selection(&self) -> Result<Selection, Failure> {
        let selection = Selection::new(self.expression()?);
        selection.map_err(|error| {
            let mut words = self.words.iter().map(Path::new);
            let is_name = |word: &OsString| !word.to_string_lossy().contains(' ');
            let hint = match (words.find(|word| word.exists()), &*self.words) {
                (Some(word), _) => format!(
                    "\n{} was taken as part of the filter; captures come before it, and a folder \
                     needs a / in its name",
                    word.display()
                ),
                (None, [word]) if is_name(word) => {
                    "\nnor is there such a file; with several captures, give the full name of each"
                        .to_owned()
                }
                (None, _) => String::new(),
            };
            Failure::Usage(format!("{error}{hint}"))
        })
    }
}

/// Whether a word behind a capture is another one. `src` begins a filter, and is a folder in
/// many places.
fn is_capture(word: &OsString) -> bool {
    let path = Path::new(word);
    let is_path = word.to_string_lossy().contains(path::is_separator);
    let is_there = path.is_file() || is_path && path.exists();
    is_there || format::has_extension(path) || format::is_standard_stream(path)
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
