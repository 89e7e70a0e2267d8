//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the top of the file.

use super::ast::Directives;
use super::diagnostic::Fault;

const KEYS: [&str; 3] = ["syntax", "escape", "check"];

/// A fault and the line it is on.
pub(super) type LineFault = (usize, Fault);

/// Reads the directives at the top of `source`; also the number of lines that they are.
///
/// The section ends with the first line that is not a known directive. After a `#!` line only
/// `syntax` and `check` count, as with BuildKit.
pub(super) fn parse(source: &[u8]) -> Result<(Directives, usize), LineFault> {
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
    let shebang = source.starts_with(b"#!");
    let mut found = Directives { syntax: None, escape: '\\', check: None };
    let mut seen = Vec::new();
    let mut lines = 0;
    for (index, line) in source.split(|&byte| byte == b'\n').enumerate().skip(usize::from(shebang)) {
        let line = String::from_utf8_lossy(line);
        let Some((key, value)) = split(&line) else { break };
        if seen.contains(&key) {
            if shebang {
                break;
            }
            let message = format!("only one {key} parser directive can be used");
            return Err((index + 1, Fault::at(message, line.trim())));
        }
        seen.push(key);
        lines = index + 1;
        match key {
            "syntax" => found.syntax = Some(value.split(' ').next().unwrap_or(value).to_owned()),
            "check" => found.check = Some(value.to_owned()),
            _ if shebang => {}
            _ => found.escape = escape(value).map_err(|fault| (index + 1, fault))?,
        }
    }
    Ok((found, lines))
}

fn escape(value: &str) -> Result<char, Fault> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(Fault::at(format!("invalid escape token '{value}' does not match ` or \\"), value)),
    }
}

/// Does the text of a comment look like a directive?
pub(super) fn is_directive(comment: &str) -> bool {
    split_comment(comment).is_some()
}

/// `# key = value` with a known key.
fn split(line: &str) -> Option<(&'static str, &str)> {
    split_comment(line.trim_start().strip_prefix('#')?.trim_start())
}

fn split_comment(text: &str) -> Option<(&'static str, &str)> {
    let (key, value) = text.split_once('=')?;
    let key = key.trim_end().to_ascii_lowercase();
    let value = value.trim();
    let known = KEYS.into_iter().find(|known| *known == key)?;
    (!value.is_empty()).then_some((known, value))
}
