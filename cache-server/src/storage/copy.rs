//! Where a replica has its copy of the index.

use std::path::Path;

use super::error::At;
use super::index::CopyFile;
use super::layout::Layout;
use super::recover::look;
use super::{Claim, OpenError, check_before_lock, durable, empty_temporary, lock};

/// What `format` says in a directory with a copy and nothing else.
const FORMAT: &[u8] = b"yadokari cache-server copy 1\n";

/// A place that is ours now.
pub(super) struct CopyPlace {
    pub(super) file: CopyFile,
    pub(super) layout: Layout,
    pub(super) claim: Claim,
    /// What is to be said about it.
    pub(super) note: Option<String>,
}

/// A directory that nobody else knows, and that goes with this process.
pub(super) fn scratch() -> Result<CopyPlace, OpenError> {
    let scratch = tempfile::tempdir().at("create a directory in", &std::env::temp_dir())?;
    let layout = Layout::new(scratch.path());
    Ok(CopyPlace { file: CopyFile::scratch(layout.index()), layout, claim: Claim::Scratch(scratch), note: None })
}

/// The directory `root`, with the copy that an earlier process left there, if it can be read.
///
/// # Errors
/// See [`OpenError`]. A directory that holds anything else is refused, not adopted.
pub(super) fn kept(root: &Path) -> Result<CopyPlace, OpenError> {
    let layout = Layout::new(root);
    durable::create_directories(root)?;
    let refused = || OpenError::NotCopy(root.display().to_string());
    check_before_lock(&layout)
        .map_err(|error| if matches!(error, OpenError::Format(_)) { refused() } else { error })?;
    let claim = Claim::Lock(lock(&layout)?);
    durable::create_directories(&layout.temporary())?;
    match durable::read(&layout.format(), 1024)?.as_deref() {
        Some(FORMAT) => {}
        None if !durable::exists(&layout.index())? => durable::write(&layout.temporary(), &layout.format(), FORMAT)?,
        _ => return Err(refused()),
    }
    empty_temporary(&layout)?;
    let note = discard_damaged(&layout)?;
    Ok(CopyPlace { file: CopyFile::kept(layout.index()), layout, claim, note })
}

/// Says so when there was a copy that nobody can read.
fn discard_damaged(layout: &Layout) -> Result<Option<String>, OpenError> {
    let path = layout.index();
    let reason = if durable::exists(&path)? { look(&path) } else { None };
    let Some(reason) = reason else { return Ok(None) };
    durable::remove(&path)?;
    Ok(Some(format!(
        "the copy of the index {} cannot be read ({reason}): it is made again from the store",
        path.display()
    )))
}
