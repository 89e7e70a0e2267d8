//! Changes of the index that only a store in a bucket makes.

use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use yadokari::digest::Digest;

use crate::storage::index::{DOOMED, IndexError, OBJECTS, TOTALS, Tables, UPLOADS, on_disk};

/// Contents that are given up in one change.
const BATCH: usize = 512;

/// An object that is a content, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its name in the bucket.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// An unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) repository: String,
    /// Bytes in its parts.
    pub(crate) received: u64,
    pub(crate) parts: Vec<Part>,
    /// Bytes that are set aside for it.
    pub(crate) reserved: u64,
    /// When bytes last came, in milliseconds since the epoch.
    pub(crate) touched: u64,
}

impl UploadRow {
    pub(crate) fn new(repository: &str, now: u64) -> Self {
        Self { repository: repository.to_owned(), received: 0, parts: Vec::new(), reserved: 0, touched: now }
    }
}

/// Strings and numbers only: nothing can fail.
fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8], table: &'static str) -> Result<T, IndexError> {
    serde_json::from_slice(bytes).map_err(|_| IndexError::Damaged(table))
}

/// The objects of a content.
pub(crate) fn parts_of(read: &ReadTransaction, digest: &Digest) -> Result<Option<Vec<Part>>, IndexError> {
    let table = read.open_table(OBJECTS)?;
    let row = table.get(&*digest.to_string())?;
    row.map(|row| parse(row.value(), "objects")).transpose()
}

/// The row of an upload.
pub(crate) fn upload_row(read: &ReadTransaction, id: &str) -> Result<Option<UploadRow>, IndexError> {
    let table = read.open_table(UPLOADS)?;
    let row = table.get(id)?;
    row.map(|row| parse(row.value(), "uploads")).transpose()
}

/// Bytes in contents, in objects that are on their way out, and set aside for uploads.
pub(crate) fn bytes_taken(table: &impl ReadableTable<&'static str, u64>) -> Result<u64, IndexError> {
    let mut sum = 0_u64;
    for name in ["bytes", "doomed", "reserved"] {
        sum = sum.saturating_add(table.get(name)?.map_or(0, |row| row.value()));
    }
    Ok(sum)
}

/// The same, of what is in the index now.
pub(crate) fn bytes_taken_now(read: &ReadTransaction) -> Result<u64, IndexError> {
    bytes_taken(&read.open_table(TOTALS)?)
}

/// Names of all objects that the index knows.
pub(crate) fn known_objects(read: &ReadTransaction) -> Result<std::collections::HashSet<String>, IndexError> {
    let mut known = std::collections::HashSet::new();
    for row in read.open_table(OBJECTS)?.iter()? {
        let (_, value) = row?;
        known.extend(parse::<Vec<Part>>(value.value(), "objects")?.into_iter().map(|part| part.name));
    }
    for row in read.open_table(UPLOADS)?.iter()? {
        let (_, value) = row?;
        known.extend(parse::<UploadRow>(value.value(), "uploads")?.parts.into_iter().map(|part| part.name));
    }
    for row in read.open_table(DOOMED)?.iter()? {
        known.insert(row?.0.value().to_owned());
    }
    Ok(known)
}

