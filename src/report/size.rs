/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// What stands behind the number.
    #[error("unknown unit {0:?}: expected kB, MB, GB, TB, KiB, MiB, GiB or TiB")]
    Unit(String),
    /// No number, or one that is too large.
    #[error("expected a size, such as 500MB, 10GB or 2GiB")]
    Number,
}

/// Bytes: powers of ten (`10GB`, `10G`) and of two (`10GiB`, `10Gi`) in any case; a bare number is bytes.
///
/// # Errors
/// When it is something else, or more than 2⁶⁴ bytes.
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(SizeError::Unit(unit.trim().to_owned())),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or(SizeError::Number);
    }
    let value: f64 = number.parse().map_err(|_| SizeError::Number)?;
    let bytes = value * factor as f64;
    // Below 2^53 every whole number is exact.
    if bytes.is_finite() && bytes < 9e15 { Ok(bytes as u64) } else { Err(SizeError::Number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("1000", 1000), ("10GB", 10_000_000_000), ("2 GiB", 2 << 30), ("1.5k", 1500), ("3mi", 3 << 20)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "x", "1x", "-1", "1..2", "99999999999TB", "99999999.5TB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
