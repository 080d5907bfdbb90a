//! The values that `tcprec record` takes: what one that makes no sense is told.

use std::time::{Duration, Instant};

use nix::unistd::User;

use crate::kernel::{MAX_BUFFER_BYTES, MAX_SNAP_BYTES, Snap};

/// A snap length as tcpdump takes it (0 is the largest), or `adaptive`.
pub(super) fn snap(text: &str) -> Result<Snap, String> {
    // A link header, IPv4 and TCP without options, and room for VLAN tags.
    const SMALLEST: u32 = 64;
    if text == "adaptive" {
        return Ok(Snap::Adaptive);
    }
    match text.parse() {
        Ok(0) => Ok(Snap::Fixed(MAX_SNAP_BYTES)),
        Ok(bytes) if (SMALLEST..=MAX_SNAP_BYTES).contains(&bytes) => Ok(Snap::Fixed(bytes)),
        _ => Err(format!(
            "expected a number from {SMALLEST} to {MAX_SNAP_BYTES}, 0 for all, or adaptive"
        )),
    }
}

/// A size that the kernel can be asked for.
pub(super) fn buffer(text: &str) -> Result<u32, String> {
    within_buffer(size(text)?)
}

/// The same in KiB, as tcpdump's -B takes it.
pub(super) fn buffer_kib(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(kib) if kib > 0 => within_buffer(u64::from(kib) * 1024),
        _ => Err("expected a number of KiB; --buffer takes sizes with units".to_owned()),
    }
}

fn within_buffer(bytes: u64) -> Result<u32, String> {
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= MAX_BUFFER_BYTES)
        .ok_or_else(|| format!("at most {} GiB", MAX_BUFFER_BYTES >> 30))
}

/// A size as tcpdump's `-C` takes it: millions of bytes, or with a unit. As
/// there, `k`, `M` and `G` are powers of 1024; so are `KiB`, `MiB` and `GiB`,
/// while `kB`, `MB` and `GB` are powers of 1000.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "mb" => 1_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1000,
        "gb" => 1_000_000_000,
        _ => {
            return Err(format!("unknown unit {unit:?}; use k, M, G, KiB, MB, ..."));
        }
    };
    let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
    number
        .and_then(|number| number.checked_mul(unit_bytes))
        .ok_or_else(|| {
            "expected millions of bytes, or a number with a unit, such as 10 or 512MiB".to_owned()
        })
}

/// A time as tcpdump's `-G` takes it: seconds, at least one.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a number of seconds".to_owned())
}

/// A time with units, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    // Beyond the end of the clock there is no moment to stop at.
    duration
        .filter(|duration| Instant::now().checked_add(*duration).is_some())
        .ok_or_else(|| "expected a time, such as 10s, 5m or 1h30m, or seconds".to_owned())
}

/// A user, by number or name.
pub(super) fn uid(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("there is no user {text}")),
        Err(error) => Err(format!("cannot look up the user: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_sizes_and_bounds() {
        assert_eq!(buffer("4M"), buffer_kib("4096"));
        assert_eq!(buffer_kib("1"), Ok(1024));
        for text in ["", "0", "-1", "4M", "4294967295"] {
            assert!(buffer_kib(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("3", 3_000_000),
            ("3M", 3 << 20),
            ("3k", 3 << 10),
            ("1GiB", 1 << 30),
            ("2 MB", 2_000_000),
            ("2kB", 2000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "M", "1.5", "-1", "3T", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_snap_length_has_room_for_headers() {
        assert_eq!(snap("adaptive"), Ok(Snap::Adaptive));
        assert_eq!(snap("0"), Ok(Snap::Fixed(MAX_SNAP_BYTES)));
        assert_eq!(snap("64"), Ok(Snap::Fixed(64)));
        for text in ["", "-1", "63", "262145", "64k"] {
            assert!(snap(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units_or_are_seconds() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("5", 5000),
            ("0.5", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        // The last ones end after the clock does.
        for text in ["", "-1", "-1s", "NaN", "inf", "soon", "1e19", "1e300"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_have_numbers_and_names() {
        assert_eq!(uid("0"), Ok(0));
        assert_eq!(uid("root"), Ok(0));
        assert_eq!(uid("4294967295"), Ok(u32::MAX));
        for text in ["", "-1", "tcprec-never"] {
            assert_eq!(uid(text), Err(format!("there is no user {text}")));
        }
    }
}
