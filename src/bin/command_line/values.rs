//! Values of flags.

use std::time::Duration;

use clap::builder::{TypedValueParser, ValueParser};

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Pairs of a registry and a `host[/prefix]` that is asked before it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryMap(pub(crate) Vec<KeyValue>);

/// How old something may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AgeLimit(pub(crate) Duration);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// Splits at the first `=`.
pub(crate) fn parse_key_value(text: &str) -> Result<KeyValue, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name before = is empty".into());
    }
    Ok(KeyValue { name: name.into(), value: value.into() })
}

/// `HOST=OTHER[/PREFIX]` pairs between semicolons.
///
/// # Source
/// Kaniko `--registry-map`.
pub(crate) fn parse_registry_map(text: &str) -> Result<RegistryMap, String> {
    text.split(';').filter(|pair| !pair.is_empty()).map(parse_key_value).collect::<Result<_, _>>().map(RegistryMap)
}

/// A Go duration that is not negative: `336h`, `1h30m`, `0`.
pub(crate) fn parse_age(text: &str) -> Result<AgeLimit, String> {
    let nanoseconds = yadokari::dockerfile::go_duration(text).ok_or("expected a duration with a unit, such as 336h")?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| "a duration cannot be negative")?;
    Ok(AgeLimit(Duration::from_nanos(nanoseconds)))
}

/// Powers of ten (`10GB`, `10G`) and of two (`10GiB`); a bare number is bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<Bytes, String> {
    let expected = || "expected a size, such as 500MB, 10GB or 2GiB".to_owned();
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
        _ => return Err(expected()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).map(Bytes).ok_or_else(expected);
    }
    let value: f64 = number.parse().map_err(|_| expected())?;
    let bytes = value * factor as f64;
    // Below 2^53 every whole number is exact.
    if bytes.is_finite() && bytes < 9e15 { Ok(Bytes(bytes as u64)) } else { Err(expected()) }
}

/// Booleans as Go's `strconv.ParseBool` takes them.
pub(crate) fn boolean() -> ValueParser {
    clap::builder::StringValueParser::new().try_map(|text| parse_boolean(&text)).into()
}

/// See [`boolean`].
pub(crate) fn parse_boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}
