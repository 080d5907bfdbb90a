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

use std::fmt::{Display, Write};

use memchr::memrchr;

use crate::record::{KernelParse, Process};
use crate::stream::{Annotation, Owner};

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
pub(super) fn write(out: &mut String, annotation: Option<&Annotation<'_>>, fields: Fields) {
    let start = out.len();
    let mut line = Words { out, start };
    if let Some(annotation) = annotation {
        if let Some(Owner {
            process,
            provenance,
        }) = annotation.owner
        {
            line.word("pid=", process.id.pid);
            line.text("comm=", &process.comm);
            if let Some(uid) = process.uid {
                line.word("uid=", uid);
            }
            line.word("owner=", provenance);
        }
        if !annotation.community_id.is_empty() {
            line.text("conn=", annotation.community_id);
        }
        if let Some(Owner {
            process,
            provenance,
        }) = annotation.peer
        {
            line.word("peer_pid=", process.id.pid);
            line.text("peer_comm=", &process.comm);
            line.word("peer_owner=", provenance);
        }
    }
    if let Some(cookie) = fields.cookie {
        line.word(COOKIE, cookie);
    }
    if let Kernel::Other(kernel) = fields.kernel {
        out.push('\n');
        out.push_str(KERNEL);
        match kernel.map(|kernel| serde_json::to_string(&kernel)) {
            Some(Ok(json)) => out.push_str(&json),
            Some(Err(_)) | None => out.push_str(NO_KERNEL),
        }
    }
    if let Some(owner) = annotation.and_then(|annotation| annotation.owner) {
        write_process(out, owner.process);
    }
}

/// The lines that ptcpdump writes of a process.
fn write_process(out: &mut String, process: &Process) {
    let _ = write!(out, "\nPID: {}", process.id.pid);
    if let Some(exe) = &process.exe {
        out.push_str("\nCmd: ");
        push_text(out, exe);
    }
    if !process.argv.is_empty() {
        out.push_str("\nArgs:");
        let start = out.len();
        for argument in &process.argv {
            if out.len() - start > MAX_TEXT_BYTES {
                out.push_str(" ...");
                break;
            }
            out.push(' ');
            push_text(out, argument);
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

/// Words with a space between them.
struct Words<'a> {
    out: &'a mut String,
    start: usize,
}

impl Words<'_> {
    fn name(&mut self, name: &str) {
        if self.out.len() > self.start {
            self.out.push(' ');
        }
        self.out.push_str(name);
    }

    fn word(&mut self, name: &str, value: impl Display) {
        self.name(name);
        // Writing to memory does not fail.
        let _ = write!(self.out, "{value}");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_text(self.out, value);
    }
}

/// Text of a process, which may be anything: cut, and without line ends.
pub(super) fn push_text(out: &mut String, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let is_plain = |byte| matches!(byte, b' '..=b'~');
    if text.bytes().all(is_plain) {
        out.push_str(text);
    } else {
        out.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
    }
}
