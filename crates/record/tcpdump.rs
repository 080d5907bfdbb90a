//! What to do instead of tcpdump's options (tcpdump(1)) that have no meaning here, for those
//! who type them out of habit.

/// Options, and how the message about them continues.
type Remedies = &'static [(&'static [&'static str], &'static str)];

/// Of `record`.
const RECORD: Remedies = &[
    (
        &["-z"],
        "is not supported: no program is run on complete files; .jsonl.zst and .pcapng.zst are \
         compressed as they are written",
    ),
    (
        &["-Z", "--relinquish-privileges"],
        "is not needed: tcprec drops privileges once it records; the files belong to the user who \
         records (use chown)",
    ),
    (
        &["--immediate-mode"],
        "is not supported: -U writes records ten times a second, -l the lines of --print",
    ),
    (
        &["-L", "--list-data-link-types", "-y", "--linktype"],
        "is not supported: packets are recorded with the interface's own link header",
    ),
    (
        &[
            "-j",
            "--time-stamp-type",
            "-J",
            "--list-time-stamp-types",
            "--time-stamp-precision",
            "--micro",
            "--nano",
        ],
        "is not supported: times are the kernel's, in nanoseconds",
    ),
    (
        &["-I", "--monitor-mode"],
        "is not supported: tcprec changes no interface's mode",
    ),
    (
        &["-V"],
        "is not supported: give `tcprec print` or `tcprec analyze` several files",
    ),
    (
        &["-d"],
        "is not supported: `tcpdump -d` shows the compiled filter, from the same libpcap",
    ),
    (
        &["--version"],
        "belongs to the whole program: `tcprec --version`",
    ),
];

/// Of the commands that read captures.
const READ: Remedies = &[
    (
        &["-w"],
        "is not supported: `tcprec convert FROM TO` writes captures",
    ),
    (
        &["-i", "--interface"],
        "is not supported: `tcprec record -i INTERFACE --print` shows live packets",
    ),
    (
        &["-D", "--list-interfaces"],
        "is not supported: `tcprec record -D` lists the interfaces",
    ),
    (
        &["-s", "--snapshot-length"],
        "is not supported: everything recorded is read",
    ),
    (&["-r"], "is not needed: just give the capture's name"),
];

/// Of all of these.
const ANYWHERE: Remedies = &[
    (
        &["-N", "-f", "-H", "-b", "-u", "-O", "--no-optimize"],
        "is not supported: leave it out",
    ),
    (
        &["-E", "-M", "-m", "-T"],
        "is not supported: to decode other protocols, open a .pcapng in tshark",
    ),
];

/// Of any option without a command.
const NO_COMMAND: &str = "needs a command before it: `tcprec record -i INTERFACE` with --print or -w FILE.pcapng to \
     record, `tcprec print FILE` to read";

/// How a message about an unknown option continues, where `first` is the first argument; none
/// if it is none of tcpdump's.
pub(crate) fn remedy(first: &str, option: &str) -> Option<&'static str> {
    let told: &[Remedies] = match first {
        "record" => &[RECORD, ANYWHERE],
        "print" | "analyze" | "convert" => &[READ, ANYWHERE],
        _ if first.starts_with('-') => return Some(NO_COMMAND),
        _ => &[],
    };
    let mut all = told.iter().flat_map(|told| told.iter());
    let (_, remedy) = all.find(|(options, _)| options.contains(&option))?;
    Some(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own_remedies() {
        for (first, option, named) in [
            ("record", "-Z", Some("drops privileges")),
            ("record", "-N", Some("leave it out")),
            ("record", "-w", None),
            ("print", "-w", Some("convert")),
            ("print", "-Z", None),
            ("top", "-N", None),
            ("-i", "-i", Some("tcprec record")),
            ("rec", "-i", None),
        ] {
            let told = remedy(first, option);
            assert_eq!(told.is_some(), named.is_some(), "{first} {option}");
            assert!(
                told.unwrap_or_default().contains(named.unwrap_or_default()),
                "{first} {option}"
            );
        }
    }
}
