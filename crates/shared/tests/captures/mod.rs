//! Reading captures in tests: those of the fixtures, those of others, and any.

#![allow(dead_code, reason = "no test needs all of it")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use tcprec_shared::format;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Interface, Packet, Record};
use tcprec_shared::stream::{ReadError, Source as _};

/// The captures of all fixtures, with the names of their folders.
pub(crate) fn fixtures() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut inputs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|case| fs::read_dir(case.path()).into_iter().flatten().flatten())
        .map(|file| file.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"input."))
        })
        .filter_map(|path| {
            let name = path.parent()?.file_name()?.to_string_lossy().into_owned();
            Some((name, path))
        })
        .collect();
    inputs.sort();
    inputs
}

/// A test for each capture that others made, of the capture and what tshark
/// says of it.
///
/// The captures are not part of the project. They are looked for in the folder
/// that the environment variable `TCPREC_ORACLE` names, else in
/// `../shared/oracle` beside the repository; without them the test is ignored.
pub(crate) fn oracle(test: fn(&Path, &Path) -> Result<(), Failed>) -> Vec<Trial> {
    const SUFFIX: &str = ".tshark.jsonl";
    let root = std::env::var_os("TCPREC_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle"),
        PathBuf::from,
    );
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut trials = Vec::new();
    for expected in files {
        if let Some(capture) = expected.to_string_lossy().strip_suffix(SUFFIX) {
            let capture = PathBuf::from(capture);
            let name = capture.strip_prefix(&root).unwrap_or(&capture);
            let name = name.display().to_string();
            trials.push(Trial::test(name, move || test(&capture, &expected)));
        }
    }
    if trials.is_empty() {
        let name = format!("no captures in {}", root.display());
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    trials
}

/// All files below a folder.
fn collect(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, to);
        } else {
            to.push(path);
        }
    }
    to.sort();
}

/// Takes every packet of a capture, up to the point where it is cut.
pub(crate) fn each_packet(
    path: &Path,
    mut take: impl FnMut(LinkType, &Packet<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut input = format::open(path)?;
    loop {
        match input.next() {
            Ok(Some(Record::Packet(packet))) => {
                let interface = interfaces.iter().rfind(|i| i.id == packet.interface);
                take(
                    interface.ok_or("a packet of no interface")?.link_type,
                    &packet,
                )?;
            }
            Ok(Some(Record::Interface(interface))) => interfaces.push(interface),
            Ok(Some(_)) | Err(ReadError::Damaged { .. }) => {}
            Ok(None) | Err(ReadError::Truncated { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
