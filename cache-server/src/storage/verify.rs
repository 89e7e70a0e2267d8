//! Does everything agree with everything else?

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use yadokari::digest::{Algorithm, Digest};

use super::error::At;
use super::index::{
    CONTENTS, INCOMPLETE, IndexError, LINKS, LOOSE, MANIFESTS, NAMED, ORDER, REPOSITORIES, TAGS, TOTALS, UNHELD, USES,
    any_under, on_disk,
};
use super::manifests::Row;
use super::sweep::Swept;
use super::{Storage, StorageError, durable};
use crate::hasher::Hasher;

const BUFFER_BYTES: usize = 1 << 20;
/// A file without an entry may be on its way; no upload ends so slowly.
const STRAY_AGE: Duration = Duration::from_secs(600);

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) blobs: u64,
    pub(crate) manifests: u64,
    /// One line each.
    pub(crate) problems: Vec<String>,
}

impl Storage {
    /// Checks the index against itself and against the files; with `hash`, every byte.
    pub(crate) fn verify(&self, hash: bool) -> Result<Verified, StorageError> {
        let mut verified = Verified::default();
        let read = self.index.read()?;
        verified.check_index(&read)?;
        if let Some(bucket) = &self.bucket {
            self.verify_bucket(bucket, hash, &mut verified)?;
            return Ok(verified);
        }
        verified.problems.extend(self.index.check_journal()?);
        self.verify_contents(&read, hash, &mut verified)?;
        for (digest, path) in self.strays(&read)? {
            verified.problems.push(format!("{digest}: the file {} belongs to nothing", path.display()));
        }
        Ok(verified)
    }

    /// Removes files that the index does not know: a power cut may leave such.
    pub(crate) fn remove_strays(&self) -> Result<Swept, StorageError> {
        if let Some(bucket) = &self.bucket {
            return self.remove_stray_objects(bucket);
        }
        let read = self.index.read()?;
        let mut swept = Swept::default();
        for (digest, path) in self.strays(&read)? {
            let metadata = fs::metadata(&path).at("look at", &path)?;
            let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            let _placing = self.hold_content(&digest);
            if age.is_some_and(|age| age >= STRAY_AGE) {
                durable::unlink(&path)?;
                swept.files += 1;
                swept.bytes += metadata.len();
            }
        }
        Ok(swept)
    }

    fn strays(&self, read: &ReadTransaction) -> Result<Vec<(Digest, std::path::PathBuf)>, StorageError> {
        let contents = read.open_table(CONTENTS).map_err(IndexError::from)?;
        let mut strays = Vec::new();
        for algorithm in durable::names(&self.layout.blobs())? {
            for shard in durable::names(&self.layout.blobs().join(&algorithm))? {
                for hex in durable::names(&self.layout.blobs().join(&algorithm).join(shard))? {
                    let Ok(digest) = format!("{algorithm}:{hex}").parse::<Digest>() else { continue };
                    if contents.get(&*digest.to_string()).map_err(IndexError::from)?.is_none() {
                        let path = self.layout.content(&digest);
                        strays.push((digest, path));
                    }
                }
            }
        }
        Ok(strays)
    }

