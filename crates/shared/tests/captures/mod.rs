//! Reading captures in tests: those of the fixtures, and any other.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tcprec_shared::format;
use tcprec_shared::headers::LinkType;
use tcprec_shared::record::{Interface, Packet, Record};
use tcprec_shared::stream::{ReadError, Source as _};

/// The captures of all fixtures, with the names of their folders.
#[allow(dead_code, reason = "not every test reads them")]
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
