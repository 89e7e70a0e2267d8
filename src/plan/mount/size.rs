//! Sizes of memory and of files: `128m`, `1.5GiB`, `4096`.

/// Bytes; `None` when `text` is no size.
///
/// # Source
/// `docker/go-units`, `RAMInBytes`: powers of 1024 whatever the spelling of the unit.
pub(super) fn parse(text: &str) -> Option<u64> {
    let split = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')).map(|at| at + 1)?;
    let (number, unit) = text.split_at(split);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let decimal = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = if decimal { number.parse().ok()? } else { return None };
    let bytes = value * factor(&unit.to_ascii_lowercase())?;
    // Larger than any memory; what follows fits and is whole.
    (bytes < 1e18).then_some(bytes as u64)
}

fn factor(unit: &str) -> Option<f64> {
    if matches!(unit, "" | "b") {
        return Some(1.0);
    }
    let (prefix, rest) = unit.split_at_checked(1)?;
    let power = "kmgtp".find(prefix)? + 1;
    matches!(rest, "" | "b" | "ib").then(|| 1024_f64.powi(power as i32))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1b", 1),
            ("128m", 128 << 20),
            ("1.5 GiB", 3 << 29),
            ("2KB", 2048),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1kk", "1mbb", "1e3", "1..2", "99999999p", "1é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
