use std::fs;
use std::io;
use std::path::Path;

use super::layout::read_small;
use super::{Record, RecordError, Store, StoreError};
use crate::causes::chain;
use crate::digest::Digest;
use crate::key::CacheKey;

/// For fewer keys, opening the index takes longer than reading the files. On a local disk it is
/// even at some hundred keys only; where opening a file is a round trip, much earlier.
const INDEX_PAYS_FROM: usize = 16;

/// How many records [`Store::for_each_record`] holds at a time.
const BATCH: usize = 1024;

impl Store {
    /// The record under `key`. Its blobs may be gone: see [`Store::is_complete`]. A damaged
    /// record, or one of another version, is none (and a notice when damaged).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record(&self, key: &CacheKey) -> Result<Option<Record>, StoreError> {
        let path = self.layout.record(key);
        let bytes = read_small(&path, Record::MAX_BYTES as u64)?;
        Ok(bytes.and_then(|bytes| self.decode(&bytes, key, &path)))
    }

    /// As [`Store::record`], for many keys: same length and order. Many are looked up in the
    /// index first, which says what a file holds, never whether it exists.
    pub fn records(&self, keys: &[CacheKey]) -> Vec<Result<Option<Record>, StoreError>> {
        let exists = |key: &CacheKey| self.layout.record(key).exists();
        let found = keys.iter().zip(self.indexed(keys));
        let asked = keys.len() >= INDEX_PAYS_FROM;
        found.map(|(key, bytes)| self.indexed_or_file(key, bytes.filter(|_| exists(key)), asked)).collect()
    }

    fn indexed(&self, keys: &[CacheKey]) -> Vec<Option<Vec<u8>>> {
        let index = self.index.as_ref().filter(|_| keys.len() >= INDEX_PAYS_FROM);
        let found = index.map_or(Ok(None), |index| index.get(keys)).unwrap_or_else(|fault| {
            self.notice(format!("the record index is not used, reading record files: {}", chain(&fault)));
            None
        });
        found.unwrap_or_else(|| vec![None; keys.len()])
    }

    /// What the index was `asked` for and lacks is added to it: otherwise it may well have it, and
    /// each look-up of a few keys would end with a write.
    fn indexed_or_file(
        &self,
        key: &CacheKey,
        bytes: Option<Vec<u8>>,
        asked: bool,
    ) -> Result<Option<Record>, StoreError> {
        let indexed = bytes.and_then(|bytes| Record::from_bytes(&bytes, key).ok());
        if indexed.is_some() {
            return Ok(indexed);
        }
        let record = self.record(key)?;
        if let (Some(record), true) = (&record, asked) {
            self.index_later(key, record.to_bytes());
        }
        Ok(record)
    }

    /// Stores `record` under `key`, which must be one of its keys. A complete record that is
    /// there already stays; one whose blobs are gone, or that is damaged, is replaced.
    ///
    /// # Errors
    /// [`StoreError::ForeignKey`]; [`StoreError::MissingBlob`] unless all its blobs are stored;
    /// [`StoreError::ReadOnly`], [`StoreError::RecordSize`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn put_record(&self, key: &CacheKey, record: &Record) -> Result<(), StoreError> {
        let what = format!("record {key}");
        self.require_writable(&what)?;
        if !record.belongs_to(key) {
            return Err(StoreError::ForeignKey { record: record.key, key: *key });
        }
        record.blobs().try_for_each(|blob| self.require_blob(&what, blob))?;
        if self.record(key)?.is_some_and(|old| self.is_complete(&old)) {
            return Ok(());
        }
        let bytes = record.to_bytes();
        if bytes.len() > Record::MAX_BYTES {
            return Err(StoreError::RecordSize { key: *key, size: bytes.len() });
        }
        self.layout.write_file(&what, &self.layout.record(key), &bytes)?;
        self.index_later(key, bytes);
        Ok(())
    }

    /// Removes the record under `key`; none is fine.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and [`StoreError::Io`].
    pub fn remove_record(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.require_writable("a removal")?;
        let path = self.layout.record(key);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(e)),
            _ => self.layout.sync_parent(&path),
        }
    }

    /// Removes a blob, so that the records that name it are none; one that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and [`StoreError::Io`].
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.require_writable("a removal")?;
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// True when all blobs that the record names are here, in their full size.
    pub fn is_complete(&self, record: &Record) -> bool {
        record.blobs().all(|blob| self.has(blob))
    }

    /// Calls `visit` with every record, in no order; one under two keys comes twice. This is
    /// what the index is for: a miss is explained by the nearest of all records.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the records cannot be listed; one that cannot be read is left out.
    pub fn for_each_record(&self, visit: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        let directory = self.layout.records();
        if !directory.exists() {
            return Ok(());
        }
        let entries = fs::read_dir(&directory).map_err(StoreError::io("list", &directory))?;
        let names = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<CacheKey>().ok());
        let keys: Vec<CacheKey> = names.collect();
        for batch in keys.chunks(BATCH) {
            let asked = batch.len() >= INDEX_PAYS_FROM;
            let found = batch.iter().zip(self.indexed(batch));
            found.filter_map(|(key, bytes)| self.indexed_or_file(key, bytes, asked).ok()?).for_each(&mut *visit);
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8], key: &CacheKey, path: &Path) -> Option<Record> {
        match Record::from_bytes(bytes, key) {
            Ok(record) => Some(record),
            Err(RecordError::Version(_)) => None,
            Err(error) => {
                self.notice(format!("record {} is damaged and is not used: {}", path.display(), chain(&error)));
                None
            }
        }
    }

    fn index_later(&self, key: &CacheKey, bytes: Vec<u8>) {
        let Some(index) = self.index.as_ref().filter(|_| self.writable) else { return };
        if index.queue(key, bytes) {
            self.flush_index();
        }
    }

    /// Writes what is queued for the index. A failure is a notice: the files have it all.
    pub(super) fn flush_index(&self) {
        let flushed = self.index.as_ref().filter(|_| self.writable).map_or(Ok(()), |index| index.flush());
        if let Err(fault) = flushed {
            self.notice(format!("the record index was not updated: {}", chain(&fault)));
        }
    }
}
