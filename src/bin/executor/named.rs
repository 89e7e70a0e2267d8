//! `--build-context`: what each form stands for.

use std::collections::BTreeMap;

use yadokari::build::ImageLayouts;
use yadokari::context::ContextSpec;
use yadokari::plan::{NamedContext, NamedContexts};

use crate::command_line::settings::{SettingsError, usage};
use crate::command_line::values::KeyValue;
use crate::failure::Failure;
use crate::settings::reference;

/// The named contexts of a build.
#[derive(Default)]
pub(crate) struct Named {
    /// What each is, for planning.
    pub(crate) contexts: NamedContexts,
    /// Those that are files, by key.
    pub(crate) files: BTreeMap<String, ContextSpec>,
    /// Those that are images of this machine.
    pub(crate) layouts: ImageLayouts,
}

/// What one value says.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Image(&'a str),
    Layout(&'a str),
    Stage(&'a str),
    Files(&'a str),
}

/// Reads the flags and opens image layouts; nothing is fetched. The last of a name counts.
pub(crate) fn named(flags: &[KeyValue]) -> Result<Named, Failure> {
    let mut named = Named::default();
    for KeyValue { name, value } in flags {
        let key = NamedContexts::key(name);
        named.files.remove(&key);
        let context = match parse(name, value)? {
            Value::Image("scratch") => NamedContext::Scratch,
            Value::Image(text) => NamedContext::Image(reference(text)?),
            Value::Layout(address) => NamedContext::Image(named.layouts.open(address)?),
            Value::Stage(stage) => NamedContext::Stage(stage.to_owned()),
            Value::Files(text) => {
                named.files.insert(key, ContextSpec { text: text.to_owned(), ..ContextSpec::default() });
                NamedContext::Files
            }
        };
        named.contexts.insert(name, context);
    }
    Ok(named)
}

/// # Source
/// BuildKit `dockerui/namedcontext.go`; what buildx makes of paths and `target:`.
fn parse<'a>(name: &str, value: &'a str) -> Result<Value<'a>, SettingsError> {
    let wrong = |text: String| usage(format!("--build-context {name}: {text}"));
    let (scheme, rest) = value.split_once(':').unwrap_or(("", value));
    let slashed = rest.strip_prefix("//");
    let plain = slashed.unwrap_or(rest);
    let parsed = match scheme {
        "docker-image" => Value::Image(plain),
        "oci-layout" => Value::Layout(plain),
        // bake says target where BuildKit says input.
        "target" | "input" => Value::Stage(plain),
        "local" => Value::Files(plain),
        "dir" | "tar" | "git" | "ssh" | "http" | "https" if slashed.is_some() => Value::Files(value),
        // What has no scheme is a path, or a repository as USER@HOST:PATH.
        _ if slashed.is_none() => Value::Files(value),
        // The rest may hold a password.
        _ => {
            let known =
                "a directory, local:, tar://, git://, ssh://, https://, docker-image://, oci-layout:// or target:";
            return Err(wrong(format!("unsupported context source {scheme:?}: expected {known}")));
        }
    };
    match parsed {
        Value::Image("") | Value::Layout("") | Value::Stage("") | Value::Files("") => {
            Err(wrong("the context is empty".to_owned()))
        }
        parsed => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known() {
        for (text, expected) in [
            ("docker-image://alpine:3", Value::Image("alpine:3")),
            ("docker-image:alpine", Value::Image("alpine")),
            ("oci-layout://a/b:1@sha256:00", Value::Layout("a/b:1@sha256:00")),
            ("oci-layout:///abs", Value::Layout("/abs")),
            ("target:base", Value::Stage("base")),
            ("input:base", Value::Stage("base")),
            ("local:dir", Value::Files("dir")),
            ("../dir", Value::Files("../dir")),
            ("git@host:a/b", Value::Files("git@host:a/b")),
            ("https://host/x.git#b", Value::Files("https://host/x.git#b")),
            ("tar:///x.tar", Value::Files("tar:///x.tar")),
        ] {
            assert_eq!(parse("n", text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn other_forms_are_wrong_usage_and_keep_secrets() {
        for text in ["s3://key:secret@bucket", "docker://secret", "target:", "docker-image://", ""] {
            let error = parse("n", text).expect_err(text).to_string();
            assert!(error.starts_with("--build-context n: ") && !error.contains("secret"), "{error}");
        }
        let error = parse("n", "s3://x").expect_err("unknown").to_string();
        assert!(error.contains("unsupported context source \"s3\""), "{error}");
    }
}
