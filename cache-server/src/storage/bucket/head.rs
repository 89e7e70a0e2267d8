//! The one object that says what the state is: every change replaces it, on the condition that
//! nobody else did. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Changes stay in the head up to this size in bytes; then they become a segment of their own.
const TAIL_BYTES: usize = 64 << 10;
/// So many bytes of segments are worth a new checkpoint; of a large one, half its size.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// So many segments are worth one, too.
const CHECKPOINT_SEGMENTS: usize = 1000;

/// What all replicas agree on: a checkpoint, the segments after it, and the changes after them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Number of the last change.
    pub(super) sequence: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) segments: Vec<Segment>,
    pub(super) tail: Vec<Entry>,
}

/// All rows as they were after a change, in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(super) name: Uuid,
    pub(super) sequence: u64,
    /// By which a copy knows that change again; older programs did not write it.
    #[serde(default)]
    pub(super) change: Option<u64>,
    pub(super) pieces: u64,
    pub(super) bytes: u64,
}

/// Changes in an object of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) name: Uuid,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
}

/// One change: rows that were written and removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// By which its author knows it again.
    pub(super) id: Uuid,
    #[serde(serialize_with = "to_text", deserialize_with = "from_text")]
    pub(super) rows: Vec<u8>,
}

fn to_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl Checkpoint {
    pub(super) fn piece(&self, number: u64) -> String {
        format!("checkpoints/{}/{number:08}", self.name)
    }

    pub(super) fn all_pieces(&self) -> Vec<String> {
        (0..self.pieces).map(|number| self.piece(number)).collect()
    }
}

impl Segment {
    pub(super) fn object(&self) -> String {
        format!("segments/{}", self.name)
    }
}

impl Head {
    /// The head after one more change; and the changes that must be written as a segment first.
    pub(super) fn after(&self, id: Uuid, rows: Vec<u8>) -> (Self, Option<(Segment, Vec<Entry>)>) {
        let mut next = self.clone();
        next.sequence += 1;
        next.tail.push(Entry { sequence: next.sequence, id, rows });
        let bytes: usize = next.tail.iter().map(|entry| entry.rows.len()).sum();
        if bytes <= TAIL_BYTES {
            return (next, None);
        }
        let entries = std::mem::take(&mut next.tail);
        let first = entries.first().map_or(next.sequence, |entry| entry.sequence);
        let segment = Segment { name: Uuid::new_v4(), first, last: next.sequence, bytes: bytes as u64 };
        next.segments.push(segment.clone());
        (next, Some((segment, entries)))
    }

    /// The head with a checkpoint; and the names of the objects that are then of no more use.
    pub(super) fn with_checkpoint(&self, checkpoint: Checkpoint) -> (Self, Vec<String>) {
        let mut next = self.clone();
        let (kept, done) = next.segments.into_iter().partition::<Vec<_>, _>(|s| s.last > checkpoint.sequence);
        let mut useless: Vec<String> = done.iter().map(Segment::object).collect();
        useless.extend(next.checkpoint.iter().flat_map(Checkpoint::all_pieces));
        next.segments = kept;
        next.checkpoint = Some(checkpoint);
        (next, useless)
    }

    /// Whether so much was written since the last checkpoint that it is time for another one.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let behind = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.bytes) / 2;
        self.segments.len() > CHECKPOINT_SEGMENTS || self.segment_bytes() > behind.max(CHECKPOINT_BYTES)
    }

    /// Bytes that the journal takes in the bucket, with room for its next checkpoint.
    pub(super) fn journal_bytes(&self) -> u64 {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.bytes);
        // Segments are text, and longer for it.
        2 * (checkpoint + self.segment_bytes() * 3 / 2) + (512 << 10)
    }

    fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Names of all objects that it speaks of.
    pub(super) fn objects(&self) -> Vec<String> {
        let pieces = self.checkpoint.iter().flat_map(Checkpoint::all_pieces);
        pieces.chain(self.segments.iter().map(Segment::object)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(changes: usize, bytes: usize) -> Head {
        (0..changes).fold(Head::default(), |head, _| head.after(Uuid::new_v4(), vec![7; bytes]).0)
    }

    #[test]
    fn no_change_is_in_none_or_two_places() {
        let head = grown(100, 3000);
        let mut expected = 1;
        for segment in &head.segments {
            assert_eq!(segment.first, expected);
            expected = segment.last + 1;
        }
        assert_eq!(head.tail.first().map(|entry| entry.sequence), Some(expected));
        assert_eq!((head.sequence, head.tail.last().map(|entry| entry.sequence)), (100, Some(100)));
        let text = serde_json::to_vec(&head).expect("JSON");
        assert_eq!(serde_json::from_slice::<Head>(&text).expect("read"), head);
    }

    #[test]
    fn a_checkpoint_replaces_what_it_holds_and_nothing_else() {
        let head = grown(100, 3000);
        let sequence = head.segments[1].last + 1;
        let checkpoint = Checkpoint { name: Uuid::new_v4(), sequence, change: Some(7), pieces: 2, bytes: 9 };
        let (next, useless) = head.with_checkpoint(checkpoint.clone());
        assert_eq!(next.segments, head.segments[2..]);
        assert_eq!(useless, [head.segments[0].object(), head.segments[1].object()]);
        let (_, useless) = next.with_checkpoint(Checkpoint { sequence: 100, ..checkpoint.clone() });
        assert!(useless.ends_with(&checkpoint.all_pieces()));
        assert!(!grown(100, 3000).wants_checkpoint() && grown(1500, 3000).wants_checkpoint());
    }
}
