//! What tracefs tells of a tracepoint: its number, and where its fields are.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::host::private_mount;

/// Where it is usually.
const MOUNTED: &str = "/sys/kernel/tracing";

/// The number by which perf knows a tracepoint.
///
/// # Errors
/// The file's, where there is no such tracepoint or no tracefs.
pub(super) fn id(category: &str, name: &str) -> io::Result<u64> {
    let text = read(category, name, "id")?;
    text.trim().parse().map_err(io::Error::other)
}

/// Where a tracepoint is found.
///
/// # Errors
/// As [`id`].
pub(crate) fn find(category: &str, name: &str) -> io::Result<&'static str> {
    id(category, name)?;
    Ok(if Path::new(MOUNTED).join("events").exists() {
        MOUNTED
    } else {
        "not mounted; tcprec opens its own instance"
    })
}

/// A field of a tracepoint's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// The fields of a tracepoint.
///
/// # Errors
/// As [`id`].
pub(super) fn fields(category: &str, name: &str) -> io::Result<Vec<Field>> {
    read(category, name, "format").map(|text| parse(&text))
}

/// Lines as `field:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;`.
fn parse(format: &str) -> Vec<Field> {
    let field = |line: &str| {
        let mut parts = line.trim().strip_prefix("field:")?.split(';');
        // With its type before it; an array's size may follow.
        let name = parts.next()?.rsplit(' ').next()?.split('[').next()?;
        let mut number = |name: &str| {
            let part = parts.next()?.trim().strip_prefix(name)?;
            part.strip_prefix(':')?.parse().ok()
        };
        Some(Field {
            offset: number("offset")?,
            bytes: number("size")?,
            name: name.trim_start_matches('*').to_owned(),
        })
    };
    format.lines().filter_map(field).collect()
}

fn read(category: &str, name: &str, file: &str) -> io::Result<String> {
    let file = format!("events/{category}/{name}/{file}");
    match fs::read_to_string(format!("{MOUNTED}/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let tracefs = private_mount(c"tracefs")?;
            fs::read_to_string(format!("/proc/self/fd/{}/{file}", tracefs.as_raw_fd()))
        }
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_places() {
        let text = "\
name: inet_sock_set_state
format:
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;

print fmt: \"%d\", REC->pid
";
        let field = |name: &str, offset, bytes| Field {
            name: name.to_owned(),
            offset,
            bytes,
        };
        assert_eq!(
            parse(text),
            [
                field("common_pid", 4, 4),
                field("skaddr", 8, 8),
                field("saddr_v6", 40, 16),
                field("filename", 8, 4)
            ]
        );
    }
}
