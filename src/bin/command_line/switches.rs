//! The environment variables `FF_KANIKO_…`: Kaniko's switches for new behaviour and old.

use yadokari::report::{Event, Observer};

const PREFIX: &str = "FF_KANIKO_";

/// Those that there are, and were.
///
/// # Source
/// The living fork of Kaniko, `pkg/config`, v1.28.
const KNOWN: [&str; 42] = [
    "BUILDKIT_ARG_ENV_PRECEDENCE",
    "CACHE_LOOKAHEAD",
    "CACHE_PROBE_AFTER_MISS",
    "CHOWN_ON_IMPLICIT_DIRS",
    "CLEAN_KANIKO_DIR",
    "COPY_AS_ROOT",
    "COPY_CHMOD_ON_IMPLICIT_DIRS",
    "CROSS_REPO_MOUNT",
    "DEPRECATE_INTER_STAGE_RESTORE",
    "DISABLE_HTTP2",
    "EXPAND_HEREDOC",
    "HASH_DIR_FRAMING",
    "IGNORE_CACHED_MANIFEST",
    "INFER_CROSS_STAGE_CACHE_KEY",
    "NEW_CACHE_LAYOUT",
    "NO_PROPAGATE_ANNOTATIONS",
    "OCI_SCRATCH_BASE",
    "OCI_STAGES",
    "OCI_WARMER",
    "PATH_SCOPED_REGISTRY_AUTH",
    "PRECOMPILE_DOCKERIGNORE",
    "PRESERVE_HARDLINKS",
    "PRESERVE_MOUNTED_PATHS",
    "RELATIVE_LINK_TARGETS",
    "REPRODUCIBLE_PRESERVE_BASE_LAYERS",
    "RESOLVE_CACHE_KEY",
    "ROLLING_CACHE_KEY",
    "RUN_HONOR_GROUP",
    "RUN_MOUNT_BIND",
    "RUN_MOUNT_CACHE",
    "RUN_MOUNT_SECRET",
    "RUN_VIA_TINI",
    "SCOPED_DOCKERIGNORE",
    "SECUREJOIN_EXTRACTION",
    "SHARED_BASE_CACHE",
    "SKIP_CACHED_STAGES",
    "SKIP_RELABEL_RECOMPRESS",
    "SKIP_WRITE_WHITEOUTS",
    "SQUASH_STAGES",
    "UNTAR_SKIP_ROOT",
    "VOLUME_SKIP_MKDIR",
    "WARMER_CACHE_LOCK",
];

/// Says once which switches are set: none of them has an effect.
pub(crate) fn note(observer: &dyn Observer) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    events(names).into_iter().for_each(|event| observer.event(event));
}

fn events(variables: impl Iterator<Item = String>) -> Vec<Event> {
    let mut set: Vec<String> = variables.filter(|name| name.starts_with(PREFIX)).collect();
    set.sort();
    let (known, unknown): (Vec<_>, Vec<_>) =
        set.into_iter().partition(|name| KNOWN.contains(&name.trim_start_matches(PREFIX)));
    let mut events = Vec::new();
    if !known.is_empty() {
        let text =
            format!("Kaniko's feature switches have no effect: what is right is always on ({})", known.join(", "));
        events.push(Event::Info(text));
    }
    if !unknown.is_empty() {
        events.push(Event::Warning(format!("no feature switch of Kaniko's: {}", unknown.join(", "))));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_named_in_one_line_and_unknown_ones_in_another() {
        let events = |names: &[&str]| events(names.iter().map(|name| (*name).to_owned()));
        assert!(events(&["PATH", "FF_GITLAB", "KANIKO_DIR"]).is_empty());
        let said = events(&["FF_KANIKO_RUN_VIA_TINI", "PATH", "FF_KANIKO_NO_SUCH", "FF_KANIKO_OCI_STAGES"]);
        let [Event::Info(known), Event::Warning(unknown)] = said.as_slice() else { panic!("{said:?}") };
        assert!(known.ends_with("(FF_KANIKO_OCI_STAGES, FF_KANIKO_RUN_VIA_TINI)"), "{known}");
        assert!(unknown.ends_with(": FF_KANIKO_NO_SUCH"), "{unknown}");
    }
}
