//! On real files: whatever happens to them, what is remembered is what hashing all of them gives.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;
use rustix::fs::{CWD, Timespec, Timestamps, utimensat};

use super::super::{hash_files, read_directory};
use super::*;
use crate::layer::EntryPath;
use crate::pattern::Patterns;
use crate::view::NodeKind;

/// A context, and the directory that its hashes are kept in.
struct Place {
    root: tempfile::TempDir,
    kept: tempfile::TempDir,
}

/// What one build learned of a context.
struct Seen {
    hashes: BTreeMap<EntryPath, ContentHash>,
    /// Files that were not read.
    remembered: usize,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), kept: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Until the clock that files get their times from has moved on.
    fn tick(&self) {
        let time = |name: &str| {
            let probe = self.kept.path().join(name);
            fs::write(&probe, "").unwrap();
            let status = probe.metadata().unwrap();
            fs::remove_file(probe).unwrap();
            (status.ctime(), status.ctime_nsec())
        };
        let before = time("probe");
        while time("probe") == before {}
    }

    /// What a build with the remembered hashes sees, which then remembers what it read.
    fn build(&self, settled: Duration) -> Seen {
        let cache = StatCache::open(&self.kept.path().join("contexts"), self.root.path(), None).with_settled(settled);
        let seen = see(self.root.path(), &cache);
        cache.save().unwrap();
        seen
    }

    /// What there is.
    fn truth(&self) -> BTreeMap<EntryPath, ContentHash> {
        see(self.root.path(), &StatCache::none()).hashes
    }

    fn kept_file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.kept.path().join("contexts")).unwrap();
        files.next().unwrap().unwrap().path()
    }
}

fn see(root: &Path, cache: &StatCache) -> Seen {
    let view = read_directory(root, &Patterns::default(), cache).unwrap();
    let mut hashes = hash_files(&view, view.walk(b"").map(|(path, _)| path), cache).unwrap();
    let read = hashes.len();
    for (path, node) in view.walk(b"") {
        if let NodeKind::File(file) = &node.kind {
            hashes.extend(file.hash.map(|hash| (path, hash)));
        }
    }
    Seen { remembered: hashes.len() - read, hashes }
}

/// Gives a file the times that it had.
fn set_times(path: &Path, like: &fs::Metadata) {
    let time = |seconds: i64, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(like.atime(), like.atime_nsec()),
        last_modification: time(like.mtime(), like.mtime_nsec()),
    };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
}

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, u8),
    /// In place, as long as before, with the old times.
    Disguise(usize, u8),
    /// By a new file under the old name, with the old times.
    Replace(usize, u8),
    Swap(usize, usize),
    Link(usize, usize),
    Remove(usize),
    Mode(usize),
    Touch(usize),
    Nothing,
}

