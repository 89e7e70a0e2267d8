use super::StorageError;
use super::index::IndexError;

/// Part of a sorted list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<T>,
    /// Whether the list goes on after the last entry.
    pub(crate) more: bool,
}

impl Page<String> {
    /// Up to `limit` of `names`.
    pub(super) fn take(
        names: impl Iterator<Item = Result<String, IndexError>>,
        limit: usize,
    ) -> Result<Self, StorageError> {
        let mut names = names;
        let entries = names.by_ref().take(limit).collect::<Result<Vec<_>, _>>()?;
        let more = !entries.is_empty() && names.next().transpose()?.is_some();
        Ok(Self { entries, more })
    }
}
