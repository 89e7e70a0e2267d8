//! Warnings about Dockerfiles that can be built: BuildKit's rules, by its names. Pure.
//!
//! [`rule`] lists the rules as data. Those that need the text alone are here: [`check_file`] looks
//! at the whole file, [`check_stage`] at the instructions of a stage that is built. Those that
//! need variables or the configuration of a base image are in `plan`. [`CheckOptions`] then takes
//! out what was asked to be skipped.
//!
//! # Source
//! BuildKit, `frontend/dockerfile/linter`; names, descriptions and messages are its own.

mod file;
mod options;
mod report;
pub mod rule;
mod stage;
#[cfg(test)]
mod tests;
mod warning;

pub use file::check_file;
pub use options::{CheckOptions, CheckOptionsError};
pub use report::{CheckError, to_json, to_text};
pub use rule::Rule;
pub use stage::{check_stage, names_secret};
pub use warning::Warning;

use super::{Instruction, Kind, arguments};

/// The instruction's word as it was typed; of a trigger the word behind ONBUILD.
pub(crate) fn keyword(instruction: &Instruction) -> &str {
    words(instruction).0
}

/// What stands behind [`keyword`].
fn arguments_of(instruction: &Instruction) -> &str {
    words(instruction).1
}

fn words(instruction: &Instruction) -> (&str, &str) {
    let text = instruction.text.as_str();
    let (word, rest) = arguments::cut(text).unwrap_or((text, ""));
    let is_trigger = word.eq_ignore_ascii_case("onbuild") && !matches!(instruction.kind, Kind::OnBuild(_));
    if is_trigger { arguments::cut(rest).unwrap_or((rest, "")) } else { (word, rest) }
}
