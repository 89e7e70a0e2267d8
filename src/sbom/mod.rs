//! What is installed in an image, from what package managers leave behind, as an SPDX document.
//!
//! | file | what it knows |
//! |---|---|
//! | `find` | [`wanted`]: which files of a tree are worth reading |
//! | `debian`, `alpine`, `rpm` with `sqlite` | databases of distributions |
//! | `javascript`, `python`, `locks` | installed metadata and lock files of languages |
//! | `package` | [`Package`], package URLs |
//! | `spdx` | [`document`] |
//!
//! Values only: the caller gets the bytes of the files. All of them are hostile: what cannot be read is left out.

mod alpine;
mod debian;
mod find;
mod javascript;
mod locks;
mod package;
mod python;
mod rpm;
mod spdx;
mod sqlite;
#[cfg(test)]
mod tests;

pub use find::{Kind, Wanted, wanted};
pub use package::{Ecosystem, Package};
pub use spdx::{Described, document};

use package::{Distribution, MAX_PACKAGES};

/// The packages that the contents of the [`wanted`] files name: sorted, each once per file.
pub fn packages<'a>(files: impl IntoIterator<Item = (&'a Wanted, Vec<u8>)>) -> Vec<Package> {
    let (mut packages, mut distribution) = (Vec::new(), Distribution::default());
    for (file, bytes) in files {
        let text = String::from_utf8_lossy(&bytes);
        let found = match file.kind {
            Kind::OsRelease => {
                distribution = distribution.or(Distribution::parse(&text));
                continue;
            }
            Kind::Dpkg => debian::installed(&text),
            Kind::Apk => alpine::installed(&text),
            Kind::Rpm => rpm::installed(&bytes),
            Kind::NpmLock => javascript::locked(&text),
            Kind::NpmPackage => javascript::installed(&text),
            Kind::PythonMetadata => python::installed(&text),
            Kind::Requirements => python::required(&text),
            Kind::TomlLock(ecosystem) => locks::toml(&text, ecosystem),
            Kind::GoSum => locks::go(&text),
            Kind::GemLock => locks::gems(&text),
            Kind::ComposerLock => locks::composer(&text),
        };
        let room = MAX_PACKAGES.saturating_sub(packages.len());
        packages.extend(found.into_iter().take(room).map(|found| found.at(&file.path)));
    }
    packages.iter_mut().for_each(|package: &mut Package| package.settle(&distribution));
    packages.sort();
    packages.dedup();
    packages
}
