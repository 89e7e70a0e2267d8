//! The cache that a command is about: a directory or a repository.

use std::time::{Duration, SystemTime};

use yadokari::cache::{CacheRepository, Record};
use yadokari::digest::Digest;
use yadokari::key::{CacheKey, printable};
use yadokari::registry::Client;
use yadokari::report::Event;
use yadokari::store::{Access, Store};

use super::flags::PlaceFlags;
use crate::command_line::display;
use crate::command_line::settings::{env, usage};
use crate::failure::Failure;
use crate::remote_caches::At;
use crate::settings;

/// A directory or a repository.
pub(super) enum Place {
    Store(Store),
    Repository(CacheRepository),
}

/// A record under one of its keys.
pub(super) struct Row {
    pub(super) key: CacheKey,
    pub(super) record: Record,
    /// Last use; in a repository when it was made.
    pub(super) since: SystemTime,
    /// In a repository.
    pub(super) manifest: Option<Digest>,
}

impl Place {
    /// Opens what the flags name; `access` is for a directory.
    pub(super) fn open(flags: &PlaceFlags, access: Access) -> Result<Self, Failure> {
        match &flags.cache_repo {
            Some(text) => match At::parse(text)? {
                At::Layout(path) => Ok(Self::Store(Store::open(&path, access)?)),
                At::Registry(repository) => {
                    let client = Client::new(
                        settings::client_options(&flags.registry, &env)?,
                        settings::registry_credentials(&flags.registry)?,
                    )?;
                    Ok(Self::Repository(CacheRepository::new(client, repository)))
                }
            },
            None if !flags.cache_dir.is_dir() => {
                let directory = flags.cache_dir.display();
                Err(usage(format!("there is no cache directory {directory}: name one with --cache-dir, or a repository with --cache-repo")).into())
            }
            None => Ok(Self::Store(Store::open(&flags.cache_dir, access)?)),
        }
    }

    /// Every usable record, in the order of keys. What is not usable is a warning.
    pub(super) fn rows(&self, flags: &PlaceFlags) -> Result<Vec<Row>, Failure> {
        let observer = display::observer(&flags.log, &env);
        match self {
            Self::Store(store) => {
                let records = store.list_records()?;
                store.take_notices().into_iter().for_each(|notice| observer.event(Event::Warning(notice)));
                let row = |stored: yadokari::store::StoredRecord| Row {
                    key: stored.key,
                    record: stored.record,
                    since: stored.used,
                    manifest: None,
                };
                Ok(records.into_iter().map(row).collect())
            }
            Self::Repository(repository) => {
                let listing = repository.list(usize::MAX)?;
                for (key, reason) in listing.unusable {
                    observer.event(Event::Debug(format!("tag {key} holds no record: {reason}")));
                }
                let row = |remote: yadokari::cache::RemoteRecord| Row {
                    key: remote.key,
                    since: created(&remote.record),
                    record: remote.record,
                    manifest: Some(remote.manifest),
                };
                Ok(listing.records.into_iter().map(row).collect())
            }
        }
    }
}

impl Row {
    /// Bytes of the record's layers.
    pub(super) fn bytes(&self) -> u64 {
        self.record.layers.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add)
    }

    pub(super) fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.since).unwrap_or_default()
    }

    /// The instruction, or what else there is to say.
    pub(super) fn instruction(&self) -> String {
        match (printable(&self.record.instruction).as_str(), self.record.layers.len()) {
            ("", layers) if self.record.parts.is_empty() => format!("(stage of {layers} steps)"),
            ("", _) => "(unknown)".into(),
            (text, _) if self.record.content_key == Some(self.key) => format!("{text}  (by content)"),
            (text, _) => text.to_owned(),
        }
    }
}

/// When the record was made.
pub(super) fn created(record: &Record) -> SystemTime {
    let seconds = u64::try_from(record.created).unwrap_or_default();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The one record whose key begins with `prefix`.
pub(super) fn find<'a>(rows: &'a [Row], prefix: &str) -> Result<&'a Row, Failure> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found = rows.iter().filter(|row| row.key.to_string().starts_with(&prefix));
    match (found.next(), found.count()) {
        (Some(row), 0) => Ok(row),
        (None, _) => Err(Failure::Cache(format!("no record has a key that begins with {prefix:?}"))),
        (Some(_), more) => {
            Err(Failure::Cache(format!("{} records have keys that begin with {prefix:?}: give more of it", more + 1)))
        }
    }
}
