//! Reading: manifests, blobs, tags. Pulls ask the mirrors first.

use std::sync::Arc;

use serde::Deserialize;
use ureq::http::{HeaderMap, Method, header};

use super::auth::Claim;
use super::blob::{BlobPrefix, BlobReader, blob_name, digest_like};
use super::client::{Answered, Client, Core, Target, Whole};
use super::error::{Fault, Operation, RegistryError, WEB_PAGE};
use super::options::Purpose;
use super::transport::{Outgoing, header_text};
use crate::digest::Digest;
use crate::image::{Descriptor, Reference, media_type};

const MAX_MANIFEST_BYTES: u64 = 8 << 20;
const MAX_SMALL_BLOB_BYTES: u64 = 16 << 20;
const MAX_TAG_PAGE_BYTES: u64 = 8 << 20;
const MAX_TAG_PAGES: usize = 1000;

/// A manifest or index as it was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its digest (in the algorithm it was asked by, else SHA-256), its size, and its media type: the
    /// document's own, else what the server called it.
    pub descriptor: Descriptor,
    /// Byte for byte.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
}

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Fetches a manifest or index of any of the four types; `None` when there is none.
    /// Asked by digest, the bytes are verified.
    ///
    /// # Errors
    /// Every fault but 404.
    pub fn fetch_manifest(&self, reference: &Reference, purpose: Purpose) -> Result<Option<Fetched>, RegistryError> {
        let found = self.core().first_place(reference, purpose, |place| self.core().manifest(place, purpose));
        found_or_none(found).map_err(|fault| fault.during(Operation::FetchManifest, reference))
    }

    /// What [`Client::fetch_manifest`] would find, without its bytes where the server says enough.
    ///
    /// # Errors
    /// Every fault but 404.
    pub fn head_manifest(&self, reference: &Reference, purpose: Purpose) -> Result<Option<Descriptor>, RegistryError> {
        let found = self.core().first_place(reference, purpose, |place| self.core().head(place, purpose));
        found_or_none(found).map_err(|fault| fault.during(Operation::FetchManifest, reference))
    }

    /// Opens a blob of a repository.
    ///
    /// # Errors
    /// Also [`Fault::NotFound`], and [`Fault::SizeMismatch`] when the server announces another size.
    pub fn fetch_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
    ) -> Result<BlobReader, RegistryError> {
        self.fetch_blob_after(repository, blob, purpose, &BlobPrefix::empty(blob))
    }

    /// Opens what follows the first bytes of a blob: the reader gives out the rest, and the digest
    /// of all of it is checked. `have` is shorter than the blob.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`]; also [`Fault::Malformed`] for a range that was not asked for.
    pub fn fetch_blob_after(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
        have: &BlobPrefix,
    ) -> Result<BlobReader, RegistryError> {
        let core = self.core();
        let opened = core.first_place(repository, purpose, |place| BlobReader::open(core, place, blob, purpose, have));
        opened.map_err(|fault| fault.during(Operation::FetchBlob, blob_name(repository, &blob.digest)))
    }

    /// Reads a blob of at most 16 MiB whole, verified.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`], and [`Fault::TooLarge`].
    pub fn fetch_small_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
    ) -> Result<Vec<u8>, RegistryError> {
        let read = self.core().first_place(repository, purpose, |place| self.core().small_blob(place, blob, purpose));
        read.map_err(|fault| fault.during(Operation::FetchBlob, blob_name(repository, &blob.digest)))
    }

    /// Whether the repository (of a destination or cache) has the blob.
    ///
    /// # Errors
    /// Every fault but 404.
    pub fn has_blob(&self, repository: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let look = || {
            let target = self.core().target(repository, Purpose::Push, &format!("blobs/{digest}"))?;
            let mut claim = Claim::new(repository, "pull", Purpose::Push);
            self.core().call(&target, &Outgoing::new(Method::HEAD, Purpose::Push), &mut claim)
        };
        let found: Result<_, Fault> = look();
        let found = found_or_none(found).map_err(|f| f.during(Operation::CheckBlob, blob_name(repository, digest)))?;
        Ok(found.is_some())
    }

    /// Size in bytes of a blob to be pulled, as the server states it; `None` when it has none, or
    /// does not say.
    ///
    /// # Errors
    /// Every fault but 404.
    pub fn blob_size(&self, repository: &Reference, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let found = self.core().first_place(repository, Purpose::Pull, |place| {
            let target = self.core().target(place, Purpose::Pull, &format!("blobs/{digest}"))?;
            let mut claim = Claim::new(place, "pull", Purpose::Pull);
            self.core().call(&target, &Outgoing::new(Method::HEAD, Purpose::Pull), &mut claim)
        });
        let found = found_or_none(found).map_err(|f| f.during(Operation::CheckBlob, blob_name(repository, digest)))?;
        let size = |answered: Answered| header_text(answered.response.headers(), "content-length")?.parse().ok();
        Ok(found.and_then(size))
    }

    /// Whether the repository (of a destination or cache) has any tag.
    ///
    /// # Errors
    /// Every fault but 404; some registries ask for another right than that to push.
    pub fn has_tags(&self, repository: &Reference) -> Result<bool, RegistryError> {
        let look = || -> Result<bool, Fault> {
            let target = self.core().target(repository, Purpose::Push, "tags/list?n=1")?;
            let mut claim = Claim::new(repository, "pull", Purpose::Push);
            let outgoing = Outgoing::new(Method::GET, Purpose::Push);
            let whole = self.core().fetch_once(&target, &outgoing, &mut claim, MAX_TAG_PAGE_BYTES)?;
            let page: Result<TagPage, _> = serde_json::from_slice(&whole.bytes);
            // What cannot be read is no proof that there is nothing.
            Ok(page.map_or(true, |page| page.tags.is_some_and(|tags| !tags.is_empty())))
        };
        let found = found_or_none(look()).map_err(|fault| fault.during(Operation::ListTags, repository.name()))?;
        Ok(found.unwrap_or(false))
    }

    /// All tags of the repository (of a destination or cache), in the server's order.
    ///
    /// # Errors
    /// Also [`Fault::NotFound`] for an unknown repository.
    pub fn list_tags(&self, repository: &Reference) -> Result<Vec<String>, RegistryError> {
        self.core().tags(repository).map_err(|fault| fault.during(Operation::ListTags, repository.name()))
    }
}

