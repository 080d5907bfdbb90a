//! Which container a process runs in, as the path of its control group tells.

/// The container's id: 64 hexadecimal digits, as Docker, Podman, containerd and
/// CRI-O have it, in whatever a manager of control groups makes of it; of
/// containers inside containers the inner one. Of systemd-nspawn's machines the name.
pub(crate) fn container(cgroup: &str) -> Option<String> {
    let inwards: Vec<_> = cgroup.split('/').collect();
    let outwards = (0..inwards.len()).rev();
    outwards
        .filter_map(|place| Some((*inwards.get(place)?, inwards.get(place + 1).copied())))
        .find_map(|(group, inner)| id(group).or_else(|| machine(group, inner)))
}

fn id(group: &str) -> Option<String> {
    const ID_DIGITS: usize = 64;
    let (before, id) = group
        .split(|c: char| !c.is_ascii_hexdigit())
        .rfind(|word| word.len() == ID_DIGITS)
        .and_then(|id| Some((group.split_once(id)?.0, id)))?;
    // The process that looks after a container is not inside (libpod-conmon-ID,
    // crio-conmon-ID).
    (!before.contains("conmon")).then(|| id.to_owned())
}

/// The machine's own processes are in the group `payload` of its unit, that of
/// systemd-nspawn itself beside it (systemd-nspawn(1), since version 233).
fn machine(group: &str, inner: Option<&str>) -> Option<String> {
    if inner != Some("payload") {
        return None;
    }
    let service = || {
        group
            .strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    let scope = || group.strip_prefix("machine-")?.strip_suffix(".scope");
    Some(unescape(service().or_else(scope)?))
}

/// A name as it was before systemd escaped it: `a\x2db` is `a-b` (systemd-escape(1)).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = rest.strip_prefix(br"\x").and_then(|code| {
            let (digits, after) = code.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = code.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c9e0ab27d4586f1c9e0ab27d45863f1c9e0ab27d4586f1c9e0ab27d458611";

    fn found(path: &str) -> Option<String> {
        container(&path.replace("ID", ID))
    }

    #[test]
    fn ids_in_all_spellings() {
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/machine.slice/machine-libpod_pod_0123.slice/libpod-ID.scope",
            "/libpod_parent/libpod-ID",
            "/kubepods/besteffort/pod6a2c1a3e-9d0f-4b7b-8f1e-2d3c4b5a6978/ID",
            "/kubepods.slice/kubepods-burstable.slice/\
             kubepods-burstable-pod6a2c1a3e_9d0f_4b7b_8f1e_2d3c4b5a6978.slice/\
             cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod6a2c1a3e_9d0f_4b7b_8f1e_2d3c4b5a6978.slice/crio-ID.scope",
            "/kubepods-burstable-pod6a2c1a3e_9d0f_4b7b_8f1e_2d3c4b5a6978.slice:cri-containerd:ID",
            "/system.slice/nerdctl-ID.scope",
            "/default/ID",
        ] {
            assert_eq!(found(path).as_deref(), Some(ID), "{path}");
        }
        let outer = "0".repeat(64);
        let nested = format!("/docker/{outer}/kubelet/kubepods/pod1/ID");
        assert_eq!(found(&nested).as_deref(), Some(ID));
    }

    #[test]
    fn machines_of_systemd_nspawn() {
        for (path, name) in [
            (
                "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
                "web",
            ),
            (r"/machine.slice/machine-a\x2db.scope/payload", "a-b"),
            (r"/machine.slice/machine-odd\x.scope/payload", r"odd\x"),
        ] {
            assert_eq!(found(path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn what_is_in_no_container() {
        for path in [
            "/",
            "/user.slice/user-0.slice/session-3.scope",
            "/system.slice/docker.service",
            "/system.slice/containerd.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/machine.slice/systemd-nspawn@web.service/supervisor",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            "/system.slice/system-0123456789abcdef.slice",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
