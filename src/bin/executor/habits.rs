//! What people write who come from `docker build`, or from programs whose booleans stand alone: a tip beside the error, with
//! the words that it has here.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of `docker build` that have another name here, or are not needed.
const FLAGS: [(&[&str], &str); 9] = [
    (&["-t", "--tag"], "the image's name goes into --destination"),
    (&["--push"], "the image is pushed to every --destination unless there is --no-push"),
    (&["--load", "-o", "--output"], "--tar-path writes an archive for docker load, --oci-layout-path a directory"),
    (&["--file"], "the Dockerfile goes into --dockerfile, or -f"),
    (&["--no-cache"], "without --cache=true nothing is taken from a cache"),
    (&["--pull"], "registries are asked what the tags of base images name in every build"),
    (&["--iidfile"], "--digest-file writes the digest of the image's manifest"),
    (&["--progress"], "--log-format says how the log looks"),
    (&["-q", "--quiet"], "--verbosity=warn says less"),
];

/// The error of a command line, with a tip where a habit explains it.
pub(crate) fn with_tip(mut error: Error) -> Error {
    if let Some(tip) = tip(&error) {
        // The nearest flag's name is not what was meant.
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn tip(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let flag = text(error, ContextKind::InvalidArg)?;
            let (_, tip) = FLAGS.iter().find(|(names, _)| names.contains(&flag))?;
            Some((*tip).to_owned())
        }
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            let word = text(error, ContextKind::InvalidSubcommand)?;
            boolean(word, error.get(ContextKind::PriorArg)).or_else(|| place(word))
        }
        _ => None,
    }
}

/// Behind flags, of which nobody says which came last.
fn boolean(word: &str, before: Option<&ContextValue>) -> Option<String> {
    let flags = match before? {
        ContextValue::String(flag) => std::slice::from_ref(flag),
        ContextValue::Strings(flags) => flags,
        _ => return None,
    };
    let booleans: Vec<&str> = flags.iter().filter_map(|flag| flag.strip_suffix("[=<BOOL>]")).collect();
    let flag = match booleans[..] {
        [] => return None,
        [flag] => flag,
        _ => "--FLAG",
    };
    matches!(word, "true" | "false").then(|| format!("a boolean has = before its value: {flag}={word}"))
}

/// A word where none may be.
fn place(word: &str) -> Option<String> {
    let is_place = word.starts_with(['.', '/', '-']) || word.contains("://");
    is_place.then(|| format!("the build context goes into --context: --context={word}")).or_else(|| {
        matches!(word, "build" | "buildx" | "bake")
            .then(|| "a build has no command before its flags: --context=. --destination=REGISTRY/NAME:TAG".to_owned())
    })
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::with_tip;
    use crate::flags::command;

    #[test]
    fn habits_are_answered_in_the_words_that_are_used_here() {
        for (line, tip) in [
            (&["-t", "name:1", "."][..], "into --destination"),
            (&["--tag=name:1"], "into --destination"),
            (&["-c", ".", "--push"], "unless there is --no-push"),
            (&["--no-cache"], "without --cache=true"),
            (&["--cache", "true"], "--cache=true"),
            (&["-c.", "--no-push", "false"], "--no-push=false"),
            (&["--no-push", "--cache", "true"], "--FLAG=true"),
            (&["."], "--context=."),
            (&["-d", "a/b", "/src"], "--context=/src"),
            (&["https://example.org/a.git"], "--context=https://example.org/a.git"),
            (&["build", "."], "--destination="),
        ] {
            let line = [&["executor"], line].concat();
            let shown = with_tip(command().try_get_matches_from(&line).expect_err("wrong")).to_string();
            assert!(shown.contains("tip: ") && shown.contains(tip), "{line:?}: {shown}");
            assert_eq!(shown.matches("tip: ").count(), 1, "{line:?}: {shown}");
        }
    }

    #[test]
    fn what_no_habit_explains_is_said_as_it_was() {
        for line in [&["executor", "--destinaton=a"][..], &["executor", "biuld"], &["executor", "--jobs=many"]] {
            let error = || command().try_get_matches_from(line).expect_err("wrong");
            assert_eq!(with_tip(error()).to_string(), error().to_string());
        }
    }
}