fn found_or_none<T>(found: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match found {
        Err(Fault::NotFound(_)) => Ok(None),
        other => other.map(Some),
    }
}

impl Core {
    /// Asks the places of `reference` in turn. When none delivers, the original's fault counts; where
    /// only mirrors are allowed, any fault before a mere "not found".
    pub(super) fn first_place<T>(
        &self,
        reference: &Reference,
        purpose: Purpose,
        mut ask: impl FnMut(&Reference) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut failed = None;
        for place in self.options.places(reference, purpose)? {
            match ask(&place) {
                Ok(found) => return Ok(found),
                Err(fault) if place == *reference => return Err(fault),
                Err(Fault::NotFound(_)) if failed.is_some() => {}
                Err(fault) => failed = Some(fault),
            }
        }
        Err(failed.unwrap_or_else(|| Fault::Configuration("no registry is left to ask".to_owned())))
    }

    /// A small blob of exactly this place.
    pub(super) fn small_blob(
        self: &Arc<Self>,
        place: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
    ) -> Result<Vec<u8>, Fault> {
        BlobReader::whole(self, place, blob, purpose, MAX_SMALL_BLOB_BYTES)
    }

    /// The manifest at exactly this place.
    pub(super) fn manifest(&self, place: &Reference, purpose: Purpose) -> Result<Fetched, Fault> {
        let (target, outgoing) = self.manifest_request(Method::GET, place, purpose)?;
        let mut claim = Claim::new(place, "pull", purpose);
        let Whole { origin, headers, bytes, .. } = self.fetch(&target, &outgoing, &mut claim, MAX_MANIFEST_BYTES)?;
        if bytes.trim_ascii_start().starts_with(b"<") {
            return Err(Fault::Malformed { origin: origin.to_string(), reason: WEB_PAGE.to_owned() });
        }
        let digest = match place.digest() {
            None => Digest::sha256(&bytes),
            Some(expected) => match digest_like(expected, &bytes) {
                actual if actual == *expected => actual,
                actual => return Err(Fault::DigestMismatch { expected: expected.clone(), actual }),
            },
        };
        let own = serde_json::from_slice::<Typed>(&bytes).ok().and_then(|typed| typed.media_type);
        let media_type = own.or_else(|| content_type(&headers)).unwrap_or_default();
        Ok(Fetched { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes })
    }

