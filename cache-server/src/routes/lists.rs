//! Tags, repositories, referrers.

use axum::http::header::{CONTENT_TYPE, HeaderName, LINK};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type::OCI_INDEX;

use super::content::fixed;
use super::endpoint::digest;
use super::parameters::next_link;
use super::{Call, Registry, value};
use crate::error::{ApiError, Code};
use crate::name::RepositoryName;
use crate::storage::Page;

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// GET of a repository's tags.
pub(super) async fn tags(registry: &Registry, call: &Call, repository: &RepositoryName) -> Result<Response, ApiError> {
    let (limit, after) = (call.parameters.page_limit()?, last(call));
    let name = repository.clone();
    let page = registry.blocking(move |storage| {
        let exists = storage.has_repository(&name)?;
        exists.then(|| storage.tag_page(&name, after.as_deref(), limit)).transpose()
    });
    let unknown = || ApiError::new(Code::NameUnknown, format!("there is no repository {repository}"));
    let page = page.await?.ok_or_else(unknown)?;
    names(call, limit, &page, json!({ "name": repository.as_str(), "tags": page.entries }))
}

/// GET of the names of all repositories.
pub(super) async fn catalog(registry: &Registry, call: &Call) -> Result<Response, ApiError> {
    let (limit, after) = (call.parameters.page_limit()?, last(call));
    let page = registry.blocking(move |storage| storage.repository_page(after.as_deref(), limit)).await?;
    names(call, limit, &page, json!({ "repositories": page.entries }))
}

/// GET of the manifests that have a subject.
pub(super) async fn referrers(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    subject: &Digest,
) -> Result<Response, ApiError> {
    let artifact_type = call.parameters.media_type("artifactType");
    let after = call.parameters.get("last").map(digest).transpose()?;
    let (name, wanted, filter) = (repository.clone(), subject.clone(), artifact_type.clone());
    let page =
        registry.blocking(move |storage| storage.referrer_page(&name, &wanted, filter.as_deref(), after.as_ref()));
    let page = page.await?;
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page.entries });
    let mut response = ([(CONTENT_TYPE, OCI_INDEX)], index.to_string()).into_response();
    if artifact_type.is_some() {
        response.headers_mut().insert(OCI_FILTERS_APPLIED, fixed("artifactType"));
    }
    if let Some(entry) = page.entries.last().filter(|_| page.more) {
        let last = entry.digest.to_string();
        let mut parameters = vec![("last", last.as_str())];
        parameters.extend(artifact_type.as_deref().map(|kind| ("artifactType", kind)));
        response.headers_mut().insert(LINK, value(next_link(call.uri.path(), &parameters))?);
    }
    Ok(response)
}

/// The entry after which the page starts.
fn last(call: &Call) -> Option<String> {
    call.parameters.get("last").map(str::to_owned)
}

fn names(call: &Call, limit: usize, page: &Page<String>, body: Value) -> Result<Response, ApiError> {
    let mut response = ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    if let Some(last) = page.entries.last().filter(|_| page.more) {
        let link = next_link(call.uri.path(), &[("n", &limit.to_string()), ("last", last)]);
        response.headers_mut().insert(LINK, value(link)?);
    }
    Ok(response)
}
