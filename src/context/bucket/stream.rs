//! An object as a stream of bytes.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::runtime::{Builder, Runtime};

use super::error::{Attempt, Place};
use super::http::AgentConnector;
use super::service::client;
use super::{BucketAddress, BucketError};
use crate::registry::Clouds;

/// Reads an object; memory is one chunk. Where a connection breaks, the rest is asked for, as long as the object is
/// the same.
pub(in crate::context) struct ObjectReader {
    runtime: Runtime,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    received: u64,
    size: u64,
    connector: AgentConnector,
    attempt: Attempt,
}

/// Asks for the object. `agent` knows certificates and proxies, `clouds` who we are.
///
/// # Errors
/// See [`BucketError`].
pub(in crate::context) fn open(
    address: &BucketAddress,
    agent: &ureq::Agent,
    clouds: &Clouds,
) -> Result<ObjectReader, BucketError> {
    let client = client(address, agent, clouds)?;
    let unusable = |reason: String| BucketError::Answer { place: client.attempt.place.clone(), reason };
    let key = Path::parse(&address.key).map_err(|_| {
        BucketError::Setting(format!("{address} names no object: its key has an empty segment, or one that is . or .."))
    })?;
    // For the pauses between attempts; nothing else here is asynchronous.
    let runtime = Builder::new_current_thread().enable_time().build().map_err(|error| unusable(error.to_string()))?;
    let found = runtime.block_on(client.store.get(&key));
    let found = found.map_err(|error| client.attempt.explain(client.connector.failure(), &error))?;
    let size = found.meta.size;
    let (connector, attempt) = (client.connector, client.attempt);
    Ok(ObjectReader {
        runtime,
        stream: found.into_stream(),
        chunk: Bytes::new(),
        received: 0,
        size,
        connector,
        attempt,
    })
}

impl ObjectReader {
    /// What is read, and where.
    pub(in crate::context) fn place(&self) -> &Place {
        &self.attempt.place
    }

    fn failed(&self, error: &object_store::Error) -> io::Error {
        let explained = match self.attempt.explain(self.connector.failure(), error) {
            BucketError::Answer { place, reason } | BucketError::Unreachable { place, reason } => {
                BucketError::Broken { place, received: self.received, size: self.size, reason }
            }
            other => other,
        };
        io::Error::other(explained)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(self.failed(&error)),
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        self.received += count as u64;
        Ok(count)
    }
}
