//! Which files are meant by a path: itself, what stands in a folder, or what
//! has it as its stem.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder_of;

/// What a capture may be called that is asked for by its stem, best first.
const EXTENSIONS: [&str; 9] = [
    "jsonl.zst",
    "jsonl",
    "jsonl.gz",
    "pcapng.zst",
    "pcapng",
    "pcapng.gz",
    "pcap.zst",
    "pcap",
    "pcap.gz",
];

/// The place of a file's extension among these; a number may follow it, as with
/// `tcpdump -C`.
pub(super) fn rank(file: &Path) -> usize {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let place = EXTENSIONS.iter().position(|extension| {
        let stem = name.strip_suffix(extension);
        stem.is_some_and(|stem| stem.ends_with('.'))
    });
    place.unwrap_or(EXTENSIONS.len())
}

/// Whether a file is called as a capture is.
#[must_use]
pub fn has_extension(file: &Path) -> bool {
    rank(file) < EXTENSIONS.len()
}

/// What is meant by a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This file.
    File(PathBuf),
    /// The captures among the files of a folder.
    Folder(Vec<PathBuf>),
    /// The files of a rotated series.
    Series(Vec<PathBuf>),
}

/// The files that are meant by `path`, in no order.
pub(super) fn find(path: &Path) -> io::Result<Found> {
    if path.is_dir() {
        let files = files_of(path)?;
        return Ok(Found::Folder(files.map(|(_, path)| path).collect()));
    }
    if fs::exists(path)? {
        return Ok(Found::File(path.to_owned()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A series may be asked for by the name that the recorder was given.
    let stems = EXTENSIONS.iter().filter_map(|extension| {
        let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
        Some((stem, *extension))
    });
    let asked = EXTENSIONS.map(|extension| (&*name, extension)).into_iter();
    let files: Vec<_> = files_of(folder_of(path)).into_iter().flatten().collect();
    for (stem, extension) in asked.chain(stems) {
        let mut parts: Vec<_> = files
            .iter()
            .filter(|(name, _)| is_part(name, stem, extension))
            .map(|(_, path)| path.clone())
            .collect();
        if parts.len() > 1 {
            return Ok(Found::Series(parts));
        }
        if let Some(file) = parts.pop() {
            return Ok(Found::File(file));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "no such file, nor one with this name and .{}",
            EXTENSIONS.join(", .")
        ),
    ))
}

/// The files of a folder that are not hidden, with their names.
fn files_of(folder: &Path) -> io::Result<impl Iterator<Item = (String, PathBuf)>> {
    let entries = fs::read_dir(folder)?.flatten();
    Ok(entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        (!name.starts_with('.') && path.is_file()).then_some((name, path))
    }))
}

/// Whether a file is `stem.extension`, or a part of such a capture: numbers
/// follow the stem, or the extension as with `tcpdump -C`.
fn is_part(name: &str, stem: &str, extension: &str) -> bool {
    let number_or_separator = |c: char| c.is_ascii_digit() || "._-".contains(c);
    let middle = name.strip_prefix(stem).and_then(|rest| {
        rest.trim_end_matches(|c: char| c.is_ascii_digit())
            .strip_suffix(extension)?
            .strip_suffix('.')
    });
    middle.is_some_and(|middle| middle.chars().all(number_or_separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_stem_and_numbers() {
        for part in [
            "cap.pcap",
            "cap.pcap12",
            "cap1.pcap",
            "cap-00001.pcap",
            "cap_00001_20260131120000.pcap",
        ] {
            assert!(is_part(part, "cap", "pcap"), "{part}");
        }
        for other in [
            "cap.pcapng",
            "cap.pcap.gz",
            "cap-b.pcap",
            "mycap.pcap",
            "cappcap",
        ] {
            assert!(!is_part(other, "cap", "pcap"), "{other}");
        }
    }
}
