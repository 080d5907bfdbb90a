//! The times of lines.

use std::fmt;
use std::io::{self, Write};

use jiff::tz::TimeZone;

use crate::report::units;

const SECOND_NS: i64 = 1_000_000_000;

/// How the time of a line is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// As `10:31:22.123456`.
    #[default]
    OfDay,
    /// Not at all.
    Hidden,
    /// In seconds since 1970.
    SinceEpoch,
    /// Since the line before.
    SinceLineBefore,
    /// With the date.
    WithDate,
    /// Since the first line.
    SinceFirstLine,
}

/// Writes times, as tcpdump does.
#[derive(Debug)]
pub(super) struct Clock {
    times: Times,
    zone: TimeZone,
    /// The second that `text` is of: most packets come within the same.
    second: Option<i64>,
    text: String,
    /// The time of the line that others are told since.
    since_ns: Option<i64>,
}

impl Clock {
    pub(super) const fn new(times: Times, zone: TimeZone) -> Self {
        Self {
            times,
            zone,
            second: None,
            text: String::new(),
            since_ns: None,
        }
    }

    /// Begins a line.
    pub(super) fn begin(&mut self, ts_ns: i64, to: &mut dyn Write) -> io::Result<()> {
        match self.times {
            Times::Hidden => return Ok(()),
            Times::OfDay | Times::SinceEpoch | Times::WithDate => self.write(ts_ns, to)?,
            Times::SinceLineBefore => {
                let since_ns = self.since_ns.replace(ts_ns).unwrap_or(ts_ns);
                write!(to, "{}", Difference(ts_ns.saturating_sub(since_ns)))?;
            }
            Times::SinceFirstLine => {
                let since_ns = *self.since_ns.get_or_insert(ts_ns);
                write!(to, "{}", Difference(ts_ns.saturating_sub(since_ns)))?;
            }
        }
        write!(to, " ")
    }

    /// Writes a moment within a line.
    pub(super) fn write(&mut self, ts_ns: i64, to: &mut dyn Write) -> io::Result<()> {
        let second = ts_ns.div_euclid(SECOND_NS);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = match self.times {
                Times::SinceEpoch => second.to_string(),
                Times::WithDate => units::moment(ts_ns, &self.zone, "%Y-%m-%d %H:%M:%S"),
                _ => units::moment(ts_ns, &self.zone, "%H:%M:%S"),
            };
        }
        let microseconds = ts_ns.rem_euclid(SECOND_NS) / 1000;
        write!(to, "{}.{microseconds:06}", self.text)
    }
}

/// A time that passed, in nanoseconds, with a column for its sign.
struct Difference(i64);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { ' ' };
        let microseconds = self.0.unsigned_abs() / 1000;
        let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
        let (minutes, hours) = (seconds / 60 % 60, seconds / 3600);
        write!(
            f,
            "{sign}{hours:02}:{minutes:02}:{:02}.{rest:06}",
            seconds % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(times: Times, moments: &[i64]) -> Vec<String> {
        let mut clock = Clock::new(times, TimeZone::UTC);
        let line = |ts_ns: &i64| {
            let mut line = Vec::new();
            clock.begin(*ts_ns, &mut line).unwrap();
            String::from_utf8(line).unwrap()
        };
        moments.iter().map(line).collect()
    }

    #[test]
    fn differences_have_a_sign() {
        let moments = [1_000, 3_600_001_002_000, 1_000];
        assert_eq!(
            lines(Times::SinceLineBefore, &moments),
            [
                " 00:00:00.000000 ",
                " 01:00:00.001001 ",
                "-01:00:00.001001 "
            ]
        );
        assert_eq!(
            lines(Times::SinceFirstLine, &[i64::MAX, i64::MIN])[1],
            "-2562047:47:16.854775 "
        );
    }

    #[test]
    fn moments_before_1970_are_told() {
        assert_eq!(lines(Times::SinceEpoch, &[-1]), ["-1.999999 "]);
        assert_eq!(
            lines(Times::WithDate, &[-1]),
            ["1969-12-31 23:59:59.999999 "]
        );
    }
}
