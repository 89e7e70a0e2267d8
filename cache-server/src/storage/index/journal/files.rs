//! The files of a journal, and the entries in them.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{JournalError, at};
use crate::storage::index::IndexError;

/// Length, number and check sum.
const HEAD_BYTES: usize = 4 + 8 + 8;
const SUM_BYTES: usize = 8;

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    /// For files on their way, on the same file system.
    temporary: PathBuf,
}

/// What a journal says, in order.
#[derive(Debug)]
pub(in crate::storage::index) enum Replayed<'a> {
    /// All that follows stands on nothing.
    Clear,
    /// Encoded rows.
    Rows(&'a [u8]),
}

/// How far a log can be read.
pub(super) struct End {
    /// The last change in it, or the one before its first.
    pub(super) last: u64,
    pub(super) bytes: u64,
}

impl Files {
    pub(super) fn new(directory: &Path, temporary: &Path) -> Self {
        Self { directory: directory.to_owned(), temporary: temporary.to_owned() }
    }

    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    pub(super) fn log(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:020}.log"))
    }

    pub(super) fn snapshot(&self, sequence: u64) -> PathBuf {
        self.directory.join(format!("{sequence:020}.snapshot"))
    }

    /// The newest snapshot, and the logs in their order.
    pub(super) fn list(&self) -> Result<(Option<u64>, Vec<u64>), JournalError> {
        let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
        for name in self.names()? {
            let Some((number, kind)) = name.split_once('.') else { continue };
            let Ok(number) = number.parse() else { continue };
            match kind {
                "snapshot" => snapshots.push(number),
                "log" => logs.push(number),
                _ => {}
            }
        }
        logs.sort_unstable();
        Ok((snapshots.into_iter().max(), logs))
    }

    pub(super) fn is_empty(&self) -> Result<bool, JournalError> {
        Ok(self.list()?.1.is_empty())
    }

    fn names(&self) -> Result<Vec<String>, JournalError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at("list", &self.directory)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(at("list", &self.directory))?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Removes all files, and makes the directory.
    pub(super) fn clear(&self) -> Result<(), JournalError> {
        fs::create_dir_all(&self.directory).map_err(at("create", &self.directory))?;
        for name in self.names()? {
            let path = self.directory.join(name);
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
        self.sync()
    }

    /// Removes what a snapshot stands for; returns the bytes of the logs among it.
    pub(super) fn remove_before(&self, sequence: u64) -> Result<u64, JournalError> {
        let (_, logs) = self.list()?;
        let replaced: Vec<u64> = logs.into_iter().filter(|first| *first <= sequence).collect();
        let bytes = self.log_bytes(&replaced)?;
        for first in replaced {
            let path = self.log(first);
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
        for name in self.names()?.iter().filter_map(|name| name.strip_suffix(".snapshot")) {
            if name.parse::<u64>().is_ok_and(|number| number < sequence) {
                let path = self.directory.join(format!("{name}.snapshot"));
                fs::remove_file(&path).map_err(at("remove", &path))?;
            }
        }
        self.sync()?;
        Ok(bytes)
    }

    pub(super) fn create_log(&self, first: u64) -> Result<(File, PathBuf), JournalError> {
        let path = self.log(first);
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = file.map_err(at("create", &path))?;
        self.sync()?;
        Ok((file, path))
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(at("sync", &self.directory))
    }

    pub(super) fn log_bytes(&self, logs: &[u64]) -> Result<u64, JournalError> {
        logs.iter().map(|first| size(&self.log(*first))).sum()
    }

    pub(super) fn snapshot_bytes(&self, sequence: u64) -> Result<u64, JournalError> {
        size(&self.snapshot(sequence))
    }

    /// Hands out all changes after `after`, oldest first; where they are no longer there one by one, all
    /// facts from nothing on.
    pub(super) fn replay(
        &self,
        after: u64,
        take: &mut dyn FnMut(Replayed<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let (snapshot, logs) = self.list()?;
        let mut position = after;
        if let Some(sequence) = snapshot.filter(|sequence| *sequence > after) {
            take(Replayed::Clear)?;
            self.replay_snapshot(sequence, take)?;
            position = sequence;
        }
        for (index, first) in logs.iter().enumerate() {
            // The next one begins behind the last change of this one.
            if logs.get(index + 1).is_some_and(|next| *next <= position + 1) {
                continue;
            }
            position = self.replay_log(*first, position, index + 1 == logs.len(), take)?;
        }
        Ok(())
    }

    fn replay_snapshot(
        &self,
        sequence: u64,
        take: &mut dyn FnMut(Replayed<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let path = self.snapshot(sequence);
        let damaged = || JournalError::Damaged(path.display().to_string());
        let mut entries = Entries::open(&path)?;
        loop {
            match entries.next()? {
                Some((number, rows)) if number == sequence && rows.is_empty() => return Ok(()),
                Some((number, rows)) if number == sequence => take(Replayed::Rows(&rows))?,
                _ => return Err(damaged().into()),
            }
        }
    }

    /// Returns the last change that was handed out or skipped. Only the last log may have no end.
    fn replay_log(
        &self,
        first: u64,
        after: u64,
        is_last: bool,
        take: &mut dyn FnMut(Replayed<'_>) -> Result<(), IndexError>,
    ) -> Result<u64, IndexError> {
        let path = self.log(first);
        let damaged = || JournalError::Damaged(path.display().to_string());
        if first > after + 1 {
            return Err(damaged().into());
        }
        let mut entries = Entries::open(&path)?;
        let mut expected = first;
        while let Some((number, rows)) = entries.next()? {
            if number != expected {
                return Err(damaged().into());
            }
            if number > after {
                take(Replayed::Rows(&rows))?;
            }
            expected += 1;
        }
        if !(is_last || entries.at_end) {
            return Err(damaged().into());
        }
        Ok(after.max(expected - 1))
    }
}

fn size(path: &Path) -> Result<u64, JournalError> {
    Ok(fs::metadata(path).map_err(at("look at", path))?.len())
}

fn sum(number: u64, rows: &[u8]) -> [u8; SUM_BYTES] {
    let hash = Sha256::new().chain_update(number.to_le_bytes()).chain_update(rows).finalize();
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hash[..SUM_BYTES]);
    sum
}

/// An entry, encoded.
pub(super) fn frame(number: u64, rows: &[u8]) -> Result<Vec<u8>, IndexError> {
    let length = u32::try_from(rows.len()).map_err(|_| IndexError::Damaged("a change: it is too large"))?;
    let mut entry = Vec::with_capacity(HEAD_BYTES + rows.len());
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(&number.to_le_bytes());
    entry.extend_from_slice(&sum(number, rows));
    entry.extend_from_slice(rows);
    Ok(entry)
}

/// Reads entries from a file.
struct Entries {
    file: BufReader<File>,
    path: PathBuf,
    /// In entries that were whole.
    bytes: u64,
    left: u64,
    /// Whether it ended with a whole entry.
    at_end: bool,
}

impl Entries {
    fn open(path: &Path) -> Result<Self, JournalError> {
        Self::of(File::open(path).map_err(at("open", path))?, path)
    }

    fn of(file: File, path: &Path) -> Result<Self, JournalError> {
        let left = file.metadata().map_err(at("look at", path))?.len();
        Ok(Self { file: BufReader::new(file), path: path.to_owned(), bytes: 0, left, at_end: false })
    }

    /// The next entry; `None` at the end, and where it can be read no further.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        let mut head = [0; HEAD_BYTES];
        if self.left < HEAD_BYTES as u64 {
            self.at_end = self.left == 0;
            return Ok(None);
        }
        self.file.read_exact(&mut head).map_err(at("read", &self.path))?;
        let (length, rest) = head.split_at(4);
        let (number, expected) = rest.split_at(8);
        let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
        let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
        self.left -= HEAD_BYTES as u64;
        if length > self.left {
            return Ok(None);
        }
        let mut rows = Vec::new();
        (&mut self.file).take(length).read_to_end(&mut rows).map_err(at("read", &self.path))?;
        self.left -= length;
        if rows.len() as u64 != length || sum(number, &rows) != expected {
            self.left = 0;
            return Ok(None);
        }
        self.bytes += HEAD_BYTES as u64 + length;
        Ok(Some((number, rows)))
    }
}

/// Reads a log whose first entry is `first`, as far as that goes.
pub(super) fn scan(log: &File, path: &Path, first: u64) -> Result<End, JournalError> {
    let mut entries = Entries::of(log.try_clone().map_err(at("open", path))?, path)?;
    let mut end = End { last: first.saturating_sub(1), bytes: 0 };
    while let Some((number, _)) = entries.next()? {
        if number != end.last + 1 {
            break;
        }
        end = End { last: number, bytes: entries.bytes };
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(files: &Files, after: u64) -> Result<Vec<Vec<u8>>, IndexError> {
        let mut all = Vec::new();
        files.replay(after, &mut |part| {
            match part {
                Replayed::Clear => all.clear(),
                Replayed::Rows(rows) => all.push(rows.to_vec()),
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn write(path: &Path, first: u64, changes: &[Vec<u8>]) {
        let frames = changes.iter().zip(first..).map(|(rows, number)| frame(number, rows).expect("small"));
        fs::write(path, frames.collect::<Vec<_>>().concat()).expect("written");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_from_anywhere(
            changes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..12),
            split in 0_usize..12,
            after in 0_usize..12,
        ) {
            let directory = tempfile::tempdir().expect("temporary directory");
            let files = Files::new(directory.path(), directory.path());
            let (split, after) = (split.min(changes.len() - 1), after.min(changes.len()));
            write(&files.log(1), 1, &changes[..split]);
            write(&files.log(split as u64 + 1), split as u64 + 1, &changes[split..]);
            prop_assert_eq!(&read(&files, after as u64).expect("whole")[..], &changes[after..]);
        }

        #[test]
        fn a_log_is_read_as_far_as_it_goes(
            changes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..6),
            cut in 0_usize..200,
            flipped in any::<Option<usize>>(),
        ) {
            let directory = tempfile::tempdir().expect("temporary directory");
            let files = Files::new(directory.path(), directory.path());
            write(&files.log(1), 1, &changes);
            let mut bytes = fs::read(files.log(1)).expect("read");
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(at) = flipped.filter(|_| !bytes.is_empty()) {
                let length = bytes.len();
                bytes[at % length] ^= 0x55;
            }
            fs::write(files.log(1), bytes).expect("written");
            let found = read(&files, 0).expect("the last log may have no end");
            prop_assert!(changes.starts_with(&found));
            let end = scan(&File::open(files.log(1)).expect("open"), &files.log(1), 1).expect("read");
            prop_assert_eq!(end.last, found.len() as u64);
        }
    }

    #[test]
    fn a_hole_is_noticed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let files = Files::new(directory.path(), directory.path());
        let change = |byte| vec![byte; 5];
        write(&files.log(1), 1, &[change(1), change(2)]);
        write(&files.log(4), 4, &[change(4)]);
        assert!(read(&files, 0).is_err(), "the third is missing");
        assert_eq!(read(&files, 3).expect("all there"), [change(4)]);
        write(&files.log(3), 3, &[change(3)]);
        assert_eq!(read(&files, 1).expect("all there").len(), 3);
        let whole = fs::read(files.log(3)).expect("read");
        fs::write(files.log(3), &whole[..whole.len() - 1]).expect("written");
        assert!(read(&files, 0).is_err(), "the third is cut off");
        fs::write(files.snapshot(3), frame(3, b"").expect("small")).expect("written");
        assert_eq!(read(&files, 0).expect("from the snapshot"), [change(4)]);
        fs::write(files.snapshot(3), b"").expect("written");
        assert!(read(&files, 0).is_err(), "a snapshot without an end");
    }
}
