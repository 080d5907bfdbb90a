use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Condition, help, sample};

#[test]
fn rows_are_told_by_their_fields() {
    let row = json!({
        "kind": "http", "orig_comm": "curl", "resp_comm": "nginx", "duration": 0.25,
        "status_code": 503, "id.orig_h": "10.0.0.9", "id.orig_p": 40_000,
        "id.resp_h": "10.0.0.2", "id.resp_p": 80, "uri": "/a/b", "reused_ports": false,
        "tls": {"version": "TLSv1.3"}, "incomplete": ["packets"], "host": null,
        "version": "1.1",
    });
    for (text, holds) in [
        ("process == nginx", true),
        ("process == \"curl\" and status >= 500", true),
        ("orig_comm == nginx", false),
        ("duration_ms > 249 and duration < 0.3", true),
        ("duration_ms > 250", false),
        ("not (status < 500) && id.resp_p = 80", true),
        ("state == REJ", false),
        ("not state == REJ", true),
        ("state != REJ", false), // it has none
        ("path ~ '/b' or host", true),
        ("host", false),
        ("uri", true),
        ("tls.version == TLSv1.3", true),
        ("reused_ports == false", true),
        ("incomplete == packets", true),
        // What looks like a number may be a text.
        ("uri ~ 5", false),
        ("version == 1.1", true),
        ("port == 80", true),
        ("addr == 10.0.0.2 and not addr == 10.0.0.3", true),
        ("addr == 10.0.0.0/8 and id.orig_h != 10.0.0.0/30", true),
        ("addr == 10.0.0.0/32 or addr == ::/0", false),
        ("addr ~ '0.0.9'", true),
    ] {
        let condition: Condition = text.parse().unwrap();
        assert_eq!(condition.holds(&row), holds, "{text}");
    }
}

