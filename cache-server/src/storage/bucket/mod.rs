//! The store in a bucket: blobs and uploads are objects, and a journal of objects makes many
//! replicas agree on what they are. See docs/design.md, "Object store".
//!
//! Everything but the streams of blobs blocks.

mod address;
mod blobs;
mod collect;
mod error;
mod head;
mod journal;
mod probe;
mod rows;
mod sessions;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use tokio::runtime::Runtime;

use super::readers::Readers;
pub(crate) use address::StoreAddress;
pub(crate) use blobs::Object;
pub(crate) use error::BucketError;
pub(super) use head::Checkpoint;
pub(super) use journal::{Appended, Journal, Replayed, pause, short};
use sessions::Sessions;
pub(crate) use sessions::{ObjectAppending, ObjectHeld};

/// Threads that talk to the store; requests run side by side on them.
const THREADS: usize = 2;

/// A place in an object store.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    address: StoreAddress,
    runtime: Background,
    sessions: Sessions,
    readers: Arc<Readers<String>>,
}

/// Dropped anywhere, also where one must not wait.
#[derive(Debug)]
struct Background(Option<Runtime>);

/// An object as it was when it was read.
#[derive(Debug)]
struct Version {
    bytes: Bytes,
    version: UpdateVersion,
}

impl Bucket {
    /// Opens a place, and makes sure that it can be used: that it is there, may be read and
    /// written, and honours conditions.
    ///
    /// # Errors
    /// [`BucketError`], which says what is wrong.
    pub(super) fn open(address: &StoreAddress) -> Result<Self, BucketError> {
        // Chosen here, since the client leaves it to the program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address::Client { store, signer } = address.client(|name| std::env::var(name).ok())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let settings = |cause: std::io::Error| BucketError::Settings {
            address: address.to_string(),
            cause: Arc::new(object_store::Error::Generic { store: "runtime", source: Box::new(cause) }),
        };
        let runtime = Background(Some(runtime.map_err(settings)?));
        let bucket = Self {
            store,
            signer,
            address: address.clone(),
            runtime,
            sessions: Sessions::default(),
            readers: Arc::default(),
        };
        bucket.probe()?;
        Ok(bucket)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.address.prefix().clone(), |path, part| path.join(part))
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.handle().block_on(work)
    }

    fn failed(&self, operation: &'static str, object: &str) -> impl Fn(object_store::Error) -> BucketError {
        let (bucket, object) = (self.address.to_string(), object.to_owned());
        move |cause| {
            let cause = Arc::new(cause);
            match *cause {
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                    BucketError::Denied { bucket: bucket.clone(), cause }
                }
                _ => BucketError::Request { operation, object: object.clone(), bucket: bucket.clone(), cause },
            }
        }
    }

    fn put(&self, name: &str, bytes: impl Into<PutPayload>, mode: PutMode) -> Result<UpdateVersion, BucketError> {
        let (path, bytes) = (self.path(name), bytes.into());
        let put = self.wait(self.store.put_opts(&path, bytes, mode.into()));
        put.map(Into::into).map_err(self.failed("write", name))
    }

    fn get(&self, name: &str) -> Result<Version, BucketError> {
        self.wait(self.read(name, None)).map_err(self.failed("read", name))
    }

    /// Hands out objects one after the other, with their names; the next ones, up to `ahead`, come meanwhile.
    fn get_each<E: From<BucketError>>(
        &self,
        names: Vec<String>,
        ahead: usize,
        take: &mut impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let reads = futures_util::stream::iter(names).map(|name| {
            let (store, path) = (Arc::clone(&self.store), self.path(&name));
            let read = self.runtime.handle().spawn(async move { store.get(&path).await?.bytes().await });
            async move { (name, read.await) }
        });
        let mut reads = reads.buffered(ahead);
        while let Some((name, read)) = self.wait(reads.next()) {
            let read = read.unwrap_or_else(|ended| Err(object_store::Error::JoinError { source: ended }));
            take(&name, &read.map_err(self.failed("read", &name))?)?;
        }
        Ok(())
    }

    /// An object, unless it still is what it was.
    fn get_changed(&self, name: &str, known: &UpdateVersion) -> Result<Option<Version>, BucketError> {
        match self.wait(self.read(name, known.e_tag.clone())) {
            Ok(version) => Ok(Some(version)),
            Err(object_store::Error::NotModified { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name)(error)),
        }
    }

    async fn read(&self, name: &str, if_none_match: Option<String>) -> Result<Version, object_store::Error> {
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(name), options).await?;
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        Ok(Version { bytes: found.bytes().await?, version })
    }

    /// Bytes in an object; `None` when there is none.
    fn size(&self, name: &str) -> Result<Option<u64>, BucketError> {
        match self.wait(self.store.head(&self.path(name))) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look at", name)(error)),
        }
    }

    /// Removes objects, those that are not there too.
    fn delete(&self, names: &[String]) -> Result<(), BucketError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let deleted = self.store.delete_stream(futures_util::stream::iter(paths).boxed());
        let deleted = self.wait(deleted.collect::<Vec<_>>());
        for result in deleted {
            match result {
                Err(object_store::Error::NotFound { .. }) | Ok(_) => {}
                Err(error) => return Err(self.failed("remove", "objects")(error)),
            }
        }
        Ok(())
    }

    /// All objects whose names begin with `folder`, by name.
    fn list(&self, folder: &str) -> Result<Vec<(String, ObjectMeta)>, BucketError> {
        let prefix = self.path(folder);
        let listed: Result<Vec<ObjectMeta>, _> = self.wait(self.store.list(Some(&prefix)).try_collect());
        let listed = listed.map_err(self.failed("list", folder))?;
        let name = |meta: ObjectMeta| {
            let parts: Vec<String> =
                meta.location.prefix_match(&prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some((format!("{folder}/{}", parts.join("/")), meta))
        };
        Ok(listed.into_iter().filter_map(name).collect())
    }

    /// Makes sure that addresses can be signed: not every kind of credentials can.
    ///
    /// # Errors
    /// [`BucketError::Unsigned`].
    pub(super) fn check_signing(&self) -> Result<(), BucketError> {
        let unsigned = |error| match error {
            BucketError::Request { bucket, cause, .. } => BucketError::Unsigned { bucket, cause },
            other => other,
        };
        self.sign("format", Duration::from_secs(1)).map(drop).map_err(unsigned)
    }

    fn sign(&self, name: &str, lifetime: Duration) -> Result<url::Url, BucketError> {
        let path = self.path(name);
        let signed = self.signer.signed_url(axum::http::Method::GET, &path, lifetime);
        self.wait(signed).map_err(self.failed("sign an address of", name))
    }
}

impl Background {
    fn handle(&self) -> tokio::runtime::Handle {
        // Taken only when dropped.
        self.0.as_ref().map_or_else(tokio::runtime::Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
