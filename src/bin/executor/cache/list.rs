//! `executor cache ls` and `show`.

use std::time::Duration;

use serde_json::{Value, json};
use yadokari::report::{human_bytes, human_duration};
use yadokari::store::Access;

use super::flags::{ListFlags, ShowFlags};
use super::place::{Place, Row, find};
use crate::failure::Failure;

/// Digits of a key that a list shows; enough to name the record.
const SHORT_KEY: usize = 12;

pub(super) fn list(flags: &ListFlags) -> Result<(), Failure> {
    let rows = Place::open(&flags.place, Access::ReadOnly)?.rows(&flags.place)?;
    let mut rows: Vec<&Row> = rows.iter().filter(|row| is_wanted(row, flags)).collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.since), row.key));
    if flags.form.json {
        let rows: Vec<Value> = rows.iter().map(|row| to_json(row)).collect();
        println!("{}", Value::from(rows));
        return Ok(());
    }
    if !rows.is_empty() {
        println!("{:SHORT_KEY$}  {:>7}  {:>6}  {:>12}  INSTRUCTION", "KEY", "SIZE", "AGE", "TOOK");
    }
    for row in rows {
        let key: String = row.key.to_string().chars().take(SHORT_KEY).collect();
        let (size, took) = (human_bytes(row.bytes()), human_duration(Duration::from_millis(row.record.duration_ms)));
        println!("{key}  {size:>7}  {:>6}  {took:>12}  {}", human_age(row.age()), row.instruction());
    }
    Ok(())
}

fn is_wanted(row: &Row, flags: &ListFlags) -> bool {
    let ListFlags { instruction, key, older_than, larger_than, form: _, place: _ } = flags;
    let contains = |text: &String| row.instruction().to_lowercase().contains(&text.to_lowercase());
    instruction.as_ref().is_none_or(contains)
        && key.as_ref().is_none_or(|prefix| row.key.to_string().starts_with(&prefix.to_ascii_lowercase()))
        && older_than.is_none_or(|limit| row.age() > limit.0)
        && larger_than.is_none_or(|limit| row.bytes() >= limit.0)
}

/// Ages for people: `45s`, `12m`, `7h`, `21d`.
pub(super) fn human_age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn to_json(row: &Row) -> Value {
    let mut value = serde_json::to_value(&row.record).unwrap_or_default();
    value["found_under"] = row.key.to_string().into();
    value["layer_bytes"] = row.bytes().into();
    value["age_seconds"] = row.age().as_secs().into();
    if let Some(manifest) = &row.manifest {
        value["manifest"] = manifest.to_string().into();
    }
    value
}

pub(super) fn show(flags: &ShowFlags) -> Result<(), Failure> {
    let rows = Place::open(&flags.place, Access::ReadOnly)?.rows(&flags.place)?;
    let row = find(&rows, &flags.key)?;
    if flags.form.json {
        println!("{:#}", to_json(row));
        return Ok(());
    }
    let record = &row.record;
    let line = |name: &str, value: &str| println!("{name:14} {value}");
    line("instruction", &row.instruction());
    line("key", &record.key.to_string());
    record.content_key.iter().for_each(|key| line("content key", &key.to_string()));
    line("took", &human_duration(Duration::from_millis(record.duration_ms)));
    let made = Duration::from_secs(u64::try_from(record.created).unwrap_or_default());
    let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(made);
    line("made", &format!("{} ago by {}", human_age(age), record.executor));
    match &row.manifest {
        Some(manifest) => line("manifest", &manifest.to_string()),
        None => line("last used", &format!("{} ago", human_age(row.age()))),
    }
    for layer in &record.layers {
        line("layer", &format!("{} {}", layer.blob.digest, human_bytes(layer.blob.size)));
        line("  diff ID", &format!("{} {}", layer.diff_id, human_bytes(layer.uncompressed_size)));
        line("  contents", &format!("{} {}", layer.toc.digest, human_bytes(layer.toc.size)));
    }
    record.parts.iter().for_each(|(name, value)| line("part", &json!({ name: value }).to_string()));
    Ok(())
}
