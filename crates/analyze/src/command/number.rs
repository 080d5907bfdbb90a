//! Numbers on a command line: what is none is told what one would be.

use std::num::{IntErrorKind, NonZeroU64, ParseIntError};
use std::str::FromStr;

/// How many of something, at least 1.
///
/// # Errors
/// What is expected, or that there is no room for so many.
pub fn count<T: TryFrom<NonZeroU64>>(text: &str) -> Result<T, String> {
    const TOO_LARGE: &str = "the number is too large";
    let count: NonZeroU64 = text.parse().map_err(|error: ParseIntError| {
        match error.kind() {
            IntErrorKind::PosOverflow => TOO_LARGE,
            _ => "expected a whole number, at least 1",
        }
        .to_owned()
    })?;
    T::try_from(count).map_err(|_| TOO_LARGE.to_owned())
}

/// A TCP port.
///
/// # Errors
/// What is expected.
pub fn port(text: &str) -> Result<u16, String> {
    number(text, "expected a port, a number up to 65535")
}

/// A process.
///
/// # Errors
/// What is expected.
pub fn pid(text: &str) -> Result<u32, String> {
    number(text, "expected a process id, a number as shown by ps")
}

fn number<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.parse().map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn what_is_no_number_is_told_what_one_is() {
        assert_eq!(count("7"), Ok(NonZeroU32::MIN.saturating_add(6)));
        for text in ["0", "-1", "x", "", "1.5"] {
            let error = count::<NonZeroU32>(text).unwrap_err();
            assert!(error.contains("at least 1"), "{text}: {error}");
        }
        assert_eq!(count("99999999999"), Ok(99_999_999_999_u64));
        for text in ["99999999999", "99999999999999999999999"] {
            let error = count::<NonZeroU32>(text).unwrap_err();
            assert!(error.contains("too large"), "{text}: {error}");
        }
        assert!(port("65536").unwrap_err().contains("65535"));
        assert!(pid("nginx").unwrap_err().contains("process id"));
    }
}
