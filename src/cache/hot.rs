//! What the runners of a cache-server ask for most.

use serde::Deserialize;

use crate::image::Reference;
use crate::key::CacheKey;
use crate::registry::{Action, Client, RegistryError};

/// A thousand entries of each kind fit several times.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Images and records, the most wanted first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HotSet {
    /// Base images.
    pub images: Vec<HotImage>,
    /// Keys of records of the repository that was asked.
    pub records: Vec<CacheKey>,
}

/// An image that runners ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotImage {
    /// Its name for builds: that of the registry it comes from, or the cache-server's.
    pub reference: Reference,
    /// The registry that the server has a copy of, and where that is; `None` for what was pushed there.
    pub mirrored: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    records: Vec<Entry>,
}

#[derive(Deserialize)]
struct Image {
    registry: Option<String>,
    repository: String,
    reference: String,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
}

impl HotSet {
    /// The up to `count` most wanted images of the cache-server that has `repository`, and as many
    /// of its records; `None` when the server has no such thing. What it says and cannot be is left out.
    ///
    /// # Errors
    /// Faults on the way.
    pub fn fetch(client: &Client, repository: &Reference, count: usize) -> Result<Option<Self>, RegistryError> {
        let path = format!("_yadokari/hot?n={count}");
        let answer = client.call_extension((repository, "pull"), Action::Get, &path, b"", MAX_ANSWER_BYTES)?;
        let answer = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
        Ok(answer.map(|answer| Self {
            images: answer.images.iter().take(count).filter_map(|image| image.named(repository.registry())).collect(),
            records: answer.records.iter().take(count).filter_map(|entry| entry.key.parse().ok()).collect(),
        }))
    }
}

impl Image {
    fn named(&self, server: &str) -> Option<HotImage> {
        let host = self.registry.as_deref().unwrap_or(server);
        let separator = if self.reference.contains(':') { '@' } else { ':' };
        let reference: Reference = format!("{host}/{}{separator}{}", self.repository, self.reference).parse().ok()?;
        let copy = |registry: &String| (registry.clone(), format!("{server}/{}", registry.replace(':', "-")));
        // What looks like no host became a name on another one.
        (reference.registry() == host || host == "docker.io")
            .then(|| HotImage { reference, mirrored: self.registry.as_ref().map(copy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_the_names_that_builds_use() {
        let image = |registry: Option<&str>, repository: &str, reference: &str| {
            let (registry, repository) = (registry.map(str::to_owned), repository.to_owned());
            Image { registry, repository, reference: reference.into() }.named("cache:5000")
        };
        let hub = image(Some("docker.io"), "library/alpine", "3").expect("valid");
        assert_eq!(hub.reference, "alpine:3".parse().expect("valid"));
        assert_eq!(hub.mirrored, Some(("docker.io".into(), "cache:5000/docker.io".into())));
        let digest = format!("sha256:{}", "a".repeat(64));
        let quay = image(Some("quay.io:443"), "a/b", &digest).expect("valid");
        assert_eq!(quay.reference.to_string(), format!("quay.io:443/a/b@{digest}"));
        assert_eq!(quay.mirrored, Some(("quay.io:443".into(), "cache:5000/quay.io-443".into())));
        let own = image(None, "team/base", "v1").expect("valid");
        assert_eq!((own.reference.to_string().as_str(), own.mirrored), ("cache:5000/team/base:v1", None));
        for (registry, repository, reference) in
            [(Some("evil/x"), "a", "v1"), (None, "../a", "v1"), (None, "a", "v 1"), (Some(""), "a", "v1")]
        {
            assert_eq!(image(registry, repository, reference), None, "{registry:?} {repository} {reference}");
        }
    }
}
