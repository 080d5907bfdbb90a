//! Figures and foreign text as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthChar as _;

/// A number with its thousands set apart: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 packet`, `2 packets`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A share of a whole, `99.9 %`; only all of it is 100 %.
pub fn share(part: u64, of: u64) -> String {
    let (part, of) = (u128::from(part), u128::from(of.max(1)));
    let rounded = (part * 2000 + of) / (of * 2);
    let tenths = if part < of { rounded.min(999) } else { rounded };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Bytes with three digits and a decimal unit: `999 B`, `1.23 kB`, `45.6 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    format!("{} {unit}", three_digits(value))
}

/// A duration with three digits, or in minutes and hours: `0 s`, `1.23 ms`,
/// `45.6 s`, `2 min 5 s`, `3 h 7 min`.
pub fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let seconds = (ns + 500_000_000) / 1_000_000_000;
    match ns {
        0 => "0 s".into(),
        1..1_000 => format!("{sign}{ns} ns"),
        1_000..999_500 => format!("{sign}{} µs", three_digits(ns as f64 / 1e3)),
        999_500..999_500_000 => format!("{sign}{} ms", three_digits(ns as f64 / 1e6)),
        999_500_000..59_950_000_000 => format!("{sign}{} s", three_digits(ns as f64 / 1e9)),
        _ if seconds < 3600 => format!("{sign}{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{sign}{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A moment in a time zone, in the notation of `strftime`.
pub fn moment(ts_ns: i64, zone: &TimeZone, notation: &str) -> String {
    let mut text = String::new();
    let written = Timestamp::from_nanosecond(ts_ns.into())
        .ok()
        .and_then(|time| {
            write!(
                text,
                "{}",
                time.to_zoned_datetime(zone.clone()).strftime(notation)
            )
            .ok()
        });
    if written.is_none() {
        text = format!("{ts_ns} ns");
    }
    text
}

/// As much of a text as has room in so many columns.
pub fn start_of(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, char)| {
        used += char.width().unwrap_or(0);
        used > width
    });
    end.map_or(text, |(place, _)| text.get(..place).unwrap_or(""))
}

/// Text from a capture, safe to show: what could steer a terminal is written
/// as `\x1b`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if steers(char) {
            let _ = write!(safe, "\\x{:02x}", u32::from(char)); // into a String: cannot fail
        } else {
            safe.push(char);
        }
    }
    safe.into()
}

/// As [`clean`], of a message that may have several lines.
#[must_use]
pub fn clean_message(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(clean).collect();
    lines.join("\n")
}

/// Control characters, and those that turn the direction of writing.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.00 kB");
        assert_eq!(bytes(999_499), "999 kB");
        assert_eq!(bytes(999_500), "1.00 MB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(12_340), "12.3 µs");
        assert_eq!(duration(999_499), "999 µs");
        assert_eq!(duration(999_500), "1.00 ms");
        assert_eq!(duration(-1_204_000), "-1.20 ms");
        assert_eq!(duration(59_949_999_999), "59.9 s");
        assert_eq!(duration(59_950_000_000), "1 min 0 s");
        assert_eq!(duration(3_599_600_000_000), "1 h 0 min");
        assert_eq!(duration(i64::MIN), "-2562047 h 47 min");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        let shares = [(9, 33), (8, 24), (9_999, 10_000), (1, 1), (0, 5), (0, 0)];
        let told = shares.map(|(part, of)| share(part, of));
        assert_eq!(
            told,
            ["27.3 %", "33.3 %", "99.9 %", "100.0 %", "0.0 %", "0.0 %"]
        );
    }

    #[test]
    fn moments_have_a_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            moment(1_500, &TimeZone::UTC, "%H:%M:%S%.6f"),
            "00:00:00.000001"
        );
        assert_eq!(moment(0, &zone, "%Y-%m-%d %H:%M"), "1970-01-01 02:00");
        for edge in [i64::MIN, i64::MAX] {
            assert!(!moment(edge, &zone, "%Y-%m-%d").is_empty());
        }
    }

    #[test]
    fn a_text_is_cut_by_the_columns_it_takes() {
        assert_eq!(start_of("日本語", 5), "日本");
        assert_eq!(start_of("e\u{301}e", 1), "e\u{301}");
        assert_eq!(start_of("abc", 3), "abc");
        assert_eq!(start_of("abc", 0), "");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("GET /ü"), "GET /ü");
        assert_eq!(
            clean("a\x1b[2Jb\n\u{9b}\u{202e}"),
            "a\\x1b[2Jb\\x0a\\x9b\\x202e"
        );
    }
}
