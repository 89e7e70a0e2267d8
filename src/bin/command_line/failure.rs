//! How errors are shown.

use std::error::Error;

use yadokari::causes::chain;
use yadokari::dockerfile::{Span, render};

/// The Dockerfile, for showing where.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The error above the lines of the Dockerfile that it blames, if it blames any.
pub(crate) fn show(error: &dyn Error, span: Option<Span>, source: &Source) -> String {
    let message = format!("error: {}", chain(error));
    match span {
        Some(span @ Span { start: 1.., .. }) => {
            let mut shown = render(&message, span, &source.name, &source.text);
            if !shown.ends_with('\n') {
                shown.push('\n');
            }
            shown
        }
        _ => format!("{message}\n"),
    }
}
