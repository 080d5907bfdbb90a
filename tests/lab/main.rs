//! The recorder in a lab: real traffic between network namespaces of its own,
//! recorded with the real command and held against what was really done.
//!
//! The tests need root and a few programs. Where one is missing, every test is
//! shown as ignored, with the reason beside its name.

// A test ends by a panic and says what it saw; clippy knows only those of the standard harness.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod counts;
mod doctor;
mod ends;
mod events;
mod fallbacks;
mod filters;
mod frames;
mod http2;
mod interfaces;
mod keeper;
mod leftovers;
mod links;
mod listeners;
mod live;
mod load;
mod namespaces;
mod netns;
mod one_name;
mod options;
mod overload;
mod owners;
mod process;
mod readers;
mod recorder;
mod records;
mod report;
mod resets;
mod rights;
mod rotation;
mod shim;
mod signals;
mod survival;
mod times;
mod tls;
mod top;
mod traffic;
mod truth;
mod tun;
mod wanted;
mod web;
mod world;

use std::env;
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;

use libtest_mimic::{Arguments, Trial};
use nix::unistd::geteuid;

/// What the tests run, beside the recorder itself.
const PROGRAMS: &[&str] = &[
    "cc", "curl", "ip", "iperf3", "jq", "nft", "nginx", "openssl", "python3", "setcap", "tcpdump",
    "tshark", "wrk", "zstdcat",
];

/// A test goes by the path of its function.
macro_rules! tests {
    ($($module:ident::$function:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($function)), $module::$function as fn())),*]
    };
}

