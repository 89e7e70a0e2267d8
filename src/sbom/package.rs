use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Most that a document lists.
pub(super) const MAX_PACKAGES: usize = 100_000;
/// Longest name or version that is taken, in bytes.
const MAX_WORD: usize = 512;
/// Longest license, in characters.
const MAX_LICENSE: usize = 4096;

/// What is left as it is in a part of a package URL.
///
/// # Source
/// package-url `PURL-SPECIFICATION.rst`, "Character encoding".
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Whose package it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    /// dpkg.
    Debian,
    /// apk.
    Alpine,
    /// rpm.
    Rpm,
    /// npm.
    Npm,
    /// PyPI.
    Python,
    /// Rust's crates.
    Cargo,
    /// Go modules.
    Go,
    /// RubyGems.
    Gem,
    /// Packagist.
    Composer,
    /// Maven: `GROUP:ARTIFACT`.
    Maven,
}

/// One package, as one file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Whose.
    pub ecosystem: Ecosystem,
    /// With its namespace, as `@types/node`.
    pub name: String,
    /// As its ecosystem writes it.
    pub version: String,
    /// The file that names it, from the root of the image.
    pub place: String,
    /// The package URL.
    pub url: String,
    /// As declared, in no certain form.
    pub license: Option<String>,
    /// Algorithm, as SPDX names it, and hex.
    pub checksum: Option<(&'static str, String)>,
    /// Of the machine.
    pub(super) architecture: Option<String>,
    /// What it was built from, name and perhaps version.
    pub(super) source: Option<String>,
}

impl Package {
    /// Nothing where name or version are missing, or no words.
    pub(super) fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Option<Self> {
        let is_word = |text: &str| !text.is_empty() && text.len() <= MAX_WORD && !text.contains(char::is_control);
        let (name, version) = (name.trim(), version.trim());
        (is_word(name) && is_word(version)).then(|| Self {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            place: String::new(),
            url: String::new(),
            license: None,
            checksum: None,
            architecture: None,
            source: None,
        })
    }

    pub(super) fn licensed(mut self, license: Option<&str>) -> Self {
        let license = license.map(|text| text.trim().chars().filter(|c| !c.is_control()).take(MAX_LICENSE).collect());
        self.license = license.filter(|text: &String| !text.is_empty());
        self
    }

    /// Says which file names it; what was found inside of an archive has its place there already.
    pub(super) fn at(mut self, path: &[u8]) -> Self {
        let inside = if self.place.is_empty() { String::new() } else { format!("!/{}", self.place) };
        self.place = format!("/{}{inside}", String::from_utf8_lossy(path));
        self
    }

    /// Gives it its URL, which for packages of a distribution says which one.
    ///
    /// # Source
    /// package-url `PURL-TYPES.rst`.
    pub(super) fn settle(&mut self, distribution: &Distribution) {
        let (kind, namespace) = self.ecosystem.of_url(distribution);
        // An epoch of rpm is a qualifier, of dpkg a part of the version.
        let (epoch, version) = match (self.ecosystem, self.version.split_once(':')) {
            (Ecosystem::Rpm, Some((epoch, version))) => (Some(epoch.to_owned()), version),
            _ => (None, self.version.as_str()),
        };
        let path: Vec<String> = namespace.into_iter().chain(self.name_in_url().split('/')).map(encoded).collect();
        let mut url = format!("pkg:{kind}/{}@{}", path.join("/"), encoded(version));
        let of_distribution = matches!(self.ecosystem, Ecosystem::Debian | Ecosystem::Alpine | Ecosystem::Rpm);
        let release = distribution.name().filter(|_| of_distribution);
        let qualifiers = [
            ("arch", self.architecture.as_ref()),
            ("distro", release.as_ref()),
            ("epoch", epoch.as_ref()),
            ("upstream", self.source.as_ref()),
        ];
        let set = qualifiers.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?)));
        for (number, (name, value)) in set.enumerate() {
            let separator = if number == 0 { '?' } else { '&' };
            // Writing to a string does not fail.
            let _ = write!(url, "{separator}{name}={}", encoded(value));
        }
        self.url = url;
    }

    fn name_in_url(&self) -> String {
        match self.ecosystem {
            Ecosystem::Python => self.name.to_lowercase().replace('_', "-"),
            Ecosystem::Debian | Ecosystem::Composer => self.name.to_lowercase(),
            Ecosystem::Maven => self.name.replace(':', "/"),
            _ => self.name.clone(),
        }
    }
}

impl Ecosystem {
    /// Type and namespace of its URLs.
    fn of_url(self, distribution: &Distribution) -> (&'static str, Option<&str>) {
        let vendor = Some(distribution.id.as_str()).filter(|id| !id.is_empty());
        match self {
            Self::Debian => ("deb", vendor.or(Some("debian"))),
            Self::Alpine => ("apk", vendor.or(Some("alpine"))),
            Self::Rpm => ("rpm", vendor),
            Self::Npm => ("npm", None),
            Self::Python => ("pypi", None),
            Self::Cargo => ("cargo", None),
            Self::Go => ("golang", None),
            Self::Gem => ("gem", None),
            Self::Composer => ("composer", None),
            Self::Maven => ("maven", None),
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// What `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Distribution {
    id: String,
    version: String,
}

impl Distribution {
    /// # Source
    /// `os-release(5)`.
    pub(super) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name);
            let value = value.map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
            value.filter(|value| value.len() <= 64 && value.chars().all(|c| c.is_ascii_graphic())).unwrap_or_default()
        };
        Self { id: field("ID"), version: field("VERSION_ID") }
    }

    pub(super) fn or(self, other: Self) -> Self {
        if self.id.is_empty() { other } else { self }
    }

    /// As `debian-12`.
    fn name(&self) -> Option<String> {
        match (self.id.as_str(), self.version.as_str()) {
            ("", _) => None,
            (id, "") => Some(id.to_owned()),
            (id, version) => Some(format!("{id}-{version}")),
        }
    }
}
