use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::IndexError;
use super::recorded::{Recorded, Recorder, Row, Rows, dump};

/// In a repository: its name, then the name of a thing in it.
pub(crate) type In = (&'static str, &'static str);
/// In a repository: two things.
pub(crate) type Pair = (&'static str, &'static str, &'static str);

/// Makes the definitions of the tables, and what goes over all of them. A number stands for its
/// table in journals: it must not change.
macro_rules! tables {
    ($($(#[$doc:meta])* $number:literal $field:ident $name:ident: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub(crate) const $name: TableDefinition<$key, $value> = TableDefinition::new(stringify!($field));)*

        /// All tables, open for a change.
        pub(crate) struct Tables<'t> {
            $(pub(crate) $field: Recorded<'t, $key, $value>,)*
        }

        impl<'t> Tables<'t> {
            pub(super) fn open(transaction: &'t WriteTransaction, recorder: &Recorder) -> Result<Self, IndexError> {
                Ok(Self { $($field: Recorded::new($number, transaction.open_table($name)?, recorder),)* })
            }

            /// Makes the change that a row stands for; rows of tables that are not known here are
            /// those of a newer program, and refused.
            pub(super) fn apply(&mut self, row: &Row<'_>) -> Result<(), IndexError> {
                match row.table {
                    $($number => self.$field.apply(row),)*
                    _ => Err(IndexError::Damaged("a change in the journal")),
                }
            }

            /// Adds rows in the order of [`dump_all`] to tables that have none but those before them.
            pub(super) fn append(&mut self, rows: Rows<'_>) -> Result<(), IndexError> {
                let mut rows = rows.peekable();
                while let Some(row) = rows.peek() {
                    match row.as_ref().map_err(Clone::clone)?.table {
                        $($number => self.$field.append(&mut rows)?,)*
                        _ => return Err(IndexError::Damaged("a checkpoint in the journal")),
                    }
                }
                Ok(())
            }

            /// Removes all rows.
            pub(super) fn clear(&mut self) -> Result<(), IndexError> {
                $(self.$field.clear()?;)*
                Ok(())
            }
        }

        /// Hands out all rows, encoded, a piece after the other.
        pub(super) fn dump_all(
            read: &ReadTransaction,
            take: &mut impl FnMut(Vec<u8>) -> Result<(), IndexError>,
        ) -> Result<(), IndexError> {
            let mut piece = Vec::new();
            $(dump($number, &read.open_table($name)?, &mut piece, take)?;)*
            if piece.is_empty() { Ok(()) } else { take(piece) }
        }
    };
}

tables! {
    /// Digest of a file below `blobs/`: its bytes, and how many repositories hold it.
    0 contents CONTENTS: &'static str => (u64, u32);
    /// Contents that no repository holds any more; their files are to be removed.
    1 unheld UNHELD: &'static str => ();
    /// Repository and digest: it holds that blob.
    2 links LINKS: In => ();
    /// Links to blobs that no manifest of the repository names: since when, in milliseconds.
    3 loose LOOSE: In => u64;
    /// Repository and digest of a manifest: media type, zero byte, and the manifest as it was pushed.
    4 manifests MANIFESTS: In => &'static [u8];
    /// Repository and manifest: last use and worth, both in milliseconds, and the bytes of all that it names.
    5 uses USES: In => (u64, u64, u64);
    /// Repository, priority, and manifest that may be evicted, the least worthy first.
    6 order ORDER: (&'static str, u64, &'static str) => ();
    /// Repository and tag: the digest that it names.
    7 tags TAGS: In => &'static str;
    /// Repository, manifest, tag: the same the other way round.
    8 tagged TAGGED: Pair => ();
    /// Repository, blob or manifest, and a manifest that names it.
    9 named NAMED: Pair => ();
    /// Repository and a manifest of which something is no longer here.
    10 incomplete INCOMPLETE: In => ();
    /// Repository, subject, manifest: the descriptor that referrer lists show.
    11 referrers REFERRERS: Pair => &'static [u8];
    /// Bytes linked and manifests in a repository.
    12 repositories REPOSITORIES: &'static str => (u64, u64);
    /// Repository and manifest: until when it must stay, in milliseconds.
    13 pins PINS: In => u64;
    /// Sums: `bytes` over all contents, and in an object store `doomed` and `reserved` besides; and
    /// `sequence`, the number of the last change in the journal, and in an object store `change`, by which its author
    /// knew it.
    14 totals TOTALS: &'static str => u64;
    /// In an object store: the objects that a content consists of, as JSON.
    15 objects OBJECTS: &'static str => &'static [u8];
    /// In an object store: objects that nothing needs any more; their bytes, and since when.
    16 doomed DOOMED: &'static str => (u64, u64);
    /// In an object store: unfinished uploads, as JSON.
    17 uploads UPLOADS: &'static str => &'static [u8];
    /// In an object store: repository and blob that a client was told of, and when.
    18 promised PROMISED: In => u64;
    /// In an object store: repository and key of a lease; its identity, fence, and end in milliseconds.
    19 leases LEASES: In => (&'static str, u64, u64);
    /// Repository and a tag that made room for others: when, in milliseconds. Some of the last ones.
    20 evicted EVICTED: In => u64;
}

/// Numbers of the tables that all others follow from, together with the files of blobs.
pub(super) const FACTS: &[u8] = &[2, 4, 7, 13];

/// Hands out the rows of [`FACTS`], encoded, a piece after the other. Done again in this order they make sense.
pub(super) fn dump_facts(
    read: &ReadTransaction,
    take: &mut impl FnMut(Vec<u8>) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut piece = Vec::new();
    dump(2, &read.open_table(LINKS)?, &mut piece, take)?;
    dump(4, &read.open_table(MANIFESTS)?, &mut piece, take)?;
    dump(7, &read.open_table(TAGS)?, &mut piece, take)?;
    dump(13, &read.open_table(PINS)?, &mut piece, take)?;
    if piece.is_empty() { Ok(()) } else { take(piece) }
}

/// The names that follow `repository` in a table, from `after` on (exclusive).
pub(crate) fn names_in<V: redb::Value + 'static>(
    table: &impl ReadableTable<In, V>,
    repository: &str,
    after: Option<&str>,
) -> Result<impl Iterator<Item = Result<String, IndexError>>, IndexError> {
    let (owner, start) = (repository.to_owned(), after.map(str::to_owned));
    let range = table.range((repository, after.unwrap_or_default())..)?;
    let rows = range.map(|row| {
        let (key, _) = row?;
        let (repository, name) = key.value();
        Ok((repository.to_owned(), name.to_owned()))
    });
    let rows = rows.take_while(move |row: &Result<_, IndexError>| row.as_ref().map_or(true, |(r, _)| *r == owner));
    let names = rows.map(|row| row.map(|(_, name)| name));
    Ok(names.filter(move |name| name.as_ref().map_or(true, |name| Some(name) != start.as_ref())))
}

/// The third names that follow `repository` and `middle`.
pub(crate) fn names_under<V: redb::Value + 'static>(
    table: &impl ReadableTable<Pair, V>,
    repository: &str,
    middle: &str,
) -> Result<Vec<String>, IndexError> {
    let mut names = Vec::new();
    for row in table.range((repository, middle, "")..)? {
        let (key, _) = row?;
        let (found, under, name) = key.value();
        if (found, under) != (repository, middle) {
            break;
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Whether any third name follows `repository` and `middle`.
pub(crate) fn any_under<V: redb::Value + 'static>(
    table: &impl ReadableTable<Pair, V>,
    repository: &str,
    middle: &str,
) -> Result<bool, IndexError> {
    let Some(row) = table.range((repository, middle, "")..)?.next() else { return Ok(false) };
    let (key, _) = row?;
    let (found, under, _) = key.value();
    Ok((found, under) == (repository, middle))
}
