//! The documents of an image: reference, platform, descriptor, manifest, index, configuration.
//!
//! Reading is lenient about unknown fields; writing is ordered and byte-stable.

mod config;
mod descriptor;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use manifest::{Document, Index, Manifest, ManifestError};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
