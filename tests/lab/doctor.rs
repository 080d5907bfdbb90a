//! The doctor says what the recorder then does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fallbacks::without_btf;
use crate::process::Ended;
use crate::recorder::TCPREC;
use crate::records;
use crate::world::World;

/// The findings, and whether the exit code agrees with them.
fn findings(ended: &Ended) -> Value {
    let findings: Value = serde_json::from_str(&ended.output)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.output, ended.errors));
    let is_missing = checks(&findings).any(|check| check["status"] == "missing");
    assert_eq!(findings["complete"], !is_missing, "{findings}");
    assert_eq!(
        ended.status.code(),
        Some(i32::from(is_missing)),
        "{findings}"
    );
    findings
}

fn checks(findings: &Value) -> impl Iterator<Item = &Value> {
    findings["checks"].as_array().expect("a list").iter()
}

fn check<'a>(findings: &'a Value, name: &str) -> &'a Value {
    let mut found = checks(findings).filter(|check| check["check"] == name);
    found
        .next()
        .unwrap_or_else(|| panic!("no {name}: {findings}"))
}

/// Each hook that a capture names stands there, with the reason if it is missing;
/// and no other.
fn expect_hooks_of(findings: &Value, capture: &Path) {
    let records = records::read(capture);
    let list = |field: &str| records[0][field].as_array().cloned().unwrap_or_default();
    let hooks: Vec<_> = list("hooks");
    for hook in &hooks {
        let name = hook.as_str().expect("a name");
        assert_eq!(check(findings, name)["status"], "ok", "{findings}");
    }
    for missing in list("missing_hooks") {
        let found = check(findings, missing["hook"].as_str().expect("a name"));
        assert_ne!(found["status"], "ok", "{found}");
        assert_eq!(found["detail"], missing["reason"], "{found}");
    }
    for check in checks(findings).filter(|check| check["status"] == "ok") {
        let name = check["check"].as_str().expect("a name");
        if name.contains('/') || name == "tcx" || name == "socket filter" {
            assert!(
                hooks.contains(&check["check"]),
                "{name} is not among {hooks:?}"
            );
        }
    }
}

pub(crate) fn agrees_with_the_recorder() {
    let world = World::without_cable();
    let run = |arguments: &[&str], has_btf: bool| {
        let command = if has_btf {
            let mut command = Command::new(TCPREC);
            command.args(arguments);
            command
        } else {
            without_btf(arguments)
        };
        world.start(&world.server, command).finish()
    };
    for has_btf in [true, false] {
        let capture = world.file(&format!("{has_btf}.jsonl"));
        let output = capture.display().to_string();
        let record = ["record", "--duration", "0.1", "-o", &output];
        run(&record, has_btf).expect_code(0);
        let findings = findings(&run(&["doctor", "--format", "json"], has_btf));
        expect_hooks_of(&findings, &capture);
        let status = if has_btf { "ok" } else { "fallback" };
        assert_eq!(check(&findings, "BTF")["status"], status);
        if !has_btf {
            assert_eq!(findings["complete"], false);
        }
        let interfaces = check(&findings, "interfaces");
        assert_eq!(interfaces["detail"], "lo", "{interfaces}");
    }
}

/// It works without any rights, and tells which are wanted.
pub(crate) fn without_rights() {
    const NOBODY: u32 = 65534;
    let world = World::without_cable();
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.folder(), everyone).expect("a folder for all");
    let program = world.copy(TCPREC, "tcprec");
    for format in ["json", "text"] {
        let mut command = Command::new(&program);
        command.args(["doctor", "--format", format]);
        command.uid(NOBODY).gid(NOBODY);
        let ended = world.start(&world.server, command).finish();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.errors);
        assert_eq!(ended.errors, "");
        for word in ["CAP_BPF", "setcap"] {
            assert!(ended.output.contains(word), "{}", ended.output);
        }
        if format == "json" {
            let findings = findings(&ended);
            assert_eq!(check(&findings, "capabilities")["status"], "missing");
            assert_eq!(check(&findings, "recording")["status"], "unknown");
        } else {
            for word in ["STATUS", "ok", "missing", "unknown", "  -> "] {
                assert!(ended.output.contains(word), "{word}: {}", ended.output);
            }
        }
    }
}
