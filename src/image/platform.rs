use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant, normalised (`x86_64` is `amd64`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: expected os/arch or os/arch/variant")]
pub struct PlatformError(pub String);

impl Platform {
    /// A normalised platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(&architecture.to_lowercase(), variant.unwrap_or_default());
        Self { os: os.to_lowercase(), architecture, os_version: None, variant }
    }

    /// The platform that this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// How well an image for `offered` runs where `self` is wanted: 0 is exact, larger is worse.
    ///
    /// # Source
    /// containerd `platforms`: amd64/vN falls back down to v1; arm/vN down to v5; arm64 to arm.
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let offered = Self::new(&offered.os, &offered.architecture, offered.variant.as_deref());
        if offered.os != self.os {
            return None;
        }
        let level = |p: &Self| p.variant.as_deref().and_then(|v| v.trim_start_matches('v').parse::<u32>().ok());
        match (self.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => level(&offered).filter(|l| *l <= 8).map(|l| 200 - l),
            (a, b) if a != b => None,
            (arch, _) => {
                let base = if arch == "amd64" { 1 } else { 8 };
                let wanted = level(self).unwrap_or(base);
                wanted.checked_sub(level(&offered).unwrap_or(base))
            }
        }
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, Option<String>) {
    let variant = variant.to_lowercase();
    let (architecture, variant) = match (architecture, variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("i386", _) => ("386", ""),
        (a, v) => (a, v),
    };
    (architecture.to_owned(), (!variant.is_empty()).then(|| variant.to_owned()))
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let ok =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 3 || !parts.iter().all(|p| ok(p)) {
            return Err(PlatformError(text.into()));
        }
        match parts.as_slice() {
            [one] => single(one).ok_or_else(|| PlatformError(text.into())),
            [os, arch] => Ok(Self::new(os, arch, None)),
            [os, arch, variant] => Ok(Self::new(os, arch, Some(variant))),
            _ => Err(PlatformError(text.into())),
        }
    }
}

/// `linux` alone means this architecture, `arm64` alone means this system.
fn single(word: &str) -> Option<Platform> {
    let host = Platform::host();
    match word.to_lowercase().as_str() {
        "linux" | "windows" | "darwin" | "freebsd" => Some(Platform::new(word, &host.architecture, None)),
        "amd64" | "x86_64" | "arm64" | "aarch64" | "arm" | "armhf" | "armel" | "386" | "i386" | "ppc64le" | "s390x"
        | "riscv64" | "mips64le" | "loong64" => Some(Platform::new(&host.os, word, None)),
        _ => None,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect(text)
    }

    #[test]
    fn names_are_normalised() {
        for (given, shown) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("Linux/AMD64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(platform(given).to_string(), shown);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "nonsense", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranks_fall_back_to_older_variants_only() {
        let rank = |wanted: &str, offered: &str| platform(wanted).rank(&platform(offered));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert!(rank("linux/amd64", "linux/386") > rank("linux/amd64", "linux/amd64"));
    }
}
