//! Where the build context is while stages come and go in its place: in place, what is not mounted is wiped, and a context
//! may lie in the container's own root.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use yadokari::sandbox::{IgnoreList, same_status};

/// The context cannot be kept, or cannot be put back.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what} the build context {}, which is in the container's own root", context.display())]
pub(crate) struct ShelterError {
    what: &'static str,
    context: PathBuf,
    #[source]
    source: io::Error,
}

/// A second name for every file of a context, or a copy where there can be none.
#[derive(Debug)]
pub(crate) struct Shelter {
    /// As the tree of the context names it.
    context: PathBuf,
    /// Without links.
    real: PathBuf,
    files: PathBuf,
    /// Removed when dropped.
    _directory: TempDir,
}

impl Shelter {
    /// Below `parent`, which has to be. `None` when stages leave the context alone, or it is not there.
    pub(crate) fn new(context: &Path, parent: &Path, ignore: &IgnoreList) -> Result<Option<Self>, ShelterError> {
        let failed = |source| ShelterError { what: "keep", context: context.to_owned(), source };
        let Ok(real) = fs::canonicalize(context) else { return Ok(None) };
        if ignore.contains(&real) || !real.is_dir() || real == Path::new("/") {
            return Ok(None);
        }
        let directory = tempfile::Builder::new().prefix("context-").tempdir_in(parent).map_err(failed)?;
        let files = directory.path().join("files");
        keep(&real, &files, ignore).map_err(failed)?;
        let context = std::path::absolute(context).map_err(failed)?;
        Ok(Some(Self { context, real, files, _directory: directory }))
    }

    /// Where a file of the context is from now on. What is mounted below the context is where it was.
    pub(crate) fn find(&self, file: &Path) -> Option<PathBuf> {
        let kept = self.files.join(file.strip_prefix(&self.context).ok()?);
        kept.symlink_metadata().is_ok().then_some(kept)
    }

    /// Puts everything back, over what a stage may have left there, but for `written`, which the build has replaced.
    pub(crate) fn restore(self, written: &[PathBuf]) -> Result<(), ShelterError> {
        let failed = |source| ShelterError { what: "restore", context: self.context.clone(), source };
        for replaced in written.iter().filter_map(|path| self.find(path)) {
            let is_directory = replaced.symlink_metadata().is_ok_and(|found| found.is_dir());
            let removed = if is_directory { fs::remove_dir_all(replaced) } else { fs::remove_file(replaced) };
            removed.map_err(failed)?;
        }
        make_directory(&self.real).and_then(|()| put_back(&self.files, &self.real)).map_err(failed)
    }
}

/// Makes an absolute path a directory. What a stage left on the way that is none, such as a link to elsewhere, goes.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    while let Some(directory) = above.pop() {
        match directory.symlink_metadata() {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => fs::remove_file(directory)?,
            Err(_) => {}
        }
        fs::create_dir(directory)?;
    }
    Ok(())
}

fn keep(from: &Path, to: &Path, ignore: &IgnoreList) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if ignore.contains(&entry) {
            continue;
        }
        let found = entry.symlink_metadata()?;
        if found.is_dir() {
            keep(&entry, &to, ignore)?;
        } else {
            fs::hard_link(&entry, &to).or_else(|_| copy(&entry, &to, &found))?;
        }
    }
    same_status(&File::open(to)?, &from.symlink_metadata()?)
}

fn put_back(from: &Path, to: &Path) -> io::Result<()> {
    let found = from.symlink_metadata()?;
    let there = to.symlink_metadata().ok();
    match there.map(|there| there.is_dir()) {
        Some(true) if !found.is_dir() => fs::remove_dir_all(to)?,
        Some(false) => fs::remove_file(to)?,
        _ => {}
    }
    if !found.is_dir() {
        return fs::rename(from, to).or_else(|_| copy(from, to, &found));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        put_back(&entry.path(), &to.join(entry.file_name()))?;
    }
    same_status(&File::open(to)?, &found)
}

/// A file or a link; there is nothing to copy of pipes and sockets.
fn copy(from: &Path, to: &Path, found: &Metadata) -> io::Result<()> {
    if found.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if !found.is_file() {
        return Ok(());
    }
    fs::copy(from, to)?;
    same_status(&File::open(to)?, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_comes_back_as_it_was() {
        let root = tempfile::tempdir().expect("directory");
        let (context, parent) = (root.path().join("context"), root.path().join("kaniko"));
        for directory in [&context.join("sub/empty"), &context.join("mounted"), &parent] {
            fs::create_dir_all(directory).expect("directory");
        }
        fs::write(context.join("sub/file"), "text").expect("file");
        fs::write(context.join("mounted/file"), "stays").expect("file");
        symlink("sub/file", context.join("link")).expect("link");
        fs::write(context.join("digest"), "of the last build").expect("file");
        let ignore = IgnoreList::new([context.join("mounted"), parent.clone()]);
        let shelter = Shelter::new(&context, &parent, &ignore).expect("kept").expect("not ignored");
        assert_eq!(shelter.find(&context.join("mounted/file")), None);
        let kept = shelter.find(&context.join("sub/file")).expect("kept");
        // A stage that has other things there.
        fs::remove_file(context.join("digest")).expect("wiped");
        fs::remove_dir_all(context.join("sub")).expect("wiped");
        fs::write(context.join("sub"), "of the image").expect("file");
        fs::remove_file(context.join("link")).expect("wiped");
        fs::create_dir_all(context.join("link/of/the/image")).expect("directory");
        assert_eq!(fs::read_to_string(kept).expect("file"), "text");
        fs::create_dir(context.join("output")).expect("written");
        shelter.restore(&[context.join("digest")]).expect("restored");
        assert!(!context.join("digest").exists() && context.join("output").is_dir());
        assert_eq!(fs::read_to_string(context.join("link")).expect("by its link"), "text");
        assert!(context.join("sub/empty").is_dir() && context.join("mounted/file").is_file());
        assert_eq!(fs::read_dir(&parent).expect("directory").count(), 0, "nothing stays");
    }

    #[test]
    fn what_stages_leave_alone_needs_none() {
        let root = tempfile::tempdir().expect("directory");
        let ignore = IgnoreList::new([root.path().to_owned()]);
        assert!(Shelter::new(&root.path().join("none"), root.path(), &ignore).expect("nothing").is_none());
        assert!(Shelter::new(root.path(), root.path(), &ignore).expect("nothing").is_none());
        assert!(Shelter::new(Path::new("/"), root.path(), &ignore).expect("nothing").is_none());
    }
}
