//! How interfaces count time: if_tsresol and if_tsoffset.

const NS_PER_SECOND: i128 = 1_000_000_000;

/// How an interface counts time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    tick: Tick,
    offset_ns: i128,
}

/// The length of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tick {
    /// So many nanoseconds.
    Ns(i128),
    /// So many ticks are a nanosecond.
    PerNs(i128),
    /// A second over two to this power.
    Binary(u8),
    /// Shorter than what 64 bits can count to a nanosecond.
    Nothing,
}

impl Default for Clock {
    /// Microseconds, as where there is no if_tsresol.
    fn default() -> Self {
        Self {
            tick: Tick::Ns(1000),
            offset_ns: 0,
        }
    }
}

impl Clock {
    /// A clock by the value of if_tsresol: a negative power of 10, or of 2
    /// where the highest bit is set.
    pub(super) fn with_resolution(self, resolution: u8) -> Self {
        let power = resolution & 0x7f;
        let tick = match power {
            _ if resolution & 0x80 != 0 => Tick::Binary(power),
            0..=9 => Tick::Ns(10_i128.pow(9 - u32::from(power))),
            10..=28 => Tick::PerNs(10_i128.pow(u32::from(power) - 9)),
            _ => Tick::Nothing,
        };
        Self { tick, ..self }
    }

    /// The same clock, with what if_tsoffset says.
    pub(super) fn with_offset(self, seconds: i64) -> Self {
        Self {
            offset_ns: i128::from(seconds) * NS_PER_SECOND,
            ..self
        }
    }

    /// The time at `ticks`, or the nearest that can be told.
    pub(super) fn ns(self, ticks: u64) -> i64 {
        let ns = match self.tick {
            // All 64 bits, so that what was written for a time before 1970 comes back.
            Tick::Ns(1) => i128::from(ticks.cast_signed()),
            Tick::Ns(ns) => i128::from(ticks) * ns,
            Tick::PerNs(ticks_per_ns) => i128::from(ticks) / ticks_per_ns,
            Tick::Binary(power) => (i128::from(ticks) * NS_PER_SECOND) >> power,
            Tick::Nothing => 0,
        };
        let ns = ns + self.offset_ns;
        ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}
