use std::time::Duration;

use tokio::time::timeout;

use yadokari::digest::Algorithm;
use yadokari::image::media_type;

use super::*;
use crate::document::Document;
use crate::name::{Reference, RepositoryName, Tag};

struct Fixture {
    storage: Arc<Storage>,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let storage = Storage::open(&directory.path().join("data"), Policy::default()).expect("opened");
        Self { storage: Arc::new(storage), directory }
    }

    fn reopen(self) -> Self {
        let Self { storage, directory } = self;
        drop(storage);
        let storage = Storage::open(&directory.path().join("data"), Policy::default()).expect("opened again");
        Self { storage: Arc::new(storage), directory }
    }
}

impl Fixture {
    fn put_index(&self, tag: &str) -> ManifestHead {
        let text = r#"{"schemaVersion":2,"manifests":[]}"#;
        let document = Document::parse(text.as_bytes(), Some(media_type::OCI_INDEX)).expect("valid");
        let digest = yadokari::digest::Digest::sha256(text.as_bytes());
        let manifest = NewManifest { digest, bytes: text.into(), document };
        let tags: [Tag; 1] = [tag.parse().expect("a tag")];
        assert_eq!(self.storage.put_manifest(&name("a"), &manifest, &tags, PutIf::Whole).expect("stored"), Put::Stored);
        let reference: Reference = tag.parse().expect("a reference");
        self.storage.manifest_head(&name("a"), &reference).expect("read").expect("there")
    }
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

async fn hold(storage: &Arc<Storage>, id: UploadId) -> Option<Held> {
    storage.hold_upload(&name("a"), id).await.expect("looked for")
}

#[tokio::test]
async fn stale_uploads_are_removed_and_busy_ones_are_not() {
    let Fixture { storage, directory: _directory } = Fixture::new();
    let start = || storage.start_upload(&name("a"), Algorithm::Sha256).expect("started").id;
    let (idle, busy) = (start(), start());
    let held = hold(&storage, busy).await.expect("there");
    assert_eq!(storage.remove_stale_uploads(Duration::from_secs(3600)).expect("swept"), 0);
    assert_eq!(storage.remove_stale_uploads(Duration::ZERO).expect("swept"), 1);
    assert!(hold(&storage, idle).await.is_none());
    let mut upload = held.append().expect("opened");
    upload.write(&["content".into()]).expect("written");
    let digest = yadokari::digest::Digest::sha256(b"content");
    assert_eq!(storage.finish_upload(upload, &name("a"), &digest).expect("finished"), digest);
    assert_eq!(storage.blob_size(&name("a"), &digest).expect("read"), Some(7));
}

#[tokio::test]
async fn stale_uploads_of_an_earlier_run_are_removed() {
    let fixture = Fixture::new();
    let id = fixture.storage.start_upload(&name("a"), Algorithm::Sha256).expect("started").id;
    let fixture = fixture.reopen();
    assert!(hold(&fixture.storage, id).await.is_some());
    let fixture = fixture.reopen();
    assert_eq!(fixture.storage.remove_stale_uploads(Duration::ZERO).expect("swept"), 1);
    assert!(hold(&fixture.storage, id).await.is_none());
}

#[tokio::test]
async fn a_waiting_request_learns_that_the_session_ended() {
    let Fixture { storage, directory: _directory } = Fixture::new();
    let id = storage.start_upload(&name("a"), Algorithm::Sha256).expect("started").id;
    let held = hold(&storage, id).await.expect("there");
    let mut waiting = std::pin::pin!(hold(&storage, id));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
    storage.cancel_upload(held).expect("cancelled");
    assert!(waiting.await.is_none());
}

#[test]
fn another_format_is_refused() {
    let Fixture { storage, directory } = Fixture::new();
    drop(storage);
    let data = directory.path().join("data");
    std::fs::write(data.join("format"), "yadokari cache-server 99\n").expect("written");
    assert!(matches!(Storage::open(&data, Policy::default()), Err(OpenError::Format(_))));
}

#[test]
fn a_manifest_in_memory_is_forgotten_with_any_change() {
    let fixture = Fixture::new();
    let reference: Reference = "v1".parse().expect("valid");
    let (storage, repository) = (&fixture.storage, name("a"));
    let hot = || storage.hot_manifest(&repository, &reference).is_some();
    let head = fixture.put_index("v1");
    assert!(!hot());
    let (read, bytes) = storage.manifest(&repository, &reference).expect("read").expect("there");
    assert_eq!(storage.hot_manifest(&repository, &reference), Some((read, bytes)));
    fixture.put_index("v2");
    assert!(!hot());
    storage.manifest(&repository, &reference).expect("read");
    assert!(hot());
    storage.delete_tag(&repository, &"v1".parse().expect("valid")).expect("removed");
    assert!(!hot());
    fixture.put_index("v1");
    storage.manifest(&repository, &reference).expect("read");
    storage.delete_manifest(&repository, &head.digest).expect("removed");
    assert!(!hot());
}
