//! Opening the index of a data directory, and making it again from the journal when it is lost.

use std::fs;
use std::path::Path;
#[cfg(not(test))]
use std::process::{Command, Output};

use super::error::At;
use super::index::{Index, IndexError, Opened};
use super::layout::Layout;
use super::{OpenError, Storage, StorageError, durable};

/// Exit code of the process that looks at an index, for one that nobody can read.
pub(crate) const DAMAGED: u8 = 3;
/// How Rust ends a program that panics.
#[cfg(not(test))]
const PANIC: i32 = 101;
#[cfg(not(test))]
const ABORT: i32 = 6;

/// What is wrong with an index.
struct Trouble {
    /// Goes on after "the index PATH".
    reason: String,
    cause: Option<IndexError>,
}

impl Trouble {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cause: None }
    }
}

/// Opens the index, with a line on what had to be done for it. With `afresh`, and when the index is gone or
/// cannot be read, makes it again from the journal; a file that is there is set aside.
pub(super) fn open_index(layout: &Layout, afresh: bool) -> Result<(Index, Option<String>), OpenError> {
    let path = layout.index();
    let trouble = if afresh { Some(Trouble::new("was to be made anew")) } else { find_trouble(layout)? };
    let failure = |cause| OpenError::Index { path: path.display().to_string(), cause };
    let Some(trouble) = trouble else {
        let Opened { index, redone } = Index::open(layout).map_err(failure)?;
        let note =
            format!("the index {} was {redone} changes behind its journal: they were made again", path.display());
        // A change between the two is what any kill may leave.
        return Ok((index, (redone > 1).then_some(note)));
    };
    if !Index::has_journal(layout).map_err(failure)? {
        return Err(match trouble.cause {
            Some(cause) => failure(cause),
            None => OpenError::IndexGone(path.display().to_string(), trouble.reason),
        });
    }
    let kept = set_aside(&path)?;
    let Opened { index, .. } = match Index::open(layout) {
        Ok(opened) => opened,
        Err(error) => {
            put_back(&path, kept)?;
            return Err(failure(error));
        }
    };
    let kept = if kept { format!(" (the old file is now {})", aside(&path).display()) } else { String::new() };
    let (path, reason) = (path.display(), trouble.reason);
    Ok((index, Some(format!("the index {path} {reason}: it was made again from the journal{kept}"))))
}

/// `None` when the index can be opened, and in a new directory.
fn find_trouble(layout: &Layout) -> Result<Option<Trouble>, OpenError> {
    let path = layout.index();
    if !durable::exists(&path)? {
        return Ok(has_contents(layout)?.then(|| Trouble::new("is gone")));
    }
    let bytes = fs::metadata(&path).at("look at", &path)?.len();
    if bytes == 0 {
        return Ok(has_contents(layout)?.then(|| Trouble::new("is empty")));
    }
    Ok(look(&path)
        .map(|reason| Trouble { reason: format!("cannot be read ({reason})"), cause: Some(IndexError::Damaged("it")) }))
}

/// Whether the file is no index, and why. Another process opens it: redb panics on some damaged files, and
/// that would be the end of this one.
#[cfg(not(test))]
pub(super) fn look(path: &Path) -> Option<String> {
    // Where no process can be made, or it does not get to know: opening tells.
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program).arg("probe-index").arg(path).output().ok()?;
    is_damage(&output).then(|| said(&output))
}

/// The program of a unit test has no such command.
#[cfg(test)]
pub(super) fn look(path: &Path) -> Option<String> {
    Storage::probe(path).err().map(|error| error.to_string())
}

#[cfg(not(test))]
fn is_damage(output: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let status = output.status;
    [Some(i32::from(DAMAGED)), Some(PANIC)].contains(&status.code()) || status.signal() == Some(ABORT)
}

/// What the process had to say, on one line.
#[cfg(not(test))]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().take(60).collect::<Vec<_>>().join(" ")
}

fn aside(path: &Path) -> std::path::PathBuf {
    path.with_extension("redb.damaged")
}

/// In place of what was set aside before; false when there is nothing.
fn set_aside(path: &Path) -> Result<bool, StorageError> {
    let is_there = durable::exists(path)?;
    if is_there {
        durable::adopt(path, &aside(path))?;
    }
    Ok(is_there)
}

/// Undoes that, where no other index could be made.
fn put_back(path: &Path, was_there: bool) -> Result<(), StorageError> {
    if was_there { durable::adopt(&aside(path), path) } else { durable::remove(path).map(drop) }
}

/// Whether there is any file below `blobs/`.
fn has_contents(layout: &Layout) -> Result<bool, StorageError> {
    for algorithm in durable::names(&layout.blobs())? {
        for shard in durable::names(&layout.blobs().join(&algorithm))? {
            if !durable::names(&layout.blobs().join(&algorithm).join(shard))?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Storage {
    /// Opens an index and lets it go again.
    ///
    /// # Errors
    /// When its bytes make no index; everything else is left to a real opening.
    pub(crate) fn probe(path: &Path) -> Result<(), IndexError> {
        Index::probe(path).or_else(|error| if error.is_damage() { Err(error) } else { Ok(()) })
    }

    /// Says what had to be done to open it, if anything.
    pub(crate) fn recovery(&self) -> Option<&str> {
        self.recovery.as_deref()
    }
}

/// Forgets a journal that an older program did not know of.
pub(super) fn discard_journal(layout: &Layout) -> Result<(), StorageError> {
    let directory = layout.journal();
    match fs::remove_dir_all(&directory) {
        Err(error) if !durable::is_absent(&error) => Err(error).at("remove", &directory),
        _ => Ok(()),
    }
}
