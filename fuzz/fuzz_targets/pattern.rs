//! Ignore files and wildcards: no panic, and pruning never loses a kept path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::pattern::{Patterns, Wildcard};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (text, path) = input;
    let path = clean(&path);
    let above: Vec<&[u8]> = (1..path.len()).filter(|at| path[*at] == b'/').map(|at| &path[..at]).collect();
    if let Ok(patterns) = Patterns::parse_file(&text)
        && !patterns.matches(&path)
    {
        for directory in &above {
            assert!(patterns.may_match_below(directory), "{directory:?} is pruned, but {path:?} is kept");
        }
    }
    for wildcard in [Wildcard::new(&text), Wildcard::recursive(&text)].into_iter().flatten() {
        if wildcard.matches(&path) {
            for directory in &above {
                assert!(wildcard.may_match_below(directory), "{directory:?} is pruned, but {path:?} matches");
            }
        }
    }
});

/// A path as walks give it: no empty components, no `.` and `..`.
fn clean(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"." | b".."));
    names.collect::<Vec<_>>().join(&b'/')
}
