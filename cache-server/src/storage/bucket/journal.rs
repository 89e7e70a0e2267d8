//! What changed, in the order in which it did; replicas do it again, each in its own copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::{PutMode, UpdateVersion};
use uuid::Uuid;

use super::head::{Checkpoint, Entry, Head, Segment};
use super::{Bucket, BucketError, Version};

const HEAD: &str = "head";
/// How often the head is read again when what it names is already gone.
const ATTEMPTS: usize = 8;
/// Pieces of a checkpoint that are read while the one before them is worked on: they have 4 MiB.
const PIECES_AHEAD: usize = 8;
/// The same of segments, which are many and small.
const SEGMENTS_AHEAD: usize = 32;

/// This replica's place in the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    bucket: Arc<Bucket>,
    head: Head,
    version: UpdateVersion,
    /// The last change that the copy has.
    position: u64,
    bytes: Arc<AtomicU64>,
}

/// What a copy has to do to become what the journal says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replayed<'a> {
    /// To forget everything.
    Clear,
    /// To add rows of a checkpoint, encoded, in the order of their keys.
    Checkpoint(&'a [u8]),
    /// To make changes of rows, encoded.
    Changes(&'a [u8]),
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// All replicas will see it. Others may have gone on from there.
    Done,
    /// Others were faster: it must be made again, on top of theirs.
    Overtaken,
}

impl Journal {
    /// Opens the journal of a bucket, or begins it. The copy is empty.
    pub(crate) fn open(bucket: Arc<Bucket>) -> Result<Self, BucketError> {
        let begun = bucket.put(HEAD, text(&Head::default()), PutMode::Create);
        let (head, version) = match begun {
            Ok(version) => (Head::default(), version),
            Err(error) if error.is_conflict() => parse_head(&bucket, bucket.get(HEAD)?)?,
            Err(error) => return Err(error),
        };
        let bytes = Arc::new(AtomicU64::new(head.journal_bytes()));
        Ok(Self { bucket, head, version, position: 0, bytes })
    }

    /// Bytes that it takes in the bucket; kept up to date.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// The last change that the copy has.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The copy has all changes up to this one now.
    pub(crate) fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Goes on from a copy that an earlier process left, which has the changes up to `position`, and `change` as the
    /// last of them. False when that is no moment of this journal's past, or one too long ago to go on from.
    pub(crate) fn resume(&mut self, position: u64, change: Option<u64>) -> Result<bool, BucketError> {
        let known = change.is_some() && self.change_at(position)? == change;
        if known {
            self.position = position;
        }
        Ok(known)
    }

    /// What [`short`] makes of the ID of a change; `None` where it is no longer known by itself.
    fn change_at(&self, sequence: u64) -> Result<Option<u64>, BucketError> {
        let checkpoint = self.head.checkpoint.as_ref().filter(|checkpoint| checkpoint.sequence >= sequence);
        if let Some(checkpoint) = checkpoint {
            return Ok(checkpoint.change.filter(|_| checkpoint.sequence == sequence));
        }
        let find = |entries: &[Entry]| entries.iter().find(|e| e.sequence == sequence).map(|e| short(e.id));
        let holds = |segment: &&Segment| (segment.first..=segment.last).contains(&sequence);
        let Some(segment) = self.head.segments.iter().find(holds) else { return Ok(find(&self.head.tail)) };
        match self.bucket.get(&segment.object()) {
            Ok(read) => Ok(find(&self.entries(&segment.object(), &read.bytes)?)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is anything that the copy lacks, as far as was read.
    pub(crate) fn has_news(&self) -> bool {
        self.head.sequence != self.position
    }

    /// Reads the head again, if it changed.
    pub(crate) fn refresh(&mut self) -> Result<(), BucketError> {
        if let Some(read) = self.bucket.get_changed(HEAD, &self.version)? {
            let (head, version) = parse_head(&self.bucket, read)?;
            self.set_head(head, version);
        }
        Ok(())
    }

    fn set_head(&mut self, head: Head, version: UpdateVersion) {
        self.bytes.store(head.journal_bytes(), Ordering::Relaxed);
        (self.head, self.version) = (head, version);
    }

    /// Adds a change, made on top of the one before, under a new `id`. Wrong or right, nothing is half-done.
    ///
    /// # Errors
    /// When it is not known whether it was added; the next look into the journal tells.
    pub(crate) fn append(&mut self, id: Uuid, rows: Vec<u8>) -> Result<Appended, BucketError> {
        let (next, spilled) = self.head.after(id, rows);
        let segment = spilled.as_ref().map(|(segment, _)| segment.object());
        if let Some((segment, entries)) = spilled {
            self.bucket.put(&segment.object(), text(&entries), PutMode::Create)?;
        }
        if self.replace_head(next)? {
            return Ok(Appended::Done);
        }
        // Our own answer may have been lost, and the repeated request refused for what it wrote itself.
        self.refresh()?;
        if self.knows(id)? {
            return Ok(Appended::Done);
        }
        if let Some(segment) = segment {
            self.bucket.delete(&[segment])?;
        }
        Ok(Appended::Overtaken)
    }

    /// False when somebody else replaced it first.
    fn replace_head(&mut self, next: Head) -> Result<bool, BucketError> {
        match self.bucket.put(HEAD, text(&next), PutMode::Update(self.version.clone())) {
            Ok(version) => {
                self.set_head(next, version);
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the change right behind the position is this one.
    fn knows(&self, id: Uuid) -> Result<bool, BucketError> {
        let (position, mut known) = (self.position, false);
        if self.head.sequence <= position || self.is_far_behind() {
            return Ok(false);
        }
        self.read_entries(position, &mut |entry| {
            known |= entry.sequence == position + 1 && entry.id == id;
            Ok::<_, BucketError>(())
        })?;
        Ok(known)
    }

    /// The changes that the copy needs are no longer there one by one.
    fn is_far_behind(&self) -> bool {
        self.head.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.sequence > self.position)
    }

    /// Hands out what the copy lacks, in order. Returns the position that this leads to.
    pub(crate) fn replay<E: From<BucketError>>(
        &self,
        take: &mut dyn FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut position = self.position;
        if let Some(checkpoint) = self.head.checkpoint.as_ref().filter(|_| self.is_far_behind()) {
            take(Replayed::Clear)?;
            let mut piece = |_: &str, bytes: &[u8]| take(Replayed::Checkpoint(bytes));
            self.bucket.get_each(checkpoint.all_pieces(), PIECES_AHEAD, &mut piece)?;
            position = checkpoint.sequence;
        }
        self.read_entries(position, &mut |entry| take(Replayed::Changes(&entry.rows)))?;
        Ok(self.head.sequence)
    }

    fn read_entries<E: From<BucketError>>(
        &self,
        after: u64,
        take: &mut dyn FnMut(&Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = after;
        let mut next = |entry: &Entry| {
            if entry.sequence != last + 1 {
                return Err(self.bucket.damaged("the journal").into());
            }
            last = entry.sequence;
            take(entry)
        };
        let segments = self.head.segments.iter().filter(|segment| segment.last > after);
        let mut segment = |name: &str, bytes: &[u8]| {
            self.entries(name, bytes)?.iter().filter(|entry| entry.sequence > after).try_for_each(&mut next)
        };
        self.bucket.get_each(segments.map(Segment::object).collect(), SEGMENTS_AHEAD, &mut segment)?;
        self.head.tail.iter().filter(|entry| entry.sequence > after).try_for_each(&mut next)?;
        if last == self.head.sequence { Ok(()) } else { Err(self.bucket.damaged("the journal").into()) }
    }

    /// The changes in a segment.
    fn entries(&self, name: &str, bytes: &[u8]) -> Result<Vec<Entry>, BucketError> {
        serde_json::from_slice(bytes).map_err(|_| self.bucket.damaged(name))
    }

    /// Whether it is time for a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.head.wants_checkpoint()
    }

    /// Puts a checkpoint whose pieces are written into its place, and removes what it replaces.
    pub(crate) fn adopt(&mut self, checkpoint: Checkpoint) -> Result<(), BucketError> {
        for attempt in 0..ATTEMPTS {
            let newer = self.head.checkpoint.as_ref().is_some_and(|other| other.sequence >= checkpoint.sequence);
            if newer {
                return self.bucket.delete(&checkpoint.all_pieces());
            }
            let (next, useless) = self.head.with_checkpoint(checkpoint.clone());
            if self.replace_head(next)? {
                return self.bucket.delete(&useless);
            }
            pause(attempt);
            self.refresh()?;
        }
        self.bucket.delete(&checkpoint.all_pieces())
    }
}

impl Bucket {
    pub(super) fn damaged(&self, object: &str) -> BucketError {
        BucketError::Damaged { object: object.to_owned(), bucket: self.address.to_string() }
    }

    /// What all replicas agree on now.
    pub(super) fn head(&self) -> Result<Head, BucketError> {
        parse_head(self, self.get(HEAD)?).map(|(head, _)| head)
    }

    /// Writes a checkpoint of what was so after the change `sequence`: `pieces` are handed to it one after the other.
    pub(crate) fn checkpoint_writer(&self, sequence: u64, change: Option<u64>) -> CheckpointWriter<'_> {
        let checkpoint = Checkpoint { name: Uuid::new_v4(), sequence, change, pieces: 0, bytes: 0 };
        CheckpointWriter { bucket: self, checkpoint }
    }
}

/// A checkpoint in the making.
pub(crate) struct CheckpointWriter<'a> {
    bucket: &'a Bucket,
    checkpoint: Checkpoint,
}

impl CheckpointWriter<'_> {
    pub(crate) fn write(&mut self, piece: Vec<u8>) -> Result<(), BucketError> {
        let name = self.checkpoint.piece(self.checkpoint.pieces);
        self.checkpoint.pieces += 1;
        self.checkpoint.bytes += piece.len() as u64;
        self.bucket.put(&name, piece, PutMode::Create).map(drop)
    }

    pub(crate) fn finish(self) -> Checkpoint {
        self.checkpoint
    }
}

/// By what a copy remembers the ID of a change.
pub(crate) fn short(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

/// Waits a random time, longer from attempt to attempt.
pub(crate) fn pause(attempt: usize) {
    let longest = 4_u64 << attempt.min(6);
    let mut random = [0; 8];
    // Without random numbers the pause is the longest.
    let part = getrandom::fill(&mut random).map_or(longest, |()| u64::from_le_bytes(random) % (longest + 1));
    std::thread::sleep(Duration::from_millis(part));
}

fn parse_head(bucket: &Bucket, read: Version) -> Result<(Head, UpdateVersion), BucketError> {
    let head = serde_json::from_slice(&read.bytes).map_err(|_| bucket.damaged(HEAD))?;
    Ok((head, read.version))
}

/// Numbers, names and text: nothing can fail.
fn text(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
