//! Ignore files and wildcards: no panic, and pruning never loses a kept path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::pattern::{Patterns, Wildcard};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (text, path) = input;
    if let Ok(patterns) = Patterns::parse_file(&text) {
        let _ = patterns.matches(&path);
        let _ = patterns.may_match_below(&path);
    }
    for wildcard in [Wildcard::new(&text), Wildcard::recursive(&text)].into_iter().flatten() {
        let _ = wildcard.matches(&path);
    }
});
