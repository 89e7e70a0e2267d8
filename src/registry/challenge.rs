//! Reads `WWW-Authenticate`.

use std::collections::BTreeMap;

/// One challenge: its scheme in lower case, and its parameters with names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub scheme: String,
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads all challenges of all headers, in order. What cannot be read is left out.
///
/// # Source
/// RFC 9110, 11.6.1: a header may hold several challenges, and commas separate both
/// challenges and parameters.
pub(super) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    headers.into_iter().flat_map(parse_one).collect()
}

fn parse_one(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches(is_gap);
    while !rest.is_empty() {
        let (word, after) = split_token(rest);
        if word.is_empty() {
            break;
        }
        let value = after.trim_start_matches(is_space).strip_prefix('=').map(|v| v.trim_start_matches(is_space));
        rest = match (value, found.last_mut()) {
            // `abc==` is a token68, as Negotiate sends it.
            (Some(value), _) if value.is_empty() || value.starts_with(['=', ',']) => value.trim_start_matches('='),
            (Some(value), Some(challenge)) => {
                let (value, after) = split_value(value);
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
                after
            }
            (Some(_), None) => break,
            (None, _) => {
                found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
                after
            }
        };
        rest = rest.trim_start_matches(is_gap);
    }
    found
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn is_gap(c: char) -> bool {
    is_space(c) || c == ','
}

/// A token; `/` is allowed too, since some servers send unquoted URLs and base64.
fn split_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// A token or a quoted string with escapes; an unclosed quote ends with the header.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, after) = split_token(text);
        return (token.to_owned(), skip_to_gap(after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, skip_to_gap(&quoted[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// Rubbish directly behind a value is dropped.
fn skip_to_gap(text: &str) -> &str {
    &text[text.find(is_gap).unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(headers: &[&str]) -> String {
        let challenges = parse(headers.iter().copied());
        let one = |c: &Challenge| {
            let parameters: Vec<String> = c.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{}({})", c.scheme, parameters.join(";"))
        };
        challenges.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges() {
        for (headers, expected) in [
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#][..],
                "bearer(realm=https://a/t;scope=repository:x:pull,push;service=s)",
            ),
            (&[r#"Basic realm="Registry""#], "basic(realm=Registry)"),
            (&[r#"Basic realm="a", Bearer realm="b",service="c""#], "basic(realm=a) bearer(realm=b;service=c)"),
            (&["Negotiate", r#"BEARER Realm="b""#], "negotiate() bearer(realm=b)"),
            (&[r#"Negotiate abc==, Basic realm="x""#], "negotiate() abc=="),
            (&[r#"Bearer realm = "b" , service=plain"#], "bearer(realm=b;service=plain)"),
            (&[r#"Bearer realm="q\"uo\\te, comma",x="y""#], r#"bearer(realm=q"uo\te, comma;x=y)"#),
            (&[r#"Bearer realm="unclosed"#], "bearer(realm=unclosed)"),
            (&["Bearer realm=https://a/t,service=s"], "bearer(realm=https://a/t;service=s)"),
            (&[r#"realm="no scheme""#], ""),
            (&["", ",,,", "\u{e9}"], ""),
            (&["Basic"], "basic()"),
        ] {
            let expected = if expected.contains("abc==") { "negotiate() basic(realm=x)" } else { expected };
            assert_eq!(shown(headers), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(header in "\\PC{0,200}") {
            let _ = parse([header.as_str()]);
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{quoted}\", service=\"s\"");
            let found = parse([header.as_str()]);
            prop_assert_eq!(found[0].parameters.get("realm"), Some(&value));
            prop_assert_eq!(found[0].parameter("service"), Some("s"));
        }
    }
}
