//! One header parse in two languages: the kernel's, compiled for the host, says
//! of every packet what the userspace parser says.
//!
//! Ignored where there is no C compiler, and on other systems than Linux.

#[path = "../captures/mod.rs"]
mod captures;
mod generated;
mod kernel;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tcprec_shared::headers::{self, Headers, LinkType};
use tcprec_shared::record::KernelParse;

use generated::Generated;
use kernel::{Kernel, Parse};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let compiler = Kernel::compiler();
    let ignored = compiler.is_none();
    let compiler: Arc<str> = compiler.unwrap_or_default().into();
    let trial = |name: String, run: fn(&mut Kernel, &Path) -> Result<(), Failed>, path: PathBuf| {
        let compiler = Arc::clone(&compiler);
        Trial::test(name, move || {
            let folder = tempfile::tempdir()?;
            run(&mut Kernel::start(&compiler, folder.path())?, &path)
        })
        .with_ignored_flag(ignored)
    };
    let mut trials = vec![
        trial(
            "generated_packets".into(),
            generated_packets,
            PathBuf::new(),
        ),
        trial("more_vlan_tags".into(), more_vlan_tags, PathBuf::new()),
    ];
    for (name, input) in captures::fixtures() {
        trials.push(trial(format!("fixtures/{name}"), fixture, input));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Both parsers' answers for a packet that is whole.
fn both(
    kernel: &mut Kernel,
    network_only: bool,
    packet: &[u8],
) -> io::Result<(Option<Parse>, Option<Parse>)> {
    let link = if network_only {
        LinkType::RAW
    } else {
        LinkType::ETHERNET
    };
    let headers = headers::parse(link, packet, packet.len() as u32);
    let userspace = KernelParse::expected(&headers).map(|parse| Parse {
        parse,
        is_fragment: matches!(headers, Headers::Fragment(_)),
    });
    Ok((kernel.parse(network_only, packet)?, userspace))
}

fn generated_packets(kernel: &mut Kernel, _: &Path) -> Result<(), Failed> {
    const CASES: u32 = 10_000;
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let (segments, fragments) = (Cell::new(0), Cell::new(0));
    let kernel = RefCell::new(kernel);
    TestRunner::new(config).run(&generated::packet(), |packet| {
        let Generated {
            network_only,
            bytes,
        } = packet;
        let (by_kernel, by_userspace) = both(&mut kernel.borrow_mut(), network_only, &bytes)
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(by_kernel, by_userspace);
        match by_kernel {
            Some(parse) if !parse.is_fragment => segments.set(segments.get() + 1),
            Some(_) => fragments.set(fragments.get() + 1),
            None => {}
        }
        Ok(())
    })?;
    // Two parsers that refuse everything would agree as well.
    let (segments, fragments) = (segments.get(), fragments.get());
    if segments < CASES / 10 || fragments < CASES / 40 {
        return Err(format!("only {segments} segments and {fragments} fragments").into());
    }
    Ok(())
}

/// After 4 tags the kernel gives up, so that such a packet is not recorded.
fn more_vlan_tags(kernel: &mut Kernel, _: &Path) -> Result<(), Failed> {
    for tags in 0..=5 {
        let mut packet = vec![2; 12];
        packet.extend([0x81, 0, 0, 7].repeat(tags));
        packet.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([
            0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
        ]);
        let (by_kernel, by_userspace) = both(kernel, false, &packet)?;
        if by_userspace.is_none() || by_kernel != by_userspace.filter(|_| tags <= 4) {
            return Err(format!("{tags} tags: {by_kernel:?}, {by_userspace:?}").into());
        }
    }
    Ok(())
}

fn fixture(kernel: &mut Kernel, input: &Path) -> Result<(), Failed> {
    captures::each_packet(input, |link, packet| {
        let network_only = match link {
            LinkType::ETHERNET => false,
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => true,
            // The kernel side meets no others.
            _ => return Ok(()),
        };
        // What was cut in the capture was whole in the kernel.
        if packet.data.len() < packet.wire_bytes as usize {
            return Ok(());
        }
        let (by_kernel, by_userspace) = both(kernel, network_only, &packet.data)?;
        if by_kernel == by_userspace {
            return Ok(());
        }
        let ts_ns = packet.ts_ns;
        Err(format!("at {ts_ns}: {by_kernel:?} is not {by_userspace:?}").into())
    })?;
    Ok(())
}
