use std::path::Path;

use super::layout::REPOSITORY_MARKS;
use super::{Page, Storage, StorageError, durable};
use crate::name::RepositoryName;

impl Storage {
    /// Says whether anything was ever pushed to `repository`.
    pub(crate) fn has_repository(&self, repository: &RepositoryName) -> bool {
        is_repository(&self.layout.repository(repository))
    }

    /// A page of the names of all repositories, in byte order.
    pub(crate) fn repository_page(&self, after: Option<&str>, limit: usize) -> Result<Page<String>, StorageError> {
        let mut names: Vec<String> = self.repositories()?.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        Ok(Page::of(names, after, limit))
    }

    /// All repositories, in no order.
    pub(super) fn repositories(&self) -> Result<Vec<RepositoryName>, StorageError> {
        let root = self.layout.repositories();
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(name) = waiting.pop() {
            let directory = root.join(&name);
            if let Ok(repository) = name.parse::<RepositoryName>()
                && is_repository(&directory)
            {
                found.push(repository);
            }
            let below = durable::names(&directory)?.into_iter().filter(|n| !n.starts_with('_'));
            waiting.extend(below.map(|n| if name.is_empty() { n } else { format!("{name}/{n}") }));
        }
        Ok(found)
    }
}

fn is_repository(directory: &Path) -> bool {
    REPOSITORY_MARKS.iter().any(|mark| directory.join(mark).is_dir())
}
