//! `--dockerfile` with a URL.

use std::fs;

use yadokari::context;
use yadokari::registry::web_agent;

use super::settings::SettingsError;

/// A larger Dockerfile is not read from the web, in bytes.
const MAX_DOCKERFILE: u64 = 4 << 20;

/// Whether `name` is a URL and no path.
pub(crate) fn is_url(name: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| name.starts_with(scheme))
}

/// Fetches a Dockerfile. The name that it gets does not tell what may be secret in the URL.
///
/// # Source
/// Kaniko `cmd/executor`: a plain GET, without a login.
pub(crate) fn fetch(url: &str) -> Result<(String, Vec<u8>), SettingsError> {
    let directory = tempfile::tempdir().map_err(SettingsError::Temporary)?;
    let agent = web_agent(url.starts_with("https://"));
    let fetched = context::fetch(&agent, url, None, None, directory.path())?;
    if fetched.size > MAX_DOCKERFILE {
        return Err(SettingsError::DockerfileSize { size: fetched.size, limit: MAX_DOCKERFILE });
    }
    let name = String::from_utf8_lossy(&context::url_file_name(url)).into_owned();
    let read = |source| SettingsError::Read { what: "Dockerfile", path: fetched.path.clone(), source };
    Ok((name, fs::read(&fetched.path).map_err(read)?))
}
