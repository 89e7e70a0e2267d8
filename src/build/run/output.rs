//! What a process wrote last, for the error that says that it failed.

use std::collections::VecDeque;

const LINES: usize = 20;
/// Of one line.
const MAX_BYTES: usize = 1000;

/// The last lines of both outputs, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct LastLines {
    lines: VecDeque<Vec<u8>>,
    /// The last line has no end yet.
    open: bool,
}

impl LastLines {
    /// Takes note of what came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.open {
                self.lines.push_back(Vec::new());
            }
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
            self.open = !piece.ends_with(b"\n");
            if let Some(line) = self.lines.back_mut() {
                let room = MAX_BYTES.saturating_sub(line.len());
                line.extend(piece.iter().filter(|byte| **byte != b'\n').take(room));
            }
        }
    }

    /// Without control characters.
    pub(super) fn into_lines(self) -> Vec<String> {
        let clean = |line: Vec<u8>| {
            let text = String::from_utf8_lossy(&line).replace('\t', "    ");
            text.chars().filter(|c| !c.is_control()).collect()
        };
        self.lines.into_iter().map(clean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whole() {
        let mut last = LastLines::default();
        (0..100).for_each(|number| last.take(format!("line {number}\n").as_bytes()));
        last.take(b"no\x1b[31m e");
        last.take(b"nd");
        let lines = last.into_lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!((lines[0].as_str(), lines[LINES - 1].as_str()), ("line 81", "no[31m end"));
    }

    #[test]
    fn lines_are_bounded() {
        let mut last = LastLines::default();
        (0..10).for_each(|_| last.take(&[b'x'; 500]));
        assert_eq!(last.into_lines(), ["x".repeat(MAX_BYTES)]);
    }
}
