//! WORKDIR.

use super::CopyError;
use super::owner::Owner;
use super::staging::Staging;
use crate::layer::Change;
use crate::plan::WorkdirOp;
use crate::view::{LastLink, View};

/// The directories that WORKDIR has to make, from the top: 0755, of the user of that moment, `now`
/// (seconds since the epoch). None when it is there already.
///
/// # Errors
/// [`CopyError::NotADirectory`], [`CopyError::Resolve`], and [`CopyError::NoAccounts`] for a user
/// by name on an empty file system.
pub fn plan_workdir(op: &WorkdirOp, view: &View, now: i64) -> Result<Vec<Change>, CopyError> {
    let accounts = view.children(b"").next().is_some().then_some(view);
    let owner = if op.user.is_empty() { None } else { Some(Owner::parse(&op.user, accounts)?) };
    let path = view.resolve(op.path.as_bytes(), LastLink::Follow)?;
    let mut staging = Staging::new(view, now);
    staging.make_directories(&path, 0o755, owner)?;
    Ok(staging.into_changes())
}
