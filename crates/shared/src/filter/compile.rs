//! From an expression to a program: by libpcap where there is one, else by
//! tcpdump, which brings its own.

#[cfg(unix)]
use std::ffi::CString;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use thiserror::Error;

#[cfg(unix)]
use super::libpcap::Libpcap;
use super::place::Place;
use super::program::{InvalidProgram, Program, RawInstruction};
use crate::headers::LinkType;

/// Longer expressions are none.
const MAX_EXPRESSION_BYTES: usize = 1 << 16;

/// Why an expression does not compile.
#[derive(Debug, Error)]
pub enum CompileError {
    /// It is wrong, or makes no sense for the link type.
    #[error("{}", refused(.message, .place.as_ref()))]
    Expression {
        /// What libpcap says.
        message: String,
        /// Where, if that can be told.
        place: Option<Place>,
    },
    /// Nothing on this host compiles filters.
    #[error(
        "filters need libpcap or tcpdump, and neither is installed \
         (Debian: libpcap0.8; Fedora: libpcap)"
    )]
    NoCompiler,
    /// What was compiled cannot be run.
    #[error("the filter cannot be used: {0}")]
    Program(#[from] InvalidProgram),
    /// tcpdump did not do what it was asked for.
    #[error("tcpdump cannot compile the filter: {0}")]
    Tcpdump(#[from] io::Error),
}

fn refused(message: &str, place: Option<&Place>) -> String {
    place.map_or_else(
        || format!("filter: {message}"),
        |place| format!("filter: {message}{place}"),
    )
}

/// Who compiles filters on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// The library.
    Libpcap,
    /// The program, where there is no library.
    Tcpdump,
}

/// Who compiles filters on this host.
///
/// # Errors
/// [`CompileError::NoCompiler`], or what is wrong with the one there is.
pub fn compiler() -> Result<Compiler, CompileError> {
    if with_libpcap(LinkType::ETHERNET, "").is_some() {
        return Ok(Compiler::Libpcap);
    }
    with_tcpdump(LinkType::ETHERNET, "").map(|_| Compiler::Tcpdump)
}

/// Compiles an expression in tcpdump's syntax for packets of a link type.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(link: LinkType, expression: &str) -> Result<Program, CompileError> {
    let wrong = |message: &str| CompileError::Expression {
        message: message.to_owned(),
        place: None,
    };
    if expression.len() > MAX_EXPRESSION_BYTES {
        return Err(wrong("the expression is too long"));
    }
    if expression.contains('\0') {
        return Err(wrong("the expression contains a zero byte"));
    }
    match raw(link, expression)? {
        Ok(code) => Ok(Program::decode(&code)?),
        Err(message) => {
            let compiles = |expression: &str| matches!(raw(link, expression), Ok(Ok(_)));
            Err(CompileError::Expression {
                place: Place::find(expression, &message, compiles),
                message,
            })
        }
    }
}

/// The encoded program, or what libpcap says against the expression.
fn raw(
    link: LinkType,
    expression: &str,
) -> Result<Result<Vec<RawInstruction>, String>, CompileError> {
    let result = match with_libpcap(link, expression) {
        Some(result) => result,
        None => with_tcpdump(link, expression)?,
    };
    Ok(result.map_err(|message| {
        let message = message.trim();
        let plain = message.strip_prefix("can't parse filter expression: ");
        plain.unwrap_or(message).to_owned()
    }))
}

/// None where there is no libpcap.
#[cfg(unix)]
fn with_libpcap(link: LinkType, expression: &str) -> Option<Result<Vec<RawInstruction>, String>> {
    let expression = CString::new(expression).ok()?;
    Some(Libpcap::get()?.compile(&empty_capture(link), &expression))
}

/// Its files are those of a C library that others do not share there.
#[cfg(not(unix))]
fn with_libpcap(_: LinkType, _: &str) -> Option<Result<Vec<RawInstruction>, String>> {
    None
}

/// Has tcpdump compile for an empty capture of that link type: it needs no
/// rights for that, and knows the link type by its number.
fn with_tcpdump(
    link: LinkType,
    expression: &str,
) -> Result<Result<Vec<RawInstruction>, String>, CompileError> {
    let child = Command::new("tcpdump")
        .args(["-r", "-", "-ddd", "--", expression])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CompileError::NoCompiler);
        }
        child => child?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // If it does not want it, its exit code says why.
        let _ = stdin.write_all(&empty_capture(link));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or_default();
        let message = last.strip_prefix("tcpdump: ").unwrap_or(last);
        return Ok(Err(message.to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // The first line is the number of the others.
    let code: Option<Vec<_>> = text.lines().skip(1).map(instruction).collect();
    code.map(Ok)
        .ok_or_else(|| io::Error::other("unexpected output of tcpdump").into())
}

/// The header of a pcap file (draft-ietf-opsawg-pcap): compiled for a file, an
/// expression asks nothing that only the kernel knows, and finds the address
/// families of every system.
fn empty_capture(link: LinkType) -> Vec<u8> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const VERSION: [u16; 2] = [2, 4];
    const ZONE_AND_ACCURACY: u64 = 0;
    const SNAP_BYTES: u32 = 262_144;
    let mut header = MAGIC.to_ne_bytes().to_vec();
    header.extend(VERSION.map(u16::to_ne_bytes).as_flattened());
    header.extend(ZONE_AND_ACCURACY.to_ne_bytes());
    header.extend(SNAP_BYTES.to_ne_bytes());
    header.extend(u32::from(link.0).to_ne_bytes());
    header
}

/// A line of `tcpdump -ddd`: code, jt, jf, k.
fn instruction(line: &str) -> Option<RawInstruction> {
    let mut numbers = line.split_ascii_whitespace();
    let instruction = RawInstruction {
        code: numbers.next()?.parse().ok()?,
        jt: numbers.next()?.parse().ok()?,
        jf: numbers.next()?.parse().ok()?,
        k: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where all must be there that tests need.
    fn is_ci() -> bool {
        std::env::var_os("CI").is_some()
    }

    /// Both ways to compile come to the same, where there are both.
    #[test]
    fn tcpdump_compiles_as_libpcap_does() {
        if matches!(
            with_tcpdump(LinkType::ETHERNET, ""),
            Err(CompileError::NoCompiler)
        ) {
            assert!(!is_ci(), "no tcpdump here");
            println!("passed over: no tcpdump here");
            return;
        }
        for link in [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL2] {
            for expression in ["tcp port 80", "ip6 or host 10.0.0.9", ""] {
                let Some(code) = with_libpcap(link, expression) else {
                    assert!(!is_ci(), "no libpcap here");
                    println!("passed over: no libpcap here");
                    return;
                };
                assert_eq!(with_tcpdump(link, expression).unwrap(), code);
            }
        }
        let wrong = with_tcpdump(LinkType::ETHERNET, "tcp port").unwrap();
        assert!(wrong.unwrap_err().contains("syntax error"));
    }
}
