//! What to do instead of what tcpdump is used to be asked for (tcpdump(1)), where the option
//! means nothing here: for hands that type it all the same.

/// The options, each with what is said of it.
type Told = &'static [(&'static [&'static str], &'static str)];

const RECORD: Told = &[
    (
        &["-z"],
        "is not here: no program is run on a file that is complete; .jsonl.zst and .pcapng.zst \
         are compressed while they are written",
    ),
    (
        &["-Z", "--relinquish-privileges"],
        "is not needed: tcprec gives up what rights it can once it records; the files stay the \
         user's who records (chown)",
    ),
    (
        &["--immediate-mode"],
        "is not here: -U writes what was recorded ten times a second, and -l what --print prints",
    ),
    (
        &["-L", "--list-data-link-types", "-y", "--linktype"],
        "is not here: packets are kept as the interface has them, from the link header on",
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
        "is not here: times are the kernel's, in nanoseconds",
    ),
    (
        &["-I", "--monitor-mode"],
        "is not here: no interface is put into another mode",
    ),
    (
        &["-V"],
        "is not here: `tcprec print` and `tcprec analyze` read several files as one",
    ),
    (
        &["-d"],
        "is not here: tcpdump -d shows what the filter is compiled to, by the same libpcap",
    ),
    (&["--version"], "is the whole program's: tcprec --version"),
];

/// Where captures are read.
const READ: Told = &[
    (
        &["-w"],
        "is not here: `tcprec convert FROM TO` writes captures",
    ),
    (
        &["-i", "--interface"],
        "is not here: `tcprec record -i INTERFACE --print` shows what passes",
    ),
    (
        &["-D", "--list-interfaces"],
        "is not here: `tcprec record -D` lists the interfaces",
    ),
    (
        &["-s", "--snapshot-length"],
        "is not here: all is read that was recorded",
    ),
    (&["-r"], "is not here: the capture's name is enough"),
];

/// Wherever a packet is shown or kept.
const ANYWHERE: Told = &[
    (
        &["-N", "-f", "-H", "-b", "-u", "-O", "--no-optimize"],
        "is not here: leave it out",
    ),
    (
        &["-E", "-M", "-m", "-T"],
        "is not here: what TCP carries is decoded by tshark, of a .pcapng file",
    ),
];

/// Without a command.
const NO_COMMAND: &str = "stands behind a command: `tcprec record -i INTERFACE --print` or -w FILE.pcapng records, and \
     `tcprec print FILE` reads";

/// What to say of an option that is not known, behind this first argument.
pub(crate) fn remedy(first: &str, option: &str) -> Option<&'static str> {
    let told: &[Told] = match first {
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
            ("record", "-Z", Some("gives up")),
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
