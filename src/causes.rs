//! Errors as one line of text.

use std::error::Error;

/// The error and its causes, outermost first, without what a cause repeats.
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn causes_are_said_once() {
        let said = |text| chain(&Outer { text, source: io::Error::other("disk full") });
        assert_eq!(said("failed to write a"), "failed to write a: disk full");
        assert_eq!(said("failed to write a: disk full"), "failed to write a: disk full");
    }
}
