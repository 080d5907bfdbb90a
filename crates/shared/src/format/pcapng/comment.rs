//! The comment of a packet: what Wireshark shows of its processes, and the
//! fields of a packet that pcapng has no place for.
//!
//! ```text
//! pid=811 comm=nginx uid=33 owner=accept conn=1:LQU9... peer_pid=903 peer_comm=curl peer_owner=connect cookie=17
//! kernel={"src":...}
//! PID: 811
//! Cmd: /usr/sbin/nginx
//! Args: nginx: worker process
//! ```
//!
//! The first line says all, as Wireshark 4.4 shows no other in the tree. What
//! is read back stands where no process can forge it: the cookie at the end of
//! the first line, after words that are ours, and the kernel's parse on the
//! second line, for texts of processes are written without line ends. That
//! line is there only where the kernel's parse is not what its headers let
//! expect: [`KernelParse::expected`].

use memchr::memrchr;

use crate::record::{KernelParse, Process};
use crate::stream::{Annotation, Owner};

use super::super::text::Text;
use super::body::split_line;

/// Longest text of a process that is shown, in bytes.
const MAX_TEXT_BYTES: usize = 512;

const COOKIE: &str = "cookie=";
const KERNEL: &str = "kernel=";
const NO_KERNEL: &str = "none";

/// What a comment says of a packet's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fields {
    pub(super) cookie: Option<u64>,
    pub(super) kernel: Kernel,
}

/// The kernel's parse of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kernel {
    /// As its headers let expect.
    #[default]
    Expected,
    /// Something else.
    Other(Option<KernelParse>),
}

/// Writes a comment, or nothing where there is nothing to say.
pub(super) fn write(out: &mut Vec<u8>, annotation: Option<&Annotation<'_>>, fields: Fields) {
    let mut text = Text::new(out);
    let start = text.len();
    if let Some(annotation) = annotation {
        if let Some(Owner {
            process,
            provenance,
        }) = annotation.owner
        {
            text.number("pid=", process.id.pid);
            text.text(" comm=");
            push_text(&mut text, &process.comm);
            if let Some(uid) = process.uid {
                text.number(" uid=", uid);
            }
            text.text(" owner=");
            text.text(provenance.word());
        }
        if !annotation.community_id.is_empty() {
            space(&mut text, start);
            text.text("conn=");
            push_text(&mut text, annotation.community_id);
        }
        if let Some(Owner {
            process,
            provenance,
        }) = annotation.peer
        {
            space(&mut text, start);
            text.number("peer_pid=", process.id.pid);
            text.text(" peer_comm=");
            push_text(&mut text, &process.comm);
            text.text(" peer_owner=");
            text.text(provenance.word());
        }
    }
    if let Some(cookie) = fields.cookie {
        space(&mut text, start);
        text.number(COOKIE, cookie);
    }
    if let Kernel::Other(kernel) = fields.kernel {
        text.text("\n");
        text.text(KERNEL);
        match kernel.map(|kernel| serde_json::to_string(&kernel)) {
            Some(Ok(json)) => text.text(&json),
            Some(Err(_)) | None => text.text(NO_KERNEL),
        }
    }
    if let Some(owner) = annotation.and_then(|annotation| annotation.owner) {
        write_process(&mut text, owner.process);
    }
}

/// Parts a word from what is before it in a comment that begins at `start`.
fn space(text: &mut Text<'_>, start: usize) {
    if text.len() > start {
        text.text(" ");
    }
}

/// The lines that ptcpdump writes of a process.
fn write_process(text: &mut Text<'_>, process: &Process) {
    text.number("\nPID: ", process.id.pid);
    if let Some(exe) = &process.exe {
        text.text("\nCmd: ");
        push_text(text, exe);
    }
    if !process.argv.is_empty() {
        text.text("\nArgs:");
        let start = text.len();
        for argument in &process.argv {
            if text.len() - start > MAX_TEXT_BYTES {
                text.text(" ...");
                break;
            }
            text.text(" ");
            push_text(text, argument);
        }
    }
}

/// Reads what [`write()`] wrote.
pub(super) fn read(comment: &[u8]) -> Fields {
    let (line, rest) = split_line(comment);
    let last_word = memrchr(b' ', line).map_or(line, |space| &line[space + 1..]);
    let cookie = last_word
        .strip_prefix(COOKIE.as_bytes())
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let kernel = match rest.strip_prefix(KERNEL.as_bytes()) {
        None => Kernel::Expected,
        Some(rest) => Kernel::Other(serde_json::from_slice(split_line(rest).0).ok()),
    };
    Fields { cookie, kernel }
}

/// Text of a process, which may be anything: cut, and without line ends.
pub(super) fn push_text(out: &mut Text<'_>, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let is_plain = |byte| matches!(byte, b' '..=b'~');
    if text.bytes().all(is_plain) {
        out.text(text);
    } else {
        let shown = text.chars().map(|c| if c.is_control() { '?' } else { c });
        out.text(&shown.collect::<String>());
    }
}
