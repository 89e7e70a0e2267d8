use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::IndexError;

/// In a repository: its name, then the name of a thing in it.
pub(crate) type In = (&'static str, &'static str);
/// In a repository: two things.
pub(crate) type Pair = (&'static str, &'static str, &'static str);

/// Digest of a file below `blobs/`: its bytes, and how many repositories hold it.
pub(crate) const CONTENTS: TableDefinition<&str, (u64, u32)> = TableDefinition::new("contents");
/// Contents that no repository holds any more; their files are to be removed.
pub(crate) const UNHELD: TableDefinition<&str, ()> = TableDefinition::new("unheld");
/// Repository and digest: it holds that blob.
pub(crate) const LINKS: TableDefinition<In, ()> = TableDefinition::new("links");
/// Links to blobs that no manifest of the repository names: since when, in milliseconds.
pub(crate) const LOOSE: TableDefinition<In, u64> = TableDefinition::new("loose");
/// Repository and digest of a manifest: media type, zero byte, and the manifest as it was pushed.
pub(crate) const MANIFESTS: TableDefinition<In, &[u8]> = TableDefinition::new("manifests");
/// Repository and manifest: last use and worth, both in milliseconds, and the bytes of all that it names.
pub(crate) const USES: TableDefinition<In, (u64, u64, u64)> = TableDefinition::new("uses");
/// Repository, priority, and manifest that may be evicted, the least worthy first.
pub(crate) const ORDER: TableDefinition<(&str, u64, &str), ()> = TableDefinition::new("order");
/// Repository and tag: the digest that it names.
pub(crate) const TAGS: TableDefinition<In, &str> = TableDefinition::new("tags");
/// Repository, manifest, tag: the same the other way round.
pub(crate) const TAGGED: TableDefinition<Pair, ()> = TableDefinition::new("tagged");
/// Repository, blob or manifest, and a manifest that names it.
pub(crate) const NAMED: TableDefinition<Pair, ()> = TableDefinition::new("named");
/// Repository and a manifest of which something is no longer here.
pub(crate) const INCOMPLETE: TableDefinition<In, ()> = TableDefinition::new("incomplete");
/// Repository, subject, manifest: the descriptor that referrer lists show.
pub(crate) const REFERRERS: TableDefinition<Pair, &[u8]> = TableDefinition::new("referrers");
/// Bytes linked and manifests in a repository.
pub(crate) const REPOSITORIES: TableDefinition<&str, (u64, u64)> = TableDefinition::new("repositories");
/// Repository and manifest: until when it must stay, in milliseconds.
pub(crate) const PINS: TableDefinition<In, u64> = TableDefinition::new("pins");
/// Repository and a tag that made room for others: when, in milliseconds. Some of the last ones.
pub(crate) const EVICTED: TableDefinition<In, u64> = TableDefinition::new("evicted");
/// Sums over all contents: `bytes`.
pub(crate) const TOTALS: TableDefinition<&str, u64> = TableDefinition::new("totals");

/// All tables, open for a change.
pub(crate) struct Tables<'t> {
    pub(crate) contents: Table<'t, &'static str, (u64, u32)>,
    pub(crate) unheld: Table<'t, &'static str, ()>,
    pub(crate) links: Table<'t, In, ()>,
    pub(crate) loose: Table<'t, In, u64>,
    pub(crate) manifests: Table<'t, In, &'static [u8]>,
    pub(crate) uses: Table<'t, In, (u64, u64, u64)>,
    pub(crate) order: Table<'t, (&'static str, u64, &'static str), ()>,
    pub(crate) tags: Table<'t, In, &'static str>,
    pub(crate) tagged: Table<'t, Pair, ()>,
    pub(crate) named: Table<'t, Pair, ()>,
    pub(crate) incomplete: Table<'t, In, ()>,
    pub(crate) referrers: Table<'t, Pair, &'static [u8]>,
    pub(crate) repositories: Table<'t, &'static str, (u64, u64)>,
    pub(crate) pins: Table<'t, In, u64>,
    pub(crate) evicted: Table<'t, In, u64>,
    pub(crate) totals: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            contents: transaction.open_table(CONTENTS)?,
            unheld: transaction.open_table(UNHELD)?,
            links: transaction.open_table(LINKS)?,
            loose: transaction.open_table(LOOSE)?,
            manifests: transaction.open_table(MANIFESTS)?,
            uses: transaction.open_table(USES)?,
            order: transaction.open_table(ORDER)?,
            tags: transaction.open_table(TAGS)?,
            tagged: transaction.open_table(TAGGED)?,
            named: transaction.open_table(NAMED)?,
            incomplete: transaction.open_table(INCOMPLETE)?,
            referrers: transaction.open_table(REFERRERS)?,
            repositories: transaction.open_table(REPOSITORIES)?,
            pins: transaction.open_table(PINS)?,
            evicted: transaction.open_table(EVICTED)?,
            totals: transaction.open_table(TOTALS)?,
        })
    }
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
