//! Documents of base images that a cache repository remembers: a wait or two less before the keys are known.

use std::cell::{OnceCell, RefCell};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::request::Services;
use crate::digest::{ContentHash, Digest};
use crate::plan::ImageRef;
use crate::registry::{RegistryError, ResolvedImage};

/// How much longer than the base image's registry a cache may take to answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// What caches remember of one base image, as far as they have answered.
struct Remembered {
    asked: Instant,
    answers: Receiver<Vec<Vec<u8>>>,
    documents: RefCell<Vec<Vec<u8>>>,
    deadline: OnceCell<Instant>,
}

/// What to save of a base image, under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsaved {
    name: ContentHash,
    documents: Vec<Vec<u8>>,
}

impl Remembered {
    /// The document with that digest. Whoever asks has waited for the registry: the caches, which were asked at the same
    /// time, get as long again, and a little more.
    fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let deadline = self.deadline.get_or_init(|| Instant::now() + self.asked.elapsed() + PATIENCE);
        loop {
            let is_wanted = |bytes: &&Vec<u8>| Digest::sha256(bytes) == *digest;
            if let Some(found) = self.documents.borrow().iter().find(is_wanted) {
                return Some(found.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.documents.borrow_mut().extend(self.answers.recv_timeout(left).ok()?);
        }
    }
}

/// Asks the registry for a base image, and the caches at the same time for what they remember of it. Returns what they
/// should remember for the next time.
pub(super) fn resolve(
    image: &ImageRef,
    services: &Services<'_>,
) -> Result<(ResolvedImage, Option<Unsaved>), RegistryError> {
    let ImageRef { reference, platform, .. } = image;
    let Some(cache) = services.cache else {
        return services.registry.resolve_image(reference, platform).map(|found| (found, None));
    };
    let name = ContentHash::of(format!("{reference}\0{platform}").as_bytes());
    let (asked, answers) = (Instant::now(), cache.ask_for_documents(&name));
    let remembered = Remembered { asked, answers, documents: RefCell::default(), deadline: OnceCell::new() };
    let known = |digest: &Digest| remembered.document(digest);
    let found = services.registry.resolve_image_knowing(reference, platform, &known)?;
    let documents = vec![found.manifest_bytes.clone(), found.config_bytes.clone()];
    let is_known = documents.iter().all(|document| remembered.documents.borrow().contains(document));
    Ok((found, (!is_known).then_some(Unsaved { name, documents })))
}

impl Unsaved {
    pub(super) fn save(&self, services: &Services<'_>) {
        if let Some(cache) = services.cache {
            cache.remember_documents(&self.name, &self.documents);
        }
    }
}
