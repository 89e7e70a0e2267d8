//! `--cache-server`, when records count at all.

use crate::command_line::cache_server::{CacheServer, read};
use crate::command_line::settings::SettingsError;
use crate::flags::CacheFlags;

/// Reads `--cache-server`; without `--cache` it says nothing.
pub(crate) fn cache_server(flags: &CacheFlags) -> Result<Option<CacheServer>, SettingsError> {
    let Some(text) = flags.cache_server.as_deref().filter(|text| flags.cache && !text.is_empty()) else {
        return Ok(None);
    };
    read(text).map(Some)
}