    /// The same from a HEAD; some servers leave the digest out, or lie about what was asked for.
    fn head(&self, place: &Reference, purpose: Purpose) -> Result<Descriptor, Fault> {
        let (target, outgoing) = self.manifest_request(Method::HEAD, place, purpose)?;
        let answered = self.call(&target, &outgoing, &mut Claim::new(place, "pull", purpose))?;
        let headers = answered.response.headers();
        let digest = header_text(headers, "docker-content-digest").and_then(|text| text.parse().ok());
        let digest = digest.filter(|digest: &Digest| place.digest().is_none_or(|expected| expected == digest));
        let size = header_text(headers, "content-length").and_then(|text| text.parse().ok());
        match (content_type(headers), digest, size) {
            (Some(media_type), Some(digest), Some(size)) => Ok(Descriptor::new(media_type, digest, size)),
            _ => Ok(self.manifest(place, purpose)?.descriptor),
        }
    }

    fn manifest_request(
        &self,
        method: Method,
        place: &Reference,
        purpose: Purpose,
    ) -> Result<(Target, Outgoing<'static>), Fault> {
        // Without all four, old servers convert to schema 1.
        let accepted =
            [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];
        let mut outgoing = Outgoing::new(method, purpose);
        outgoing.headers.push((header::ACCEPT, accepted.join(", ")));
        Ok((self.target(place, purpose, &format!("manifests/{}", place.target()))?, outgoing))
    }

    fn tags(&self, repository: &Reference) -> Result<Vec<String>, Fault> {
        let mut target = self.target(repository, Purpose::Push, "tags/list?n=1000")?;
        let outgoing = Outgoing::new(Method::GET, Purpose::Push);
        let mut tags = Vec::new();
        for _ in 0..MAX_TAG_PAGES {
            let mut claim = Claim::new(repository, "pull", Purpose::Push);
            let page = self.fetch(&target, &outgoing, &mut claim, MAX_TAG_PAGE_BYTES)?;
            let malformed =
                |reason: &str| Fault::Malformed { origin: page.origin.to_string(), reason: reason.to_owned() };
            let body: TagPage = serde_json::from_slice(&page.bytes).map_err(|_| malformed("not a tag list"))?;
            tags.extend(body.tags.unwrap_or_default());
            let Some(next) = header_text(&page.headers, "link").and_then(next_link) else { return Ok(tags) };
            let (_, url) = page.origin.destination(&page.url, next)?;
            if url == page.url {
                return Err(malformed("a tag list that links to itself"));
            }
            target.url = url;
        }
        Err(Fault::Malformed { origin: target.home.to_string(), reason: "a tag list without end".to_owned() })
    }
}

/// The media type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = header_text(headers, "content-type")?;
    let value = value.split_once(';').map_or(value, |(value, _)| value).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The target of `<url>; rel="next"`.
///
/// # Source
/// RFC 8288; OCI distribution-spec, "Listing Tags".
pub(super) fn next_link(value: &str) -> Option<&str> {
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
    };
    let mut rest = value;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, link)| link.split_once('>')) {
        let parameters = after.split_once('<').map_or(after, |(parameters, _)| parameters);
        if parameters.split([';', ',']).any(is_next) {
            return Some(target);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        for (value, expected) in [
            (r#"</v2/a/tags/list?n=1&last=x>; rel="next""#, Some("/v2/a/tags/list?n=1&last=x")),
            ("<a>; rel=prev, <b>; title=x; rel=next", Some("b")),
            ("<a>; REL = \"NEXT\"", Some("a")),
            ("<a>; rel=prev", None),
            ("a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(value), expected, "{value}");
        }
    }
}
