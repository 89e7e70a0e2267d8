//! The index of a data directory: a database, and a journal from which it can be made again.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase};
use sha2::{Digest as _, Sha256};
use yadokari::digest::Digest;

use super::journal::{Journal, JournalError, Replayed};
use super::recorded::{Recorder, Rows};
use super::writer::{Keeper, Writer};
use super::{CACHE_BYTES, Index, IndexError, SEQUENCE, Size, TOTALS, Tables, dump_facts};
use crate::storage::layout::Layout;
use crate::storage::manifests::millis_now;

/// Where the parts of an index are.
#[derive(Debug)]
pub(in crate::storage) struct Local {
    layout: Layout,
}

/// An index, and how many changes of the journal had to be made again.
#[derive(Debug)]
pub(in crate::storage) struct Opened {
    pub(in crate::storage) index: Index,
    pub(in crate::storage) redone: u64,
}

/// Facts, as hashes of key and value.
type Facts = HashMap<[u8; 16], [u8; 16]>;

impl Index {
    /// Opens or makes the database and the journal of a data directory. What the journal has and the database
    /// lacks is done again: after a kill that is a change at most, in a new database everything.
    pub(in crate::storage) fn open(layout: &Layout) -> Result<Opened, IndexError> {
        let path = layout.index();
        let (database, sequence) = open_database(&path)?;
        let journal = Journal::open(&layout.journal(), &layout.temporary())?;
        let redone = match &journal {
            Some(journal) if journal.last() > sequence => redo(&database, journal, sequence, layout)?,
            _ => 0,
        };
        let journal = match journal.filter(|journal| journal.last() >= sequence) {
            Some(journal) => journal,
            None => Journal::begin(&layout.journal(), &layout.temporary(), sequence, &database.begin_read()?)?,
        };
        let size = Size::Local(path, journal.sizes());
        let writer = Writer::start(Arc::clone(&database), Keeper::Local(journal));
        let local = Some(Local { layout: layout.clone() });
        Ok(Opened { index: Self { writer, database, size, replica: None, local }, redone })
    }

    /// Whether the index of a data directory can be made again.
    pub(in crate::storage) fn has_journal(layout: &Layout) -> Result<bool, IndexError> {
        Ok(Journal::exists(&layout.journal())?)
    }

    /// Opens the database at `path` as [`Index::open`] would, and nothing more.
    pub(in crate::storage) fn probe(path: &Path) -> Result<(), IndexError> {
        open_database(path).map(drop)
    }

    /// Whether an index made from the journal would be this one; if not, what is wrong.
    pub(in crate::storage) fn check_journal(&self) -> Result<Option<String>, IndexError> {
        let Some(local) = &self.local else { return Ok(None) };
        let directory = local.layout.journal();
        let hint = format!("remove {}, and the next start makes it anew from the index", directory.display());
        let Some(journal) = Journal::open(&directory, &local.layout.temporary())? else {
            return Ok(Some(format!("the journal is gone: {hint}")));
        };
        let mut facts = match noted(&journal) {
            Ok(facts) => facts,
            Err(error) => return Ok(Some(format!("{error}: {hint}"))),
        };
        let lacking = compare(&self.database.begin_read()?, &mut facts)?;
        let agrees = lacking == 0 && facts.is_empty();
        Ok((!agrees).then(|| format!("the journal lacks {lacking} facts, and has {} too many: {hint}", facts.len())))
    }
}

/// The database with all its tables, and the number of its last change. A reader needs not think
/// about absent tables.
fn open_database(path: &Path) -> Result<(Arc<Database>, u64), IndexError> {
    let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Tables::open(&transaction, &Recorder::default()).map(drop)?;
    transaction.commit()?;
    let sequence = database.begin_read()?.open_table(TOTALS)?.get(SEQUENCE)?.map_or(0, |row| row.value());
    Ok((database, sequence))
}

/// Does everything after change `sequence` again, or nothing; returns the number of changes.
fn redo(database: &Database, journal: &Journal, sequence: u64, layout: &Layout) -> Result<u64, IndexError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    let mut tables = Tables::open(&transaction, &Recorder::default())?;
    let now = millis_now();
    let bytes = |digest: &str| bytes_of(layout, digest);
    journal.replay(sequence, &mut |part| match part {
        Replayed::Clear => tables.clear(),
        Replayed::Rows(rows) => Rows(rows).try_for_each(|row| tables.redo(&row?, now, &bytes)),
    })?;
    tables.totals.insert(SEQUENCE, journal.last())?;
    drop(tables);
    transaction.commit()?;
    Ok(journal.last() - sequence)
}

fn bytes_of(layout: &Layout, digest: &str) -> Result<Option<u64>, IndexError> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    let path = layout.content(&digest);
    match fs::metadata(&path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(cannot_look(&path, error).into()),
    }
}

fn cannot_look(path: &Path, cause: io::Error) -> JournalError {
    JournalError::File { operation: "look at", path: path.display().to_string(), cause: Arc::new(cause) }
}

/// What a journal says of each fact in the end.
fn noted(journal: &Journal) -> Result<Facts, IndexError> {
    let mut facts = Facts::new();
    journal.replay(0, &mut |part| {
        let Replayed::Rows(rows) = part else {
            facts.clear();
            return Ok(());
        };
        for row in Rows(rows) {
            let row = row?;
            let key = hash(&[&[row.table], row.key]);
            match row.value {
                Some(value) => drop(facts.insert(key, hash(&[value]))),
                None => drop(facts.remove(&key)),
            }
        }
        Ok(())
    })?;
    Ok(facts)
}

/// Takes what the index has out of `facts`; returns how much of it was not there.
fn compare(read: &ReadTransaction, facts: &mut Facts) -> Result<u64, IndexError> {
    let mut lacking = 0;
    dump_facts(read, &mut |piece| {
        for row in Rows(&piece) {
            let row = row?;
            let found = facts.remove(&hash(&[&[row.table], row.key]));
            lacking += u64::from(found != row.value.map(|value| hash(&[value])));
        }
        Ok(())
    })?;
    Ok(lacking)
}

fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let whole = parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}
