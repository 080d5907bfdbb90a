//! Moments as people write them: a time of day, a date, or both.

use std::cmp::Ordering;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// How a moment is written, for those who wrote something else.
pub(super) const FORMS: &str = "a moment, as HH:MM, HH:MM:SS.fff, YYYY-MM-DD, \
                                YYYY-MM-DDTHH:MM:SS, or seconds since 1970";

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const DAY_NS: i64 = 24 * 60 * MINUTE_NS;

/// Whether a field of this name has moments, if it has numbers: `ts` is a word of it, as
/// of `req_ts_first`. With `_ms` it is no more one in seconds.
pub(super) fn is_name_of_one(name: &str) -> bool {
    !name.ends_with("_ms") && name.split(['_', '.']).any(|word| word == "ts")
}

/// A moment, as exactly as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// None where it is that time of any day.
    date: Option<Date>,
    /// Since midnight.
    time_ns: i64,
    /// It lasts so long: `14:03` a minute.
    unit_ns: i64,
}

impl FromStr for Moment {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (Some(date), Some(time)),
            None if text.contains(':') => (None, Some(text)),
            None => (Some(text), None),
        };
        let date = date.map(|date| Date::strptime("%Y-%m-%d", date));
        let (time_ns, unit_ns) = time.map_or(Some((0, DAY_NS)), time_of_day).ok_or(())?;
        Ok(Self {
            date: date.transpose().map_err(|_| ())?,
            time_ns,
            unit_ns,
        })
    }
}

/// The time since midnight, and how exactly it is written.
fn time_of_day(text: &str) -> Option<(i64, i64)> {
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let (notation, unit_ns) = match text.matches(':').count() {
        1 => ("%H:%M", MINUTE_NS),
        2 => {
            let unit = 9_u32.checked_sub(u32::try_from(decimals).ok()?)?;
            ("%H:%M:%S%.f", 10_i64.pow(unit))
        }
        _ => return None,
    };
    let time = Time::strptime(notation, text).ok()?;
    Some((since_midnight_ns(time), unit_ns))
}

fn since_midnight_ns(time: Time) -> i64 {
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
    minutes * MINUTE_NS + i64::from(time.second()) * SECOND_NS + i64::from(time.subsec_nanosecond())
}

impl Moment {
    /// How a time of so many seconds since 1970 stands to it, in a time zone.
    pub(super) fn order(self, seconds: f64, zone: &TimeZone) -> Option<Ordering> {
        // A double has no more of our days than a quarter of a microsecond. What is too
        // large becomes the largest number, which is no time.
        let us = (seconds * 1e6).round() as i64;
        let found = Timestamp::from_microsecond(us)
            .ok()?
            .to_zoned_datetime(zone.clone());
        let found_ns = since_midnight_ns(found.time());
        let order = (found_ns / self.unit_ns).cmp(&(self.time_ns / self.unit_ns));
        Some(match self.date {
            Some(date) => found.date().cmp(&date).then(order),
            None => order,
        })
    }
}
