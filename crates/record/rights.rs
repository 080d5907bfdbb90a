//! Which rights the recorder gives up once its programs are attached.

use caps::{CapSet, Capability, CapsHashSet};
use thiserror::Error;

/// How a program is given the rights to record, and its users with it.
pub(crate) const SETCAP: &str = "sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw,\
     cap_sys_ptrace,cap_dac_read_search=ep $(command -v tcprec)";

/// Rights that could not be given up.
#[derive(Debug, Error)]
#[error("cannot drop privileges: {0}")]
pub(crate) struct RightsError(String);

/// What a recording still needs: to look into its maps (kernels before 5.19
/// ask for it where BPF is privileged), to attach to interfaces that return,
/// and to read the programs of other users' processes.
const NEEDED: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_SYS_PTRACE,
];

/// Gives up all other capabilities, and the way to new ones, for this thread and those
/// that it starts; for the whole process core dumps. With `creates_files` root keeps the
/// right to create files in folders of others.
///
/// # Errors
/// The kernel's.
pub(crate) fn give_up(creates_files: bool) -> Result<(), RightsError> {
    let failed = |error: &dyn ToString| RightsError(error.to_string());
    let held = caps::read(None, CapSet::Permitted).map_err(|error| failed(&error))?;
    let mut kept: CapsHashSet = NEEDED.into_iter().collect();
    if creates_files {
        kept.insert(Capability::CAP_DAC_OVERRIDE);
    }
    kept.retain(|capability| held.contains(capability));
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let kept = match set {
            CapSet::Inheritable => &CapsHashSet::new(),
            _ => &kept,
        };
        caps::set(None, set, kept).map_err(|error| failed(&error))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(|error| failed(&error))?;
    // Memory holds what users sent: a core dump would, too.
    nix::sys::prctl::set_dumpable(false).map_err(|error| failed(&error))
}
