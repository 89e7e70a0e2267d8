//! Changes of facts, made once more with all that follows from them.

use redb::Value;

use super::recorded::Row;
use super::tables::In;
use super::{IndexError, Tables};
use crate::document::Document;
use crate::storage::manifests::{self, NewManifest};

impl Tables<'_> {
    /// Makes the change of a fact that a journal tells of. `bytes` knows the size of a blob's file, if there is one:
    /// a blob without is left out.
    pub(super) fn redo(
        &mut self,
        row: &Row<'_>,
        now: u64,
        bytes: &dyn Fn(&str) -> Result<Option<u64>, IndexError>,
    ) -> Result<(), IndexError> {
        let (repository, name) = <In as Value>::from_bytes(row.key);
        match (row.table, row.value) {
            (2, Some(_)) => bytes(name)?.map_or(Ok(()), |size| self.link(repository, name, size, now)),
            (2, None) => self.unlink(repository, name).map(drop),
            (4, Some(value)) => self.redo_manifest(repository, name, value),
            (4, None) => self.remove_manifest(repository, name, now).map(drop),
            (7, Some(value)) => self.set_tag(repository, name, <&str as Value>::from_bytes(value)),
            (7, None) => self.remove_tag(repository, name).map(drop),
            (13, until) => self.redo_pin(repository, name, until.map(<u64 as Value>::from_bytes)),
            _ => Err(IndexError::Damaged("a change in the journal")),
        }
    }

    /// Its parts may come later, or be lost.
    fn redo_manifest(&mut self, repository: &str, digest: &str, value: &[u8]) -> Result<(), IndexError> {
        let row = manifests::Row::parse(value);
        let document: Document = row.document()?;
        let digest = digest.parse().map_err(|_| IndexError::Damaged("a change in the journal"))?;
        let record = NewManifest { digest, bytes: row.bytes.to_vec(), document: document.clone() }.record();
        self.put_manifest(repository, &record)?;
        if !self.lacking(repository, &document)?.is_empty() {
            self.incomplete.insert((repository, record.digest.as_str()), ())?;
        }
        Ok(())
    }

    fn redo_pin(&mut self, repository: &str, digest: &str, until: Option<u64>) -> Result<(), IndexError> {
        match until {
            Some(until) => drop(self.pins.insert((repository, digest), until)?),
            None => drop(self.pins.remove((repository, digest))?),
        }
        self.rank(repository, digest)
    }
}
