use std::path::Path;

use rustix::fs::FileType;

use super::SnapshotError;
use super::compare::{host, xattr};
use super::difference::{Names, Now, difference};
use super::listing::{Item, Listing, Status};
use crate::layer::Change;
use crate::sandbox::IgnoreList;
use crate::view::View;

/// What the upper directory of an overlay changes of `below`. Files are [`crate::layer::Content::Host`]
/// paths in `upper`.
///
/// The overlay is not mounted any more, and was mounted without `redirect_dir` and `metacopy`.
///
/// # Errors
/// Something in `upper` cannot be read.
///
/// # Source
/// Linux, `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
pub fn overlay(upper: &Path, below: &View, user_xattr: bool) -> Result<Vec<Change>, SnapshotError> {
    let listing = Listing::read(upper, &IgnoreList::default())?;
    let marker = if user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
    difference(upper, below, |path, opaque_above| {
        // A directory that was made inside an opaque one needs no marker of its own.
        let opaque = opaque_above || is_opaque(&host(upper, path), marker)?;
        let present = listing.directory(path);
        let mut items: Vec<_> = present.iter().map(|item| (item.name.clone(), now(item))).collect();
        if opaque {
            let names = below.children(path).map(|(name, _)| name);
            let hidden = names.filter(|name| present.binary_search_by(|item| (*item.name).cmp(name)).is_err());
            items.extend(hidden.map(|name| (name.into(), Now::Gone)));
            items.sort_by(|left, right| left.0.cmp(&right.0));
        }
        Ok(Names { items, opaque })
    })
}

fn now(item: &Item) -> Now {
    if is_whiteout(&item.status) { Now::Gone } else { Now::There { status: item.status, same: false } }
}

/// A character device 0:0; an overlay lets nobody make one otherwise.
fn is_whiteout(status: &Status) -> bool {
    status.kind() == FileType::CharacterDevice && status.rdev == 0
}

fn is_opaque(directory: &Path, marker: &str) -> Result<bool, SnapshotError> {
    let value = xattr(directory, marker).map_err(SnapshotError::at("read the overlay attributes of", directory))?;
    Ok(value.as_deref() == Some(b"y"))
}
