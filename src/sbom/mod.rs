//! What is installed in an image, from what package managers leave behind, as an SPDX document.
//!
//! | file | what it knows |
//! |---|---|
//! | `find` | [`wanted`]: which files of a tree are worth reading |
//! | `inventory` | [`Inventory`]: who reads which of them |
//! | `debian`, `alpine`, `rpm` with `sqlite`, `berkeley` and `ndb` | databases of distributions |
//! | `javascript`, `yarn`, `pnpm`, `python`, `golang`, `locks` | installed metadata and lock files of languages |
//! | `golang`, `java` | programs and archives |
//! | `yaml` | values of YAML, for lock files |
//! | `package` | [`Package`], package URLs |
//! | `licenses` | names and expressions |
//! | `spdx` | [`document`] |
//!
//! Values only: the caller gives readers of the files. All of them are hostile: what cannot be read is left out.

mod alpine;
mod berkeley;
mod debian;
mod find;
mod golang;
mod inventory;
mod java;
mod javascript;
mod licenses;
mod locks;
mod ndb;
mod package;
mod pnpm;
mod python;
mod rpm;
mod spdx;
mod sqlite;
#[cfg(test)]
mod tests;
mod yaml;
mod yarn;

pub use find::{Kind, Wanted, wanted};
pub use inventory::Inventory;
pub use package::{Ecosystem, Package};
pub use spdx::{Described, document};
