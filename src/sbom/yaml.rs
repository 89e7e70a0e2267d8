//! The values of a YAML document, one by one: nothing is kept, and no alias is ever expanded.

use saphyr_parser::{Event, Parser};

/// How deep a document may nest.
const MAX_DEPTH: usize = 32;

/// Gives every scalar that is a value to `each`, after the keys that lead to it. Stops where the document is damaged.
pub(super) fn values(text: &str, mut each: impl FnMut(&[String], &str)) {
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let Ok((event, _)) = event else { return };
        match event {
            Event::Scalar(value, ..) if walk.takes_key() => walk.keys.push(value.into_owned()),
            Event::Scalar(value, ..) => {
                each(&walk.keys, &value);
                walk.value_ends();
            }
            Event::Alias(_) => walk.value_ends(),
            Event::MappingStart(..) => walk.begin(true),
            Event::SequenceStart(..) => walk.begin(false),
            Event::MappingEnd | Event::SequenceEnd => walk.end(),
            _ => {}
        }
        if walk.open.len() > MAX_DEPTH {
            return;
        }
    }
}

#[derive(Default)]
struct Walk {
    /// Of the mappings that are open, those that have a key.
    keys: Vec<String>,
    /// For each collection that is open, how many keys there were before it; none for a sequence.
    open: Vec<Option<usize>>,
}

impl Walk {
    /// Whether the next scalar is a key.
    fn takes_key(&self) -> bool {
        matches!(self.open.last(), Some(Some(keys)) if self.keys.len() == *keys)
    }

    fn value_ends(&mut self) {
        match self.open.last() {
            // A key that is no scalar.
            Some(Some(keys)) if self.keys.len() == *keys => self.keys.push(String::new()),
            Some(Some(keys)) => self.keys.truncate(*keys),
            _ => {}
        }
    }

    fn begin(&mut self, is_mapping: bool) {
        self.open.push(is_mapping.then_some(self.keys.len()));
    }

    fn end(&mut self) {
        if let Some(Some(keys)) = self.open.pop() {
            self.keys.truncate(keys);
        }
        self.value_ends();
    }
}
