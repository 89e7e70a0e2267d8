use std::cmp::Ordering;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::SnapshotError;
use super::difference::{Names, Now, difference};
use super::listing::{Item, Listing};
use crate::layer::Change;
use crate::sandbox::IgnoreList;
use crate::view::View;

/// Kernels stamp files with a clock that ticks every 1 to 10 ms. A file that changed so shortly
/// before the index was made may change again without showing it.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// A tree as it was at one moment: inode, size, mode, owner, mtime and ctime of everything.
#[derive(Debug, Clone)]
pub struct StatIndex {
    listing: Listing,
    /// Seconds and nanoseconds: what has a later ctime is not trusted to be unchanged.
    settled: (i64, i64),
}

/// Reads the status of everything below `root` that is not ignored (paths in `ignore` are seen
/// from `root`), with several threads.
///
/// # Errors
/// A directory cannot be listed, or an object's status cannot be read.
pub fn index(root: &Path, ignore: &IgnoreList) -> Result<StatIndex, SnapshotError> {
    // Taken before anything is read.
    let settled = SystemTime::now().checked_sub(CLOCK_TICK).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let settled = settled.map_or((0, 0), |time| (time.as_secs() as i64, time.subsec_nanos().into()));
    Ok(StatIndex { listing: Listing::read(root, ignore)?, settled })
}

/// What changed below `root` since `before`, against `below`, which is what was there then.
/// Files are [`crate::layer::Content::Host`] paths in `root`. Only what moved is read. The index is
/// of now: as long as nobody writes, the next step can be compared with it.
///
/// # Errors
/// Something below `root` cannot be read.
pub fn changed(
    root: &Path,
    before: &StatIndex,
    below: &View,
    ignore: &IgnoreList,
) -> Result<(Vec<Change>, StatIndex), SnapshotError> {
    let now = index(root, ignore)?;
    let changes = difference(root, below, |path, _| {
        let items = before.merge(before.listing.directory(path), now.listing.directory(path));
        Ok(Names { items, opaque: false })
    })?;
    Ok((changes, now))
}

/// All that is below `root` and not ignored, as a layer on nothing would have it.
///
/// # Errors
/// Something below `root` cannot be read.
pub fn everything(root: &Path, ignore: &IgnoreList) -> Result<Vec<Change>, SnapshotError> {
    let nothing = StatIndex { listing: Listing::default(), settled: (0, 0) };
    changed(root, &nothing, &View::new(), ignore).map(|(changes, _)| changes)
}

impl StatIndex {
    /// Whether nothing was touched between the two: not even a change that put size and
    /// modification time back goes unnoticed.
    pub fn is_untouched(&self, later: &Self) -> bool {
        self.listing == later.listing
    }

    /// Two sorted lists of names of one directory.
    fn merge(&self, old: &[Item], new: &[Item]) -> Vec<(Box<[u8]>, Now)> {
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        let mut merged = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return merged,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.name.cmp(&new.name),
            };
            let old = if order.is_le() { old.next() } else { None };
            let new = if order.is_ge() { new.next() } else { None };
            merged.extend(match (old, new) {
                (Some(old), None) => Some((old.name.clone(), Now::Gone)),
                (old, Some(new)) => {
                    let same = old.is_some_and(|old| self.is_same(old, new));
                    Some((new.name.clone(), Now::There { status: new.status, same }))
                }
                (None, None) => None,
            });
        }
    }

    /// A directory is the same when it looks the same; what is in it is compared anyway.
    fn is_same(&self, old: &Item, new: &Item) -> bool {
        let (old, new) = (&old.status, &new.status);
        if old.is_directory() && new.is_directory() {
            return (old.mode, old.uid, old.gid) == (new.mode, new.uid, new.gid);
        }
        old == new && old.ctime < self.settled
    }
}
