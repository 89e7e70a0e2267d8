//! A synchronous client for OCI registries.
//!
//! | file | what it knows |
//! |---|---|
//! | `client` | [`Client`]: one attempt, its redirects and challenges, its retries |
//! | `options`, `proxy` | what the caller chose: schemes, certificates, mirrors, proxies |
//! | `origin` | scheme + host + port, and where a server may send us |
//! | `transport`, `tls`, `traffic` | one HTTP exchange on a pooled connection; counts them |
//! | `challenge`, `token`, `auth` | `WWW-Authenticate`, token servers, which header to send |
//! | `credentials`, `helper` | Docker's config.json and its programs; clouds and pipelines |
//! | `pull`, `blob`, `resolve` | reading manifests, blobs, whole images |
//! | `push` | writing blobs and manifests |
//! | `referrers` | manifests that are about another one |
//! | `extension` | requests that only some servers know |
//! | `web` | a client for servers that are no registries |
//!
//! Everything a registry sends is bounded and checked; credentials never leave their origin.

mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod emptiness;
mod error;
mod extension;
mod helper;
mod options;
mod origin;
mod proxy;
mod pull;
mod push;
mod referrers;
mod resolve;
mod tls;
mod token;
mod traffic;
mod transport;
mod web;

pub use blob::{BlobPrefix, BlobReader};
pub use client::Client;
pub use credentials::{AccessKeys, Clouds, Credential, Credentials, CredentialsError, Helper, Secret};
pub use emptiness::Emptiness;
pub use error::{Answer, Fault, Operation, RegistryError};
pub use extension::Action;
pub use options::{ClientOptions, Purpose};
pub use proxy::ProxySettings;
pub use pull::Fetched;
pub use push::OpenUpload;
pub use resolve::ResolvedImage;
pub use traffic::Traffic;
pub use web::web_agent;
