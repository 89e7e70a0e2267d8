//! Tables that note what is written to them, so that it can be done again elsewhere.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::iter::Peekable;
use std::ops::{Bound, Deref};
use std::rc::Rc;

use redb::{AccessGuard, Key, ReadableTable, StorageError, Table, Value};

use super::IndexError;

/// Pieces of a dump have about this size in bytes.
const PIECE_BYTES: usize = 4 << 20;

/// What was written, encoded: for each row its table, the length of its key and the key, and the
/// length of its value plus one and the value; zero, and no value, when it was removed.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    rows: Option<Rc<RefCell<Vec<u8>>>>,
    /// Notes these tables only.
    only: Option<&'static [u8]>,
}

impl Recorder {
    /// One that notes.
    pub(super) fn new() -> Self {
        Self { rows: Some(Rc::default()), only: None }
    }

    /// One that notes what happens to some tables.
    pub(super) fn only(tables: &'static [u8]) -> Self {
        Self { only: Some(tables), ..Self::new() }
    }

    pub(super) fn take(&self) -> Vec<u8> {
        self.rows.as_ref().map(|rows| std::mem::take(&mut *rows.borrow_mut())).unwrap_or_default()
    }

    fn note(&self, table: u8, key: &[u8], value: Option<&[u8]>) {
        if let Some(rows) = &self.rows
            && self.only.is_none_or(|tables| tables.contains(&table))
        {
            encode(&mut rows.borrow_mut(), table, key, value);
        }
    }
}

fn encode(rows: &mut Vec<u8>, table: u8, key: &[u8], value: Option<&[u8]>) {
    // redb refuses keys and values of 4 GiB before this.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    rows.push(table);
    rows.extend_from_slice(&length(key.len()));
    rows.extend_from_slice(key);
    rows.extend_from_slice(&length(value.map_or(0, |value| value.len() + 1)));
    rows.extend_from_slice(value.unwrap_or_default());
}

/// A row that was written or removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) table: u8,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// Reads what a [`Recorder`] noted.
pub(super) struct Rows<'a>(pub(super) &'a [u8]);

impl<'a> Rows<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    }

    fn row(&mut self) -> Option<Row<'a>> {
        let table = *self.bytes(1)?.first()?;
        let key = self.length()?;
        let key = self.bytes(key)?;
        let value = match self.length()? {
            0 => None,
            length => Some(self.bytes(length - 1)?),
        };
        Some(Row { table, key, value })
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_none() {
            self.0 = &[];
        }
        Some(row.ok_or(IndexError::Damaged("a change in the journal")))
    }
}

/// What rows come to in the end: of several with the same key the last one, in an order that keeps neighbours together.
pub(super) fn last_of_each(rows: Rows<'_>) -> Result<Vec<Row<'_>>, IndexError> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.reverse();
    // Stable: the last one is now the first of its equals.
    rows.sort_by(|a, b| (a.table, a.key).cmp(&(b.table, b.key)));
    rows.dedup_by(|other, first| (other.table, other.key) == (first.table, first.key));
    Ok(rows)
}

/// A table that tells a [`Recorder`] of every change.
pub(crate) struct Recorded<'t, K: Key + 'static, V: Value + 'static> {
    table: Table<'t, K, V>,
    number: u8,
    recorder: Recorder,
}

impl<'t, K: Key + 'static, V: Value + 'static> Recorded<'t, K, V> {
    pub(super) fn new(number: u8, table: Table<'t, K, V>, recorder: &Recorder) -> Self {
        Self { table, number, recorder: recorder.clone() }
    }

    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        let (key, value) = (key.borrow(), value.borrow());
        self.recorder.note(self.number, K::as_bytes(key).as_ref(), Some(V::as_bytes(value).as_ref()));
        self.table.insert(key, value)
    }

    pub(crate) fn remove<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        let key = key.borrow();
        let removed = self.table.remove(key)?;
        if removed.is_some() {
            self.recorder.note(self.number, K::as_bytes(key).as_ref(), None);
        }
        Ok(removed)
    }

    /// Removes all rows; nobody is told.
    pub(super) fn clear(&mut self) -> Result<(), IndexError> {
        Ok(self.table.retain(|_, _| false)?)
    }

    /// Adds the next rows, as far as they are of this table; all of them behind all that are there.
    pub(super) fn append(&mut self, rows: &mut Peekable<Rows<'_>>) -> Result<(), IndexError> {
        let number = self.number;
        let is_ours = |row: &Result<Row<'_>, IndexError>| row.as_ref().is_ok_and(|row| row.table == number);
        let mut cursor = self.table.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
        while let Some(row) = rows.next_if(is_ours).transpose()? {
            let value = row.value.ok_or(IndexError::Damaged("a checkpoint in the journal"))?;
            cursor.insert_before(K::from_bytes(row.key), V::from_bytes(value))?;
        }
        Ok(cursor.close()?)
    }

    /// Does again what was noted elsewhere.
    pub(super) fn apply(&mut self, row: &Row<'_>) -> Result<(), IndexError> {
        let key = K::from_bytes(row.key);
        match row.value {
            Some(value) => drop(self.table.insert(&key, V::from_bytes(value))?),
            None => drop(self.table.remove(&key)?),
        }
        Ok(())
    }
}

impl<'t, K: Key + 'static, V: Value + 'static> Deref for Recorded<'t, K, V> {
    type Target = Table<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

/// Adds all rows of a table, encoded, to `piece`, and hands it out whenever it is full.
pub(super) fn dump<K: Key + 'static, V: Value + 'static>(
    number: u8,
    table: &impl ReadableTable<K, V>,
    piece: &mut Vec<u8>,
    take: &mut impl FnMut(Vec<u8>) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    for row in table.iter()? {
        let (key, value) = row?;
        let (key, value) = (key.value(), value.value());
        encode(piece, number, K::as_bytes(&key).as_ref(), Some(V::as_bytes(&value).as_ref()));
        if piece.len() >= PIECE_BYTES {
            take(std::mem::take(piece))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_noted(
            rows in proptest::collection::vec((any::<u8>(), any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..20),
        ) {
            let recorder = Recorder::new();
            rows.iter().for_each(|(table, key, value)| recorder.note(*table, key, value.as_deref()));
            let bytes = recorder.take();
            let read: Result<Vec<_>, _> = Rows(&bytes).collect();
            let expected: Vec<Row<'_>> = rows
                .iter()
                .map(|(table, key, value)| Row { table: *table, key, value: value.as_deref() })
                .collect();
            prop_assert_eq!(read.expect("whole"), expected);
        }

        #[test]
        fn the_last_row_of_each_key_counts(
            rows in proptest::collection::vec((0_u8..3, 0_u8..4, any::<Option<u8>>()), 0..40),
        ) {
            let (recorder, mut expected) = (Recorder::new(), std::collections::BTreeMap::new());
            for (table, key, value) in rows {
                recorder.note(table, &[key], value.as_ref().map(std::slice::from_ref));
                expected.insert((table, vec![key]), value.map(|value| vec![value]));
            }
            let bytes = recorder.take();
            let last = last_of_each(Rows(&bytes)).expect("whole");
            let last: Vec<_> =
                last.iter().map(|row| ((row.table, row.key.to_vec()), row.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(last, expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn damaged_rows_are_an_error_at_most(bytes in any::<Vec<u8>>()) {
            Rows(&bytes).for_each(drop);
        }
    }
}
