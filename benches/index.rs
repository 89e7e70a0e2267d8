//! Look-ups in the index of a cache directory with very many records.
//!
//! `cargo bench --bench index -- [RECORDS] [KEYS]`, by default 1,000,000 and 50. It needs about 1.5 KB for
//! each record in the temporary directory: the files of records that are not asked for are removed again,
//! the index keeps them. The look-ups run in processes of their own, which open the directory first.

#![allow(clippy::expect_used, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use yadokari::digest::{ContentHash, DiffId, Digest};
use yadokari::image::{Descriptor, media_type};
use yadokari::key::CacheKey;
use yadokari::store::{Access, Record, RecordLayer, Store};

const ROUNDS: usize = 21;

fn key(number: usize) -> CacheKey {
    CacheKey(ContentHash::of(&number.to_le_bytes()))
}

/// As a RUN of an ordinary Dockerfile leaves it.
fn record(number: usize, blob: &Descriptor) -> Record {
    let parts = [("base", "registry.example/library/debian:bookworm [0123456789ab]"), ("user", "0:0"), ("cwd", "/src")];
    let layer = RecordLayer {
        blob: blob.clone(),
        diff_id: DiffId(Digest::sha256(&number.to_le_bytes())),
        uncompressed_size: 123_456,
        toc: blob.clone(),
        created: 1_700_000_000,
    };
    Record {
        version: Record::VERSION,
        key: key(number),
        content_key: None,
        parts: parts.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        instruction: format!("RUN make step-{number}"),
        layers: vec![layer],
        state: None,
        created: 1_700_000_000,
        duration_ms: 1234,
        executor: "yadokari 0.1.0".into(),
        signature: None,
    }
}

/// Those that are asked for, spread over all.
fn asked(records: usize, keys: usize) -> Vec<usize> {
    (0..keys).map(|number| number * (records / keys)).collect()
}

fn fill(directory: &Path, records: usize, keys: usize) {
    let store = Store::open(directory, Access::ReadWrite).expect("store");
    let blob = store.put_blob(media_type::OCI_LAYER_GZIP, b"layer").expect("blob");
    let kept = asked(records, keys);
    for number in 0..records {
        store.put_record(&key(number), &record(number, &blob)).expect("record");
        if kept.binary_search(&number).is_err() {
            store.remove_record(&key(number)).expect("removed");
        }
    }
}

/// Opens the directory, looks all keys up, and prints how many microseconds that took.
fn look_up(directory: &Path, records: usize, keys: usize) {
    let keys: Vec<CacheKey> = asked(records, keys).into_iter().map(key).collect();
    let begin = Instant::now();
    let store = Store::open(directory, Access::ReadWrite).expect("store");
    let opened = begin.elapsed();
    let found = store.records(&keys);
    let took = begin.elapsed();
    assert!(found.iter().all(|found| matches!(found, Ok(Some(_)))), "all are there");
    assert_eq!(store.take_notices(), Vec::<String>::new());
    println!("{} {}", opened.as_micros(), took.as_micros());
}

/// Microseconds of opening, of both, and the CPU time of the whole process.
fn measure(directory: &Path, records: usize, keys: usize) -> (u64, u64) {
    let program = std::env::current_exe().expect("this program");
    let numbers = [records, keys].map(|number| number.to_string());
    let output = Command::new(program).arg("look-up").arg(directory).args(numbers).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (next(), next())
}

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize, default| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    if arguments.first().is_some_and(|first| first == "look-up") {
        return look_up(Path::new(&arguments[1]), number(2, 0), number(3, 0));
    }
    let (records, keys) = (number(0, 1_000_000), number(1, 50));
    let directory = tempfile::tempdir().expect("directory");
    let begin = Instant::now();
    fill(directory.path(), records, keys);
    let size = directory.path().join("index.redb").metadata().expect("index").len();
    println!("{records} records in {:.0} s, index of {} MB", begin.elapsed().as_secs_f64(), size / 1_000_000);
    let mut rows: Vec<(u64, u64)> = (0..ROUNDS).map(|_| measure(directory.path(), records, keys)).collect();
    rows.sort_unstable_by_key(|(_, both)| *both);
    let shown = |micros: u64| format!("{:.2} ms", Duration::from_micros(micros).as_secs_f64() * 1000.0);
    let (opening, both) = rows[ROUNDS / 2];
    println!(
        "{keys} keys: {} median, {} least; {} of it to open the directory",
        shown(both),
        shown(rows[0].1),
        shown(opening)
    );
}
