//! Tables over whole Dockerfiles; `golden_*` are those of the comparison with BuildKit.

mod fields;
mod golden_config;
mod golden_expansion;
mod golden_lexing;
mod heredocs;
mod messages;
mod printing;
mod random;

use super::*;

/// What a Dockerfile parses to.
#[derive(Debug, PartialEq, Eq)]
enum Expect {
    /// This many instructions, FROMs included.
    Instructions(usize),
    /// An error with this message.
    Error(&'static str),
}

fn check_all(cases: &[(&str, &str, Expect)]) {
    for (name, source, expect) in cases {
        match (parse(source.as_bytes()), expect) {
            (Ok(file), Expect::Instructions(expected)) => assert_eq!(count(&file), *expected, "{name}"),
            (Err(error), Expect::Error(expected)) => assert_eq!(error.to_string(), *expected, "{name}"),
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

fn count(file: &Dockerfile) -> usize {
    file.global_args.len() + file.stages.iter().map(|stage| 1 + stage.instructions.len()).sum::<usize>()
}

/// The instructions of `FROM a` and `body`.
fn instructions(body: &str) -> Vec<Instruction> {
    let source = format!("FROM a\n{body}");
    let mut file = parse(source.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
    file.stages.remove(0).instructions
}

/// The one instruction of `body`.
fn one(body: &str) -> Kind {
    let mut all = instructions(body);
    assert_eq!(all.len(), 1, "{body}");
    all.remove(0).kind
}

/// What is wrong with `FROM a` and `body`, without the line.
fn message(body: &str) -> String {
    let error = parse(format!("FROM a\n{body}").as_bytes()).expect_err(body);
    let prefix = "dockerfile parse error on line 2: ";
    error.message.strip_prefix(prefix).unwrap_or(&error.message).to_owned()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pairs(pairs: &[(&str, Option<&str>)]) -> Vec<Pair> {
    pairs.iter().map(|(name, value)| Pair { name: (*name).to_owned(), value: value.map(str::to_owned) }).collect()
}
