//! Extensions of the registry API that servers may have for one repository.

use serde::Deserialize;
use ureq::http::{Method, header};

use super::auth::Claim;
use super::client::Client;
use super::error::{Fault, Operation, RegistryError};
use super::options::Purpose;
use super::transport::{Outgoing, Payload};
use crate::image::Reference;

const MAX_DISCOVERY_BYTES: u64 = 1 << 20;

/// What is done to an extension's resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

#[derive(Deserialize)]
struct Discovery {
    #[serde(default)]
    extensions: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
}

impl Client {
    /// Whether the server of `repository` (a destination or cache) says that it has the extension `name`.
    ///
    /// # Source
    /// OCI distribution-spec, `extensions/_oci.md`.
    ///
    /// # Errors
    /// Faults on the way; an answer that says nothing of extensions means that there is none.
    pub fn has_extension(&self, repository: &Reference, name: &str) -> Result<bool, RegistryError> {
        let look = || {
            let target = self.core().target(repository, Purpose::Push, "_oci/ext/discover")?;
            let mut claim = Claim::new(repository, "pull", Purpose::Push);
            self.core().fetch(&target, &Outgoing::new(Method::GET, Purpose::Push), &mut claim, MAX_DISCOVERY_BYTES)
        };
        match look() {
            Ok(whole) => {
                let discovery = serde_json::from_slice::<Discovery>(&whole.bytes).ok();
                Ok(discovery.is_some_and(|found| found.extensions.iter().any(|extension| extension.name == name)))
            }
            Err(Fault::NotFound(_) | Fault::Refused(_) | Fault::TooLarge { .. }) => Ok(false),
            Err(fault) => Err(fault.during(Operation::UseExtension, repository.name())),
        }
    }

    /// Sends JSON to a path of an extension of `repository`, once; the answer of at most `limit`
    /// bytes, or `None` when the resource is not there. `actions` are the rights that it takes.
    ///
    /// # Errors
    /// Every fault but 404.
    pub fn call_extension(
        &self,
        (repository, actions): (&Reference, &str),
        action: Action,
        path: &str,
        body: &[u8],
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let method = match action {
            Action::Get => Method::GET,
            Action::Post => Method::POST,
            Action::Put => Method::PUT,
            Action::Delete => Method::DELETE,
        };
        let call = || {
            let target = self.core().target(repository, Purpose::Push, path)?;
            let outgoing = Outgoing {
                headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
                payload: if action == Action::Get { Payload::None } else { Payload::Bytes(body) },
                ..Outgoing::new(method, Purpose::Push)
            };
            let mut claim = Claim::new(repository, actions, Purpose::Push);
            self.core().fetch_once(&target, &outgoing, &mut claim, limit)
        };
        match call() {
            Ok(whole) => Ok(Some(whole.bytes)),
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(fault.during(Operation::UseExtension, repository.name())),
        }
    }
}
