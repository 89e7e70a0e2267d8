//! `executor cache explain`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use yadokari::key::{Difference, explain as differences, nearest};
use yadokari::store::Access;

use super::flags::ExplainFlags;
use super::place::{Place, Row, find};
use crate::failure::Failure;

pub(super) fn explain(flags: &ExplainFlags) -> Result<(), Failure> {
    let rows = Place::open(&flags.place, Access::ReadOnly)?.rows(&flags.place)?;
    let row = find(&rows, &flags.key)?;
    if row.record.parts.is_empty() {
        let text = format!("record {} says nothing about what its key was made of: it is a whole stage's", row.key);
        return Err(Failure::Cache(text));
    }
    let (other, found) = match &flags.other {
        Some(other) => {
            let other = find(&rows, other)?;
            (other, differences(&other.record.parts, &row.record.parts))
        }
        None => nearest_row(&rows, row)?,
    };
    if flags.form.json {
        println!("{:#}", to_json(row, other, &found));
    } else {
        print(row, other, &found);
    }
    Ok(())
}

fn nearest_row<'a>(rows: &'a [Row], row: &Row) -> Result<(&'a Row, Vec<Difference>), Failure> {
    let parts = |row: &'a Row| &row.record.parts;
    let (found, differences) = nearest(rows.iter().map(parts), &row.record.parts)
        .ok_or_else(|| Failure::Cache(format!("no other record is like {}", row.key)))?;
    let other = rows.iter().find(|other| std::ptr::eq::<BTreeMap<_, _>>(&raw const other.record.parts, found));
    other.map(|other| (other, differences)).ok_or_else(|| Failure::Cache("the record is gone".into()))
}

fn print(row: &Row, other: &Row, found: &[Difference]) {
    println!("{}  {}", row.key, row.instruction());
    println!("{}  {}", other.key, other.instruction());
    if found.is_empty() {
        println!("  no difference in what is known of the keys");
    }
    for difference in found {
        println!("  {}", difference.with_values());
    }
}

fn to_json(row: &Row, other: &Row, found: &[Difference]) -> Value {
    let difference =
        |d: &Difference| json!({ "part": d.part, "before": d.before, "now": d.now, "text": d.to_string() });
    json!({
        "key": row.key.to_string(), "instruction": row.instruction(),
        "other": other.key.to_string(), "other_instruction": other.instruction(),
        "differences": found.iter().map(difference).collect::<Vec<_>>(),
    })
}
