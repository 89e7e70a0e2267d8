//! Values of flags.

use std::time::Duration;

use crate::command_line::values::{AgeLimit, parse_age};

/// A Go duration, or whole days or weeks: `36h`, `7d`, `2w`.
pub(crate) fn parse_span(text: &str) -> Result<AgeLimit, String> {
    const DAY: u64 = 24 * 3600;
    let whole = |suffix: char, seconds: u64| {
        let count: u64 = text.strip_suffix(suffix)?.parse().ok()?;
        count.checked_mul(seconds).map(|seconds| AgeLimit(Duration::from_secs(seconds)))
    };
    match whole('d', DAY).or_else(|| whole('w', 7 * DAY)) {
        Some(span) => Ok(span),
        None => parse_age(text).map_err(|_| "expected a duration with a unit, such as 12h, 7d or 2w".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::values::parse_bytes;

    #[test]
    fn spans_and_sizes() {
        let hours = |text: &str| parse_span(text).map(|span| span.0.as_secs() / 3600);
        assert_eq!((hours("7d"), hours("2w"), hours("1h30m"), hours("0")), (Ok(168), Ok(336), Ok(1), Ok(0)));
        let bytes = |text: &str| parse_bytes(text).map(|bytes| bytes.0);
        assert_eq!((bytes("10GB"), bytes("1.5k"), bytes("2 GiB")), (Ok(10_000_000_000), Ok(1500), Ok(2 << 30)));
        for wrong in ["", "x", "7", "-1d", "1.5d", "99999999999999999999d"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "GB", "-1", "1 parsec", "1..5", "99999999999TB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
