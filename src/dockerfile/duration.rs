//! Go durations: `1h2m3.5s`.

/// Magnitude of the smallest number that a duration holds; one more than the largest.
const LIMIT: u64 = 1 << 63;

/// Nanoseconds of a Go duration (`1h2m3.5s`); `None` when it is none.
///
/// # Source
/// Go, `time.ParseDuration`. Flags and HEALTHCHECK share it.
pub fn go_duration(text: &str) -> Option<i64> {
    parse(text).ok()
}

/// Nanoseconds of a Go duration.
///
/// # Source
/// Go, `time.ParseDuration`; the messages are its own.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (amount, after) = amount(rest, text).ok_or_else(invalid)??;
        total = total.checked_add(amount).filter(|sum| *sum <= LIMIT).ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        return Ok(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// One `number unit` at the start of `rest`; `None` when the number is wrong.
fn amount<'a>(rest: &'a str, whole: &str) -> Option<Result<(u64, &'a str), String>> {
    let (integer, after) = digits(rest);
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => digits(after),
        None => ("", after),
    };
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, after) = after.split_at(end);
    let scale = match nanoseconds(unit, whole) {
        Ok(scale) => scale,
        Err(message) => return Some(Err(message)),
    };
    let integer = if integer.is_empty() { 0 } else { integer.parse::<u64>().ok()? };
    let part = part_of(fraction, scale);
    let nanos = integer.checked_mul(scale)?.checked_add(part).filter(|sum| *sum <= LIMIT)?;
    Some(Ok((nanos, after)))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanoseconds(unit: &str, whole: &str) -> Result<u64, String> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "" => return Err(format!("time: missing unit in duration {whole:?}")),
        _ => return Err(format!("time: unknown unit {unit:?} in duration {whole:?}")),
    })
}

/// `0.fraction` of `scale`, rounded down; digits beyond the 18th cannot matter.
fn part_of(fraction: &str, scale: u64) -> u64 {
    let kept = &fraction[..fraction.len().min(18)];
    let value = kept.bytes().fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let divisor = 10u128.pow(u32::try_from(kept.len()).unwrap_or(18));
    u64::try_from(value * u128::from(scale) / divisor).unwrap_or(u64::MAX)
}