    fn verify_contents(&self, read: &ReadTransaction, hash: bool, verified: &mut Verified) -> Result<(), StorageError> {
        let contents = read.open_table(CONTENTS).map_err(IndexError::from)?;
        for row in contents.iter().map_err(IndexError::from)? {
            let (key, value) = row.map_err(IndexError::from)?;
            let Ok(digest) = key.value().parse::<Digest>() else {
                verified.problems.push(format!("{}: not a digest", key.value()));
                continue;
            };
            verified.blobs += 1;
            match self.content_size(&digest)? {
                None => verified.problems.push(format!("{digest}: the file is gone")),
                Some(size) if size != value.value().0 => {
                    verified.problems.push(format!("{digest}: {size} bytes instead of {}", value.value().0));
                }
                Some(_) if hash => {
                    let path = self.layout.content(&digest);
                    let actual = hash_file(&path, digest.algorithm()).at("read", &path)?;
                    if actual != digest {
                        verified.problems.push(format!("{digest}: the content has the digest {actual}"));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl Verified {
    fn check_index(&mut self, read: &ReadTransaction) -> Result<(), IndexError> {
        self.check_links(read)?;
        self.check_manifests(read)?;
        self.check_tags(read)?;
        let (uses, order) = (read.open_table(USES)?, read.open_table(ORDER)?);
        for row in order.iter()? {
            let (key, _) = row?;
            let (repository, priority, digest) = key.value();
            let known = uses.get((repository, digest))?.map(|row| row.value());
            if known.is_none_or(|(used, worth, _)| used.saturating_add(worth) != priority) {
                self.problems.push(format!("{repository}@{digest}: stale place in the order of eviction"));
            }
        }
        Ok(())
    }

    /// Who holds what, and all sums.
    fn check_links(&mut self, read: &ReadTransaction) -> Result<(), IndexError> {
        let contents = read.open_table(CONTENTS)?;
        let (loose, named) = (read.open_table(LOOSE)?, read.open_table(NAMED)?);
        let mut holders: BTreeMap<String, u32> = BTreeMap::new();
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for row in read.open_table(LINKS)?.iter()? {
            let (key, _) = row?;
            let (repository, digest) = key.value();
            let size = contents.get(digest)?.map(|row| row.value().0);
            if size.is_none() {
                self.problems.push(format!("{repository}@{digest}: the blob has no entry"));
            }
            *holders.entry(digest.to_owned()).or_default() += 1;
            *bytes.entry(repository.to_owned()).or_default() += size.unwrap_or(0);
            if any_under(&named, repository, digest)? == loose.get((repository, digest))?.is_some() {
                self.problems.push(format!("{repository}@{digest}: wrongly noted whether a manifest names it"));
            }
        }
        self.check_contents(read, &holders)?;
        for row in read.open_table(REPOSITORIES)?.iter()? {
            let (key, value) = row?;
            let actual = bytes.get(key.value()).copied().unwrap_or(0);
            if value.value().0 != actual {
                self.problems.push(format!("{}: {} bytes noted, {actual} found", key.value(), value.value().0));
            }
        }
        Ok(())
    }

    /// How many repositories hold each blob, and the sum of all. `holders` is what the links say.
    fn check_contents(&mut self, read: &ReadTransaction, holders: &BTreeMap<String, u32>) -> Result<(), IndexError> {
        let (unheld, mut total) = (read.open_table(UNHELD)?, 0);
        for row in read.open_table(CONTENTS)?.iter()? {
            let (key, value) = row?;
            let (size, noted) = value.value();
            total += on_disk(size);
            let actual = holders.get(key.value()).copied().unwrap_or(0);
            if actual != noted || (actual == 0) != unheld.get(key.value())?.is_some() {
                self.problems.push(format!("{}: {noted} holders noted, {actual} found", key.value()));
            }
        }
        let noted = read.open_table(TOTALS)?.get("bytes")?.map_or(0, |row| row.value());
        if noted != total {
            self.problems.push(format!("{noted} bytes noted in all, {total} found"));
        }
        Ok(())
    }

    fn check_manifests(&mut self, read: &ReadTransaction) -> Result<(), IndexError> {
        let manifests = read.open_table(MANIFESTS)?;
        self.manifests = manifests.len()?;
        let (links, incomplete) = (read.open_table(LINKS)?, read.open_table(INCOMPLETE)?);
        let named = read.open_table(NAMED)?;
        for row in manifests.iter()? {
            let (key, value) = row?;
            let (repository, text) = key.value();
            let row = Row::parse(value.value());
            let actual = text.parse::<Digest>().map(|digest| Hasher::digest(digest.algorithm(), row.bytes));
            if actual.map_or(true, |actual| actual.to_string() != text) {
                self.problems.push(format!("{repository}@{text}: the manifest has another digest"));
                continue;
            }
            let mut lacking = false;
            for part in row.document()?.parts().map(ToString::to_string) {
                let held = links.get((repository, part.as_str()))?.is_some();
                lacking |= !held && manifests.get((repository, part.as_str()))?.is_none();
                if named.get((repository, part.as_str(), text))?.is_none() {
                    self.problems.push(format!("{repository}@{text}: not noted that it names {part}"));
                }
            }
            if lacking != incomplete.get((repository, text))?.is_some() {
                self.problems.push(format!("{repository}@{text}: wrongly noted whether it is complete"));
            }
        }
        Ok(())
    }

    fn check_tags(&mut self, read: &ReadTransaction) -> Result<(), IndexError> {
        let manifests = read.open_table(MANIFESTS)?;
        for row in read.open_table(TAGS)?.iter()? {
            let (key, value) = row?;
            let (repository, tag) = key.value();
            if manifests.get((repository, value.value()))?.is_none() {
                self.problems.push(format!("{repository}:{tag}: names {}, which is not here", value.value()));
            }
        }
        Ok(())
    }
}

/// The digest of a file's bytes.
pub(super) fn hash_file(path: &Path, algorithm: Algorithm) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