impl Tables<'_> {
    fn add_to(&mut self, total: &'static str, more: u64, less: u64) -> Result<(), IndexError> {
        let sum = self.totals.get(total)?.map_or(0, |row| row.value());
        self.totals.insert(total, sum.saturating_add(more).saturating_sub(less))?;
        Ok(())
    }

    pub(crate) fn upload(&self, id: &str) -> Result<Option<UploadRow>, IndexError> {
        let row = self.uploads.get(id)?;
        row.map(|row| parse(row.value(), "uploads")).transpose()
    }

    /// Writes an upload down.
    pub(crate) fn put_upload(&mut self, id: &str, upload: &UploadRow) -> Result<(), IndexError> {
        let before = self.upload(id)?.map_or(0, |row| row.reserved);
        self.uploads.insert(id, json(upload).as_slice())?;
        if before == upload.reserved { Ok(()) } else { self.add_to("reserved", upload.reserved, before) }
    }

    /// Forgets an upload; its parts are then the caller's.
    pub(crate) fn take_upload(&mut self, id: &str) -> Result<Option<UploadRow>, IndexError> {
        let Some(row) = self.upload(id)? else { return Ok(None) };
        self.uploads.remove(id)?;
        self.add_to("reserved", 0, row.reserved)?;
        Ok(Some(row))
    }

    /// Forgets the uploads that nobody has written to since; returns how many.
    pub(crate) fn drop_uploads_before(&mut self, since: u64, now: u64) -> Result<usize, IndexError> {
        let mut stale = Vec::new();
        for row in self.uploads.iter()? {
            let (key, value) = row?;
            if parse::<UploadRow>(value.value(), "uploads")?.touched <= since {
                stale.push(key.value().to_owned());
            }
        }
        for id in &stale {
            let parts = self.take_upload(id)?.map(|row| row.parts).unwrap_or_default();
            self.doom(&parts, now)?;
        }
        Ok(stale.len())
    }

    /// Nothing needs these objects any more; their bytes count until they are gone.
    pub(crate) fn doom(&mut self, parts: &[Part], now: u64) -> Result<(), IndexError> {
        for part in parts {
            if self.doomed.insert(part.name.as_str(), (part.size, now))?.is_none() {
                self.add_to("doomed", on_disk(part.size), 0)?;
            }
        }
        Ok(())
    }

    /// These objects are gone.
    pub(crate) fn buried(&mut self, names: &[String]) -> Result<(), IndexError> {
        for name in names {
            let size = self.doomed.remove(name.as_str())?.map(|row| row.value().0);
            if let Some(size) = size {
                self.add_to("doomed", 0, on_disk(size))?;
            }
        }
        Ok(())
    }

    /// Gives up contents that no repository holds; false when there are no more of them.
    pub(crate) fn doom_unheld(&mut self, now: u64) -> Result<bool, IndexError> {
        let unheld = self.unheld.iter()?.take(BATCH).map(|row| Ok(row?.0.value().to_owned()));
        let unheld = unheld.collect::<Result<Vec<String>, IndexError>>()?;
        for digest in &unheld {
            self.doom_content(digest, now)?;
        }
        Ok(!unheld.is_empty())
    }

    fn doom_content(&mut self, digest: &str, now: u64) -> Result<(), IndexError> {
        let parts = self.objects.remove(digest)?.map(|row| row.value().to_vec());
        self.drop_content(digest)?;
        self.doom(&parts.map_or(Ok(Vec::new()), |row| parse(&row, "objects"))?, now)
    }

    /// Makes `parts` a blob of `repository`. Where another upload made the same content before,
    /// that one stays, unless it is `lost`.
    pub(crate) fn put_content(
        &mut self,
        (repository, digest): (&str, &str),
        parts: &[Part],
        lost: Option<&[Part]>,
        now: u64,
    ) -> Result<(), IndexError> {
        let before = self.objects.get(digest)?.map(|row| row.value().to_vec());
        let before: Option<Vec<Part>> = before.map(|row| parse(&row, "objects")).transpose()?;
        let is_held = self.contents.get(digest)?.is_some_and(|row| row.value().1 > 0);
        match before {
            Some(before) if is_held && lost != Some(before.as_slice()) => self.doom(parts, now)?,
            Some(before) if is_held => {
                self.doom(&before, now)?;
                self.objects.insert(digest, json(&parts).as_slice())?;
            }
            _ => {
                self.doom_content(digest, now)?;
                self.objects.insert(digest, json(&parts).as_slice())?;
            }
        }
        let size = parts.iter().map(|part| part.size).sum();
        self.link(repository, digest, size, now)
    }

    /// Takes a content that is lost out of all repositories, unless it came back.
    pub(crate) fn drop_lost(&mut self, digest: &str, lost: &[Part], now: u64) -> Result<(), IndexError> {
        let row = self.objects.get(digest)?.map(|row| row.value().to_vec());
        if row.map(|row| parse::<Vec<Part>>(&row, "objects")).transpose()?.as_deref() != Some(lost) {
            return Ok(());
        }
        let names = self.repositories.iter()?.map(|row| Ok(row?.0.value().to_owned()));
        for repository in names.collect::<Result<Vec<String>, IndexError>>()? {
            self.unlink(&repository, digest)?;
        }
        self.doom_content(digest, now)
    }
}