fn edit() -> impl Strategy<Value = Edit> {
    let file = 0..6_usize;
    prop_oneof![
        (file.clone(), any::<u8>()).prop_map(|(file, byte)| Edit::Write(file, byte)),
        (file.clone(), any::<u8>()).prop_map(|(file, byte)| Edit::Disguise(file, byte)),
        (file.clone(), any::<u8>()).prop_map(|(file, byte)| Edit::Replace(file, byte)),
        (file.clone(), file.clone()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (file.clone(), file.clone()).prop_map(|(one, other)| Edit::Link(one, other)),
        file.clone().prop_map(Edit::Remove),
        file.clone().prop_map(Edit::Mode),
        file.prop_map(Edit::Touch),
        Just(Edit::Nothing),
    ]
}

fn carry_out(place: &Place, edit: &Edit) {
    let path = |file: &usize| place.path(&format!("f{file}"));
    let text = |byte: &u8| vec![*byte; 100];
    match edit {
        Edit::Write(file, byte) => fs::write(path(file), vec![*byte; usize::from(*byte)]).unwrap(),
        Edit::Disguise(file, byte) => {
            let before = path(file).metadata();
            fs::write(path(file), text(byte)).unwrap();
            before.map(|before| set_times(&path(file), &before)).ok();
        }
        Edit::Replace(file, byte) => {
            let before = path(file).metadata();
            fs::write(place.path("new"), text(byte)).unwrap();
            before.map(|before| set_times(&place.path("new"), &before)).ok();
            fs::rename(place.path("new"), path(file)).unwrap();
        }
        Edit::Swap(one, other) => {
            // Where one is missing, the other moves.
            let _ = fs::rename(path(one), place.path("between"));
            let _ = fs::rename(path(other), path(one));
            let _ = fs::rename(place.path("between"), path(other));
        }
        Edit::Link(one, other) => drop(fs::hard_link(path(one), path(other))),
        Edit::Remove(file) => drop(fs::remove_file(path(file))),
        Edit::Mode(file) => drop(fs::set_permissions(path(file), Permissions::from_mode(0o600))),
        Edit::Touch(file) => {
            let _ = File::options().append(true).open(path(file)).map(|file| file.set_modified(SystemTime::now()));
        }
        Edit::Nothing => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_happens_to_files_is_overlooked(rounds in prop::collection::vec(prop::collection::vec(edit(), 0..4), 1..8)) {
        let place = Place::new();
        for edits in rounds {
            edits.iter().for_each(|edit| carry_out(&place, edit));
            // The rule for files that have only just changed is another test's.
            place.tick();
            prop_assert_eq!(place.build(Duration::ZERO).hashes, place.truth());
            place.tick();
        }
        let again = place.build(Duration::ZERO);
        prop_assert_eq!((&again.hashes, again.remembered), (&place.truth(), again.hashes.len()));
    }

    #[test]
    fn a_damaged_file_is_none(entries in prop::collection::vec(any::<([u8; 32], [u8; 32])>(), 0..9), at: usize, flip in 1..=255_u8, cut: usize) {
        let entries: Vec<Entry> = entries.into_iter().map(|(of, is)| (Fingerprint(of), ContentHash(is))).collect();
        let whole = to_bytes(&entries);
        let read = from_bytes(&whole);
        prop_assert_eq!(read.as_ref(), Some(&entries));
        let mut changed = whole.clone();
        changed[at % whole.len()] ^= flip;
        prop_assert_eq!(from_bytes(&changed), None);
        prop_assert_eq!(from_bytes(&whole[..cut % whole.len()]), None);
        prop_assert_eq!(from_bytes(&[&whole[..], b"x"].concat()), None);
    }
}

#[test]
fn a_file_in_place_with_its_old_time_is_seen_by_its_ctime() {
    let place = Place::new();
    place.write("a", "one");
    place.write("b", "same");
    place.tick();
    assert_eq!(place.build(Duration::ZERO).remembered, 0);
    assert_eq!(place.build(Duration::ZERO).remembered, 2);
    let before = place.path("a").metadata().unwrap();
    place.write("a", "two");
    set_times(&place.path("a"), &before);
    let after = place.path("a").metadata().unwrap();
    let shown = |m: &fs::Metadata| (m.mtime(), m.mtime_nsec(), m.size(), m.ino());
    assert_eq!(shown(&before), shown(&after), "all but the ctime is as before");
    let seen = place.build(Duration::ZERO);
    assert_eq!((seen.hashes, seen.remembered), (place.truth(), 1));
}

#[test]
fn what_has_just_changed_is_not_remembered() {
    let place = Place::new();
    place.write("a", "one");
    place.tick();
    assert_eq!(place.build(SETTLED).remembered, 0);
    assert!(!place.kept.path().join("contexts").exists(), "there was nothing to keep");
    // An old modification time is no proof: the ctime is new.
    set_times(&place.path("a"), &Path::new("/proc/self/exe").metadata().unwrap());
    place.build(SETTLED);
    assert!(!place.kept.path().join("contexts").exists());
}

#[test]
fn another_version_or_garbage_is_ignored_and_replaced() {
    let place = Place::new();
    place.write("a", "one");
    place.tick();
    place.build(Duration::ZERO);
    let kept = place.kept_file();
    let whole = fs::read(&kept).unwrap();
    let mut newer = to_bytes(&[]);
    newer[MAGIC.len()] += 1;
    let end = newer.len() - CHECK_BYTES;
    let check = blake3::hash(&newer[..end]);
    newer[end..].copy_from_slice(check.as_bytes());
    for bad in [newer, b"garbage".to_vec(), whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(&kept, bad).unwrap();
        assert_eq!(place.build(Duration::ZERO).remembered, 0);
        assert_eq!(place.build(Duration::ZERO).remembered, 1, "it was written anew");
    }
}

#[test]
fn files_that_are_gone_are_forgotten_and_few_contexts_are_kept() {
    let place = Place::new();
    place.write("a", "one");
    place.write("b", "one");
    place.tick();
    place.build(Duration::ZERO);
    let size = || place.kept_file().metadata().unwrap().len();
    let two = size();
    fs::remove_file(place.path("a")).unwrap();
    place.write("b", "two");
    place.tick();
    place.build(Duration::ZERO);
    assert_eq!(size(), two - ENTRY_BYTES as u64);
    for number in 0..MAX_FILES {
        fs::write(place.kept.path().join("contexts").join(format!("other{number}")), "").unwrap();
    }
    place.tick();
    place.write("b", "three");
    place.tick();
    place.build(Duration::ZERO);
    assert_eq!(fs::read_dir(place.kept.path().join("contexts")).unwrap().count(), MAX_FILES);
    assert_eq!(place.build(Duration::ZERO).remembered, 1);
}

#[test]
fn executors_at_the_same_time_replace_each_others() {
    let place = Place::new();
    (0..50).for_each(|number| place.write(&format!("f{number}"), &number.to_string()));
    place.tick();
    let truth = place.truth();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(place.build(Duration::ZERO).hashes, truth)));
        }
    });
    assert_eq!(place.build(Duration::ZERO).remembered, 50);
}
