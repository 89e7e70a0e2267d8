use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::package::{Distribution, MAX_PACKAGES};
use super::{Ecosystem, Kind, Package, Wanted};
use super::{alpine, debian, golang, java, javascript, locks, pnpm, python, rpm, yarn};

/// Packages of an image, collected file by file.
#[derive(Debug, Default)]
pub struct Inventory {
    packages: Vec<Package>,
    distribution: Distribution,
    /// By the name of the package of Debian's.
    licenses: BTreeMap<String, String>,
}

impl Inventory {
    /// Takes note of what one of the [`wanted`](super::wanted) files names. No file is held in memory longer than this takes;
    /// of archives and programs only what is asked for is.
    ///
    /// # Errors
    /// Reading failed. What was read and makes no sense is left out.
    pub fn read(&mut self, file: &Wanted, mut reader: impl Read + Seek) -> io::Result<()> {
        let found = match file.kind {
            Kind::JavaArchive => java::packages(&String::from_utf8_lossy(&file.path), reader)?,
            Kind::Program => golang::built(reader)?,
            _ => {
                let mut bytes = Vec::new();
                reader.by_ref().take(file.size).read_to_end(&mut bytes)?;
                self.of_bytes(file, &bytes)
            }
        };
        let room = MAX_PACKAGES.saturating_sub(self.packages.len());
        self.packages.extend(found.into_iter().take(room).map(|found| found.at(&file.path)));
        Ok(())
    }

    fn of_bytes(&mut self, file: &Wanted, bytes: &[u8]) -> Vec<Package> {
        let text = || String::from_utf8_lossy(bytes);
        match file.kind {
            Kind::OsRelease => {
                self.distribution = std::mem::take(&mut self.distribution).or(Distribution::parse(&text()));
                Vec::new()
            }
            Kind::Copyright => {
                if let (Some(package), Some(license)) = (debian::package_of(&file.path), debian::license(&text())) {
                    self.licenses.insert(package.to_owned(), license);
                }
                Vec::new()
            }
            Kind::Dpkg => debian::installed(&text()),
            Kind::Apk => alpine::installed(&text()),
            Kind::Rpm => rpm::installed(bytes),
            Kind::NpmLock => javascript::locked(&text()),
            Kind::NpmPackage => javascript::installed(&text()),
            Kind::YarnLock => yarn::locked(&text()),
            Kind::PnpmLock => pnpm::locked(&text()),
            Kind::PythonMetadata => python::installed(&text()),
            Kind::Requirements => python::required(&text()),
            Kind::TomlLock(ecosystem) => locks::toml(&text(), ecosystem),
            Kind::GoSum => golang::sums(&text()),
            Kind::GoModule => golang::required(&text()),
            Kind::GemLock => locks::gems(&text()),
            Kind::ComposerLock => locks::composer(&text()),
            // These are never read whole.
            Kind::JavaArchive | Kind::Program => Vec::new(),
        }
    }

    /// All that was found: sorted, each once per file.
    pub fn packages(self) -> Vec<Package> {
        let Self { mut packages, distribution, licenses } = self;
        for package in &mut packages {
            package.settle(&distribution);
            if package.ecosystem == Ecosystem::Debian && package.license.is_none() {
                *package = package.clone().licensed(licenses.get(&package.name).map(String::as_str));
            }
        }
        packages.sort();
        packages.dedup();
        packages
    }
}