const TESTS: &[(&str, fn())] = tests![
    traffic::client_side_tcx,
    traffic::client_side_socket_filter,
    traffic::server_side_tcx,
    traffic::server_side_socket_filter,
    traffic::loopback_tcx,
    traffic::loopback_socket_filter,
    traffic::loopback_transports,
    traffic::any_interface,
    traffic::a_thousand_requests_in_every_format,
    traffic::a_thousand_requests_from_both_hosts,
    times::causes,
    truth::losses,
    leftovers::ports_used_again,
    leftovers::half_open,
    leftovers::one_sided,
    live::is_replay,
    live::findings_at_once,
    live::condition,
    live::misuse,
    tls::handshakes,
    tls::turns,
    http2::prior_knowledge,
    http2::broken_off,
    http2::given_up,
    links::without_headers,
    links::vlan_tags_in_the_bytes,
    links::vlan_tags_beside_the_bytes,
    links::fragments,
    links::through_one_interface,
    links::by_turns,
    options::command,
    options::no_command,
    options::to_standard_output,
    options::command_to_standard_output,
    options::short_snap_length,
    options::packet_count,
    options::duration,
    options::duration_on_many_interfaces,
    options::several_interfaces,
    options::printing,
    options::figures_on_a_terminal,
    options::misuse,
    options::help,
    options::not_root,
    signals::others,
    signals::twice_together,
    signals::without_a_terminal,
    signals::in_a_pid_namespace,
    signals::a_stopped_terminal,
    signals::a_fifo_without_a_reader,
    filters::tcx,
    filters::socket_filter,
    filters::hold_for_what_comes,
    filters::in_vain,
    wanted::by_name,
    wanted::of_a_listener,
    wanted::followed,
    wanted::of_several_listeners,
    wanted::of_a_listener_long_ago,
    wanted::without_the_first_thread,
    wanted::of_a_port_used_again,
    wanted::of_a_pid_used_again,
    wanted::followed_from_the_start,
    wanted::of_a_hidden_control_group,
    listeners::at_another_address,
    listeners::of_several_processes,
    listeners::got_before_the_program,
    listeners::got_without_a_program,
    listeners::got_and_selected,
    listeners::many,
    listeners::in_another_namespace,
    listeners::with_its_host,
    listeners::behind_translation,
    namespaces::elsewhere,
    namespaces::same_ends,
    namespaces::told_apart,
    namespaces::containers,
    namespaces::past_the_host,
    namespaces::control_groups_of_version_1,
    namespaces::interface_returns,
    events::each_kind,
    events::changes,
    events::printed_closes,
    events::processes,
    events::sockets_from_before,
    events::totals,
    owners::blocking_and_not,
    owners::refused,
    owners::unanswered,
    owners::workers,
    owners::listeners_on_one_port,
    owners::threads,
    owners::mapped_addresses,
    owners::from_before,
    owners::inherited,
    owners::held_by_bystanders,
    owners::gone_at_once,
    owners::used_again,
    owners::read_after_the_end,
    owners::of_a_kernel_worker,
    resets::of_either_end,
    resets::of_another_process,
    resets::of_a_firewall,
    resets::after_the_end,
    resets::of_a_listener,
    load::owners,
    readers::tshark,
    readers::tcpdump,
    readers::jq,
    top::against_the_wire,
    top::retransmissions,
    top::into_a_pipe,
    top::on_a_terminal,
    top::killed,
    top::misuse,
    counts::owners,
    counts::handshakes,
    counts::reset_before_accept,
    counts::names,
    rotation::by_size,
    rotation::ring,
    rotation::begun_again,
    rotation::by_time,
    rotation::closed_sockets,
    rotation::many_sockets,
    rotation::misuse,
    one_name::is_refused,
    one_name::is_refused_later,
    one_name::is_free_after_a_kill,
    one_name::is_free_of_a_device,
    survival::killed_at_any_moment,
    survival::ended_by_signals,
    survival::reader_gone,
    survival::full_disk,
    survival::full_disk_alone,
    survival::refused_writes,
    survival::limited_file_size,
    survival::full_device,
    survival::removed,
    survival::full_standard_output,
    survival::reading_fails,
    survival::clock_step,
    survival::full_pipe,
    interfaces::returns,
    interfaces::comes,
    interfaces::are_noticed_soon,
    interfaces::vanish_at_the_start,
    interfaces::is_replaced,
    interfaces::moves,
    interfaces::by_number,
    interfaces::by_another_name,
    interfaces::of_an_unknown_kind,
    interfaces::behind_another_program,
    interfaces::before_another_program,
    interfaces::before_another_recorder,
    interfaces::few_descriptors,
    interfaces::many,
    doctor::agrees_with_the_recorder,
    doctor::without_rights,
    fallbacks::no_btf,
    fallbacks::no_btf_listener,
    fallbacks::no_btf_gone_listener,
    fallbacks::no_btf_older_listener,
    fallbacks::no_btf_numbers,
    fallbacks::no_btf_for_processes,
    overload::small_buffer,
    overload::losses_in_pcapng,
    overload::much_at_once,
    overload::stopped_reader,
    overload::events_wait,
    overload::slow_output,
    rights::given_up,
    rights::in_a_user_namespace,
    rights::without_sysfs,
    rights::not_given_up,
    rights::no_core_dump,
    rights::file_capabilities,
    rights::files_are_hidden,
    ends::named_namespace,
    ends::nothing_is_left,
    ends::killed,
    ends::tests_killed,
];

fn main() -> ExitCode {
    if let Some(code) = keeper::keep() {
        return code;
    }
    let missing = missing();
    let trials = TESTS.iter().map(|&(name, test)| {
        let trial = Trial::test(name, move || {
            run(name, test);
            Ok(())
        });
        match &missing {
            Some(missing) => trial
                .with_kind(format!("needs {missing}"))
                .with_ignored_flag(true),
            None => trial,
        }
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    for name in UNSTEADY.lock().iter().flat_map(|names| names.iter()) {
        eprintln!("{name} passed only when it was run again: above it says why");
    }
    conclusion.exit_code()
}

/// The tests that failed, and then did not.
static UNSTEADY: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// Runs a test, and once more if it fails: real traffic of real programs depends on what
/// else the machine has to do. What is broken fails again.
fn run(name: &'static str, test: fn()) {
    if panic::catch_unwind(test).is_err() {
        eprintln!("{name} failed, and is run again");
        test();
        if let Ok(mut names) = UNSTEADY.lock() {
            names.push(name);
        }
    }
}

/// What these tests need and do not find here.
fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("root".to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&&str| env::split_paths(&path).any(|folder| folder.join(program).exists());
    PROGRAMS
        .iter()
        .find(|program| !is_there(program))
        .map(|&program| program.to_owned())
}
