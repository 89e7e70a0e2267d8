use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use yadokari::report::parse_bytes;

/// Which repositories a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    All,
    One(String),
    /// Those whose names start with it; it ends with a slash.
    Below(String),
}

/// A number of bytes: `500MB`, `20GiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A time: `90s`, `5m`, `1h`, `30d`, or a plain number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// `--quota`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(super) of: Of,
    pub(super) bytes: u64,
}

/// `--ttl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeToLive {
    pub(super) of: Of,
    pub(super) time: Duration,
}

impl Of {
    pub(super) fn covers(&self, repository: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => name == repository,
            Self::Below(prefix) => repository.starts_with(prefix.as_str()),
        }
    }
}

/// Reads what has a text form from a text, or from a number, which is a text without a unit.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(deserializer: D) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a whole number")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.parse().map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for TimeToLive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_bytes(text).map(Self).map_err(|error| error.to_string())
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self)
    }
}

impl FromStr for Of {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            _ if text == "*" => Ok(Self::All),
            Some(prefix) if prefix.ends_with('/') => Ok(Self::Below(prefix.into())),
            None if text.parse::<crate::name::RepositoryName>().is_ok() => Ok(Self::One(text.into())),
            _ => Err(format!("{text:?} is neither the name of a repository nor one followed by /*")),
        }
    }
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (of, size) = text.rsplit_once('=').ok_or("expected REPOSITORY=SIZE")?;
        Ok(Self { of: of.parse()?, bytes: size.parse::<Size>()?.0 })
    }
}

impl FromStr for TimeToLive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((of, time)) => Ok(Self { of: of.parse()?, time: duration(time)? }),
            None => Ok(Self { of: Of::All, time: duration(text)? }),
        }
    }
}

/// A number with the unit s, m, h or d; seconds without one.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("unknown unit {unit:?}: expected s, m, h or d")),
    };
    multiplied(number, factor).map(Duration::from_secs)
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn multiplied(number: &str, factor: u64) -> Result<u64, String> {
    let number: u64 = number.parse().map_err(|_| "expected a whole number, with a unit if need be".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "the number is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        assert_eq!("20GiB".parse(), Ok(Size(20 << 30)));
        assert_eq!("500MB".parse(), Ok(Size(500_000_000)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for bad in ["", "GiB", "-1", "1XB", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert!(duration("1w").is_err());
    }

    #[test]
    fn rules_fit_repositories() {
        let quota: Quota = "team/*=1kB".parse().expect("valid");
        assert!(quota.of.covers("team/a/b") && !quota.of.covers("team") && !quota.of.covers("teams/a"));
        let ttl: TimeToLive = "a/b=1h".parse().expect("valid");
        assert!(ttl.of.covers("a/b") && !ttl.of.covers("a/b/c"));
        assert!("5s".parse::<TimeToLive>().expect("valid").of.covers("x"));
        for bad in ["=1", "A=1", "a*=1", "a"] {
            assert!(bad.parse::<Quota>().is_err(), "{bad}");
        }
    }
}
