//! Manifests that are about another one.
//!
//! # Source
//! OCI distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject".

use ureq::http::{Method, header};

use super::auth::Claim;
use super::client::{Client, Core};
use super::error::{Fault, Operation, RegistryError};
use super::options::Purpose;
use super::pull::next_link;
use super::transport::{Outgoing, header_text};
use crate::digest::Digest;
use crate::image::{Descriptor, Document, Reference, media_type};

const MAX_PAGE_BYTES: u64 = 8 << 20;
const MAX_PAGES: usize = 100;
/// No image has as many; a hostile registry could.
const MAX_REFERRERS: usize = 10_000;

impl Client {
    /// What the registry itself (no mirror) says refers to `subject` in `repository`; `None` when it has no such
    /// list. The entries are the registry's claims. With `artifact_type` those of other types may be left out.
    ///
    /// # Errors
    /// Faults on the way.
    pub fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        match self.core().referrers(repository, subject, artifact_type) {
            // Registries without the list know the path in various ways not.
            Err(Fault::NotFound(_) | Fault::Refused(_)) => Ok(None),
            listed => {
                listed.map_err(|fault| fault.during(Operation::ListReferrers, repository.with_digest(subject.clone())))
            }
        }
    }

    /// Uploads a manifest with a subject under its digest. False when the registry keeps no list of what refers
    /// to a manifest: the client has to.
    ///
    /// # Errors
    /// As [`Client::push_manifest`].
    pub fn push_referrer(&self, repository: &Reference, media_type: &str, bytes: &[u8]) -> Result<bool, RegistryError> {
        let name = repository.with_digest(Digest::sha256(bytes));
        let stored = self.core().put_manifest(&name, media_type, bytes, None);
        stored.map(|stored| stored.has_subject).map_err(|fault| fault.during(Operation::PushManifest, &name))
    }
}

impl Core {
    /// `None` where the answer is not a list: proxies answer with pages of their own.
    fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let mut target = self.target(repository, Purpose::Push, &format!("referrers/{subject}"))?;
        if let Some(artifact_type) = artifact_type {
            target.url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let mut outgoing = Outgoing::new(Method::GET, Purpose::Push);
        outgoing.headers.push((header::ACCEPT, media_type::OCI_INDEX.to_owned()));
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut claim = Claim::new(repository, "pull", Purpose::Push);
            let page = self.fetch(&target, &outgoing, &mut claim, MAX_PAGE_BYTES)?;
            let Ok(Document::Index(index)) = Document::parse(&page.bytes, None) else { return Ok(None) };
            found.extend(index.manifests);
            let endless =
                |reason: &str| Fault::Malformed { origin: page.origin.to_string(), reason: reason.to_owned() };
            if found.len() > MAX_REFERRERS {
                return Err(endless("a list of referrers that is too long"));
            }
            let Some(next) = header_text(&page.headers, "link").and_then(next_link) else { return Ok(Some(found)) };
            let (_, url) = page.origin.destination(&page.url, next)?;
            if url == page.url {
                return Err(endless("a list of referrers that links to itself"));
            }
            target.url = url;
        }
        Err(Fault::Malformed { origin: target.home.to_string(), reason: "a list of referrers without end".to_owned() })
    }
}
