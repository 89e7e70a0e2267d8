//! Values of flags.

use std::time::Duration;

use clap::builder::{TypedValueParser, ValueParser};
use yadokari::report::SizeError;

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

/// See [`yadokari::report::parse_bytes`].
pub(crate) fn parse_bytes(text: &str) -> Result<Bytes, SizeError> {
    yadokari::report::parse_bytes(text).map(Bytes)
}

/// Booleans as Go's `strconv.ParseBool` takes them.
pub(crate) fn boolean() -> ValueParser {
    clap::builder::StringValueParser::new().try_map(|text| parse_boolean(&text)).into()
}

/// A path; nothing in its place is as if the flag was not there, which pipelines use where a variable is empty.
pub(crate) fn path() -> ValueParser {
    clap::builder::OsStringValueParser::new().map(std::path::PathBuf::from).into()
}

/// See [`boolean`].
pub(crate) fn parse_boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}