#[test]
fn mistakes_are_shown_with_their_place() {
    for (text, column) in [
        ("", 0),
        ("stat >= 500", 0),
        ("status >=", 9),
        ("status >= 500 status", 14),
        ("(status", 7),
        ("state == 'REJ", 9),
        ("status ? 5", 7),
        ("ü == 1", 0),
        ("status == 1 and ü", 16),
        ("status == 1 and", 15),
        // Of which nothing can hold.
        ("status >= abc", 10),
        ("status == '503'", 10),
        ("duration_ms > 5s", 14),
        ("duration > nan", 11),
        ("status ~ 50", 7),
        ("reused_ports == yes", 16),
        ("tls == TLSv1.3", 7),
        ("state == refused", 9),
        ("finding != 'slow server'", 11),
        ("kind == process", 8),
        ("id.resp_h == web1", 13),
        ("addr == 10.0.0.0/33", 8),
        ("addr == ::1/129", 8),
        ("ts >= noon", 6),
        ("req_ts_first < '14:03:05.'", 15),
        ("ts < '14:03:05.1234567890'", 5),
        ("ts < 24:00", 5),
        ("ts < 2026-02-30", 5),
        ("ts < 2026-11-30T14", 5),
        ("ts_ms < 14:03", 8),
        ("duration < 14:03", 11),
    ] {
        let error = text.parse::<Condition>().unwrap_err();
        assert_eq!(error.column, column, "{error}");
    }
    for much in ["(".repeat(10_000), "not ".repeat(4000), "ü".repeat(100_000)] {
        let error = much.parse::<Condition>().unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    for hostile in [
        "(\"",
        "\u{1b}[31m ==",
        "status == \u{0}",
        "é\u{301}",
        "'",
        "~~",
        "..",
        "tls.",
    ] {
        assert!(hostile.parse::<Condition>().is_err(), "{hostile}");
    }
}

#[test]
fn the_help_names_the_fields() {
    let help = help();
    for name in [
        "comm",
        "kernel_srtt",
        "conn_state",
        "time_server",
        "finding",
        "tls.alpn",
    ] {
        assert!(help.contains(name), "{name}: {help}");
    }
}

#[test]
fn moments_are_those_of_a_time_zone_and_last_as_long_as_they_are_exact() {
    // 2026-11-30 14:03:05.25 in UTC.
    let row = json!({"ts": 1_796_047_385.25, "req_ts_first": 1_796_047_385.25, "tls": {"ts": 0.5}});
    let there = TimeZone::fixed(jiff::tz::offset(-5));
    for (text, here_holds, there_holds) in [
        ("ts >= 14:03", true, false),
        ("ts == '09:03'", false, true),
        (
            "ts == 14:03:05.25 and ts == 14:03:05.2 and ts == 14:03:05",
            true,
            false,
        ),
        ("ts == 14:03:05.250001 or ts == 14:03:06", false, false),
        ("ts > 14:02 and ts <= 14:03 and not ts > 14:03", true, false),
        ("req_ts_first < 14:04:00.000", true, true),
        (
            "ts == 2026-11-30 and ts > '2026-11-30 09:03:04'",
            true,
            true,
        ),
        ("ts == 2026-11-30T14:03:05.250000", true, false),
        ("ts >= 2026-12-01 or ts < 2026-11-30T00:00", false, false),
        ("ts > 1796047385.2 and ts < 1796047385.3", true, true),
        ("tls.ts == 1970-01-01T00:00:00.5", true, false),
    ] {
        let condition: Condition = text.parse().unwrap();
        assert_eq!(condition.holds(&row), here_holds, "{text}");
        let condition = condition.in_zone(there.clone());
        assert_eq!(condition.holds(&row), there_holds, "{text}");
    }
    for beyond in [f64::MAX, -f64::MAX, 1e18] {
        let condition: Condition = "ts < 14:03 or ts >= 14:03".parse().unwrap();
        assert!(!condition.holds(&json!({ "ts": beyond })));
    }
}

/// The names of fields in the tables of docs/report.md, those of either end without the
/// end.
fn documented() -> BTreeSet<String> {
    // Each row has it; the headings name it.
    let mut names = BTreeSet::from(["kind".to_owned()]);
    for section in include_str!("../../../../docs/report.md").split("\n#") {
        let (title, text) = section.split_once('\n').unwrap();
        let prefix = match title.trim_start_matches(['#', ' ']) {
            "kind: finding" | "kind: conn" | "kind: http" | "Where the time went" => "",
            "TLS" => "tls.",
            "Turns" => "turns.",
            _ => continue,
        };
        let mut is_of_fields = false;
        for line in text.lines() {
            is_of_fields = line.starts_with("| field |") || is_of_fields && line.starts_with('|');
            let cell = line.split('|').nth(1).filter(|_| is_of_fields);
            let quoted = cell.unwrap_or_default().split('`').skip(1).step_by(2);
            // `id.*` are the fields of another table.
            let quoted = quoted.filter(|name| !name.ends_with('*'));
            names.extend(quoted.map(|name| of_either(&format!("{prefix}{name}")).to_owned()));
        }
    }
    names
}

fn of_either(name: &str) -> &str {
    let of_end = name.strip_prefix("orig_").or(name.strip_prefix("resp_"));
    of_end.unwrap_or(name)
}

#[test]
fn the_fields_are_those_of_the_documentation() {
    let documented = documented();
    for name in &documented {
        assert!(name.parse::<Condition>().is_ok(), "{name}");
    }
    for row in sample::rows() {
        for (name, value) in row.as_object().unwrap() {
            let within = value
                .as_object()
                .filter(|_| name == "tls" || name == "turns");
            let within = within.into_iter().flatten();
            let within = within.map(|(field, _)| format!("{name}.{field}"));
            for name in within.chain([of_either(name).to_owned()]) {
                assert!(documented.contains(&name), "{name}");
            }
        }
    }
}

/// A field of which no sample tells the kind could be compared with nothing.
#[test]
fn every_field_has_a_kind() {
    fn without(value: &Value, name: &str, found: &mut Vec<String>) {
        match value {
            Value::Null => found.push(name.to_owned()),
            Value::Array(all) if all.is_empty() => found.push(name.to_owned()),
            Value::Object(fields) => {
                for (name, value) in fields {
                    without(value, name, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for row in sample::rows() {
        without(&row, "", &mut found);
    }
    assert_eq!(found, [""; 0]);
}
