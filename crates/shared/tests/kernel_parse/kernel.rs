//! The kernel's header parse, compiled by the host's C compiler and run as a
//! process: packets go in and lines come out (see host.c).

use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::{FromStr, SplitWhitespace};

use tcprec_shared::flow::Endpoint;
use tcprec_shared::record::KernelParse;

/// What the kernel made of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parse {
    pub(crate) parse: KernelParse,
    pub(crate) is_fragment: bool,
}

/// The running program.
pub(crate) struct Kernel {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Kernel {
    /// The C compiler, if there is one that can compile it.
    pub(crate) fn compiler() -> Option<String> {
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let works = Command::new(&compiler).arg("--version").output().is_ok();
        (cfg!(target_os = "linux") && works).then_some(compiler)
    }

    /// Compiles the program into `folder` and starts it.
    pub(crate) fn start(compiler: &str, folder: &Path) -> io::Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = folder.join("kernel_parse");
        let compiled = Command::new(compiler)
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg("-I")
            .arg(package.join("../../bpf"))
            .arg(package.join("tests/kernel_parse/host.c"))
            .status()?;
        if !compiled.success() {
            return Err(io::Error::other("the kernel's parse does not compile"));
        }
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let from = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            process,
            to,
            from: BufReader::new(from),
        })
    }

    /// Parses a packet that begins with Ethernet, or with IP if `network_only`.
    pub(crate) fn parse(&mut self, network_only: bool, packet: &[u8]) -> io::Result<Option<Parse>> {
        let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
        let mut request = u32::from(network_only).to_ne_bytes().to_vec();
        request.extend(length.to_ne_bytes());
        request.extend(packet);
        self.to.write_all(&request)?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        match line.trim_end() {
            "-" => Ok(None),
            line => read_parse(&mut line.split_whitespace()).map(Some),
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // It only waits for packets.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_parse(words: &mut SplitWhitespace<'_>) -> io::Result<Parse> {
    Ok(Parse {
        parse: KernelParse {
            src: Endpoint::new(word(words)?, word(words)?),
            dst: Endpoint::new(word(words)?, word(words)?),
            flags: word(words)?,
            header_bytes: word(words)?,
            payload_bytes: word(words)?,
        },
        is_fragment: word::<u8>(words)? != 0,
    })
}

fn word<T: FromStr<Err: Display>>(words: &mut SplitWhitespace<'_>) -> io::Result<T> {
    let word = words.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    word.parse()
        .map_err(|e| io::Error::other(format!("{word}: {e}")))
}
