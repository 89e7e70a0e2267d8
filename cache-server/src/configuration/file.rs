//! The configuration file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::settings::Settings;

/// A suggestion must share this much with what was written.
const SIMILAR: f64 = 0.75;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("failed to read the configuration file {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{path}:{line}: {message}", path = .path.display())]
    Content { path: PathBuf, line: usize, message: String },
}

/// Reads a file of settings.
pub(crate) fn read(path: &Path) -> Result<Settings, FileError> {
    let text = fs::read_to_string(path).map_err(|error| FileError::Read(path.to_owned(), error))?;
    parse(&text).map_err(|(line, message)| FileError::Content { path: path.to_owned(), line, message })
}

/// The settings, or the line and what is wrong with it.
fn parse(text: &str) -> Result<Settings, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, with_suggestion(error.message()))
    })
}

/// Adds the word that was probably meant to a message like "unknown field `a`, expected `b` or `c`".
fn with_suggestion(message: &str) -> String {
    let message = message.replace("unknown field", "unknown setting").replace('\n', " ");
    let mut words = message.split('`').skip(1).step_by(2);
    let Some(wrong) = words.next().filter(|_| message.starts_with("unknown")) else { return message };
    let similarity = |word: &str| strsim::jaro_winkler(wrong, word);
    let nearest = words.max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest.filter(|word| similarity(word) >= SIMILAR) {
        Some(nearest) => {
            let problem = message.split(", expected").next().unwrap_or(&message);
            format!("{problem}; did you mean `{nearest}`?")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_line_and_nearest_word() {
        for (text, line, message) in [
            ("listen = \"x\"\nlisten-adress = 1", 2, "unknown setting `listen-adress`; did you mean `listen`?"),
            ("\n\nmax-conections = 3", 3, "unknown setting `max-conections`; did you mean `max-connections`?"),
            ("[[oidc]]\nkind = \"gitlap\"", 2, "unknown variant `gitlap`; did you mean `gitlab`?"),
            (
                "[[oidc]]\nkind = \"gitlab\"\nissuer = \"a\"\naudience = \"b\"\n[[oidc.rules]]\ngrant = []",
                6,
                "unknown setting `grant`; did you mean `grants`?",
            ),
        ] {
            assert_eq!(parse(text).err(), Some((line, message.into())), "{text}");
        }
        for (text, line, part) in [
            ("zzz = 1", 1, "unknown setting `zzz`, expected one of `listen`"),
            ("listen = 1", 1, "invalid type"),
            ("a = ", 1, ""),
            ("shutdown-timeout = \"5\"", 1, "invalid duration"),
            ("authenticated = [\"x\"]", 1, "expected PATTERN=ACTION"),
            ("[[oidc]]\nkind = \"gitlab\"", 1, "missing field `issuer`"),
        ] {
            let (found, message) = parse(text).expect_err(text);
            assert!(found == line && message.contains(part), "{text}: {found} {message}");
        }
    }

    #[test]
    fn the_documented_example_is_valid() {
        let settings = parse(include_str!("example.toml")).expect("valid");
        assert_eq!(settings.oidc.map(|all| all.len()), Some(3));
    }
}
