//! As much of SQLite's file format as it takes to read one column of blobs.
//!
//! # Source
//! SQLite, "Database File Format" (`fileformat2.html`).

use std::collections::BTreeSet;

/// Longest value that is read, in bytes.
const MAX_VALUE: u64 = 64 << 20;
/// Of all values.
const MAX_TOTAL: usize = 256 << 20;

/// Every blob in the table called `table`, in the order of its rows. A damaged database gives what can be read of it.
pub(super) fn blobs(bytes: &[u8], table: &str) -> Vec<Vec<u8>> {
    let Some(file) = File::open(bytes) else { return Vec::new() };
    let schema = file.rows(1);
    let named = schema.iter().filter_map(|row| columns(row)).find_map(|row| match row.as_slice() {
        [Value::Text(b"table"), Value::Text(name), _, Value::Integer(root), ..] if *name == table.as_bytes() => {
            u32::try_from(*root).ok()
        }
        _ => None,
    });
    let rows = named.map(|root| file.rows(root)).unwrap_or_default();
    let blob = |row: &Vec<u8>| {
        columns(row)?.iter().find_map(|value| if let Value::Blob(blob) = value { Some(blob.to_vec()) } else { None })
    };
    rows.iter().filter_map(blob).collect()
}

struct File<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// Bytes of a page that are in use.
    usable: usize,
}

enum Value<'a> {
    Integer(i64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Other,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let page_size = match big_endian(bytes.get(16..18)?) {
            1 => 65_536,
            size if size >= 512 && size.is_power_of_two() => usize::try_from(size).ok()?,
            _ => return None,
        };
        let usable = page_size.checked_sub(usize::from(*bytes.get(20)?)).filter(|usable| *usable >= 480)?;
        Some(Self { bytes, page_size, usable })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let start = usize::try_from(number.checked_sub(1)?).ok()?.checked_mul(self.page_size)?;
        self.bytes.get(start..start.checked_add(self.page_size)?)
    }

    /// The payloads of a table, by its root page. A page is read once, whatever points to it.
    fn rows(&self, root: u32) -> Vec<Vec<u8>> {
        let (mut rows, mut total, mut seen, mut pending) = (Vec::new(), 0, BTreeSet::new(), vec![root]);
        while let Some(number) = pending.pop() {
            let Some(page) = self.page(number).filter(|_| seen.insert(number)) else { continue };
            let start = if number == 1 { 100 } else { 0 };
            let Some(header) = page.get(start..start + 12) else { continue };
            let cells = usize::try_from(big_endian(&header[3..5])).unwrap_or_default();
            let first = start + if header[0] == 5 { 12 } else { 8 };
            let pointers = (0..cells).filter_map(|index| page.get(first + index * 2..first + index * 2 + 2));
            let places = pointers.map(|pointer| usize::try_from(big_endian(pointer)).unwrap_or_default());
            match header[0] {
                13 => {
                    for payload in places.filter_map(|at| self.payload(page, at)) {
                        total += payload.len();
                        if total > MAX_TOTAL {
                            return rows;
                        }
                        rows.push(payload);
                    }
                }
                5 => {
                    let mut children: Vec<u32> = places.filter_map(|at| page_number(page.get(at..at + 4)?)).collect();
                    children.extend(page_number(&header[8..12]));
                    // The last is taken first.
                    pending.extend(children.into_iter().rev());
                }
                _ => {}
            }
        }
        rows
    }

    /// A cell of a leaf: the length of its payload, the row's number, the payload or its beginning.
    fn payload(&self, page: &[u8], at: usize) -> Option<Vec<u8>> {
        let (length, after) = varint(page, at)?;
        let (_, start) = varint(page, after)?;
        let length = usize::try_from(length).ok().filter(|length| *length as u64 <= MAX_VALUE)?;
        let local = self.local(length);
        let mut payload = page.get(start..start + local)?.to_vec();
        let mut next = if local < length { page_number(page.get(start + local..start + local + 4)?) } else { None };
        while payload.len() < length {
            let overflow = self.page(next?)?;
            let part = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(overflow.get(4..4 + part)?);
            next = page_number(overflow.get(..4)?);
        }
        Some(payload)
    }

    /// How much of a payload stands in its cell.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let wanted = least + (length - least) % (self.usable - 4);
        if wanted <= most { wanted } else { least }
    }
}

/// The values of a row.
fn columns(row: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, mut at) = varint(row, 0)?;
    let header = usize::try_from(header).ok().filter(|length| *length <= row.len())?;
    let (mut values, mut data) = (Vec::new(), header);
    while at < header {
        let (kind, after) = varint(row, at)?;
        at = after;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            text_or_blob => (text_or_blob - 12) / 2,
        };
        let bytes = row.get(data..data.checked_add(usize::try_from(length).ok()?)?)?;
        data += bytes.len();
        values.push(match kind {
            1..=6 => Value::Integer(big_endian(bytes) as i64),
            8 | 9 => Value::Integer((kind - 8) as i64),
            0 | 7 => Value::Other,
            kind if kind % 2 == 0 => Value::Blob(bytes),
            _ => Value::Text(bytes),
        });
    }
    Some(values)
}

/// At most nine bytes, seven bits each, the highest first; the ninth has eight.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for index in 0..9 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// `None` for 0: there is no such page.
fn page_number(bytes: &[u8]) -> Option<u32> {
    u32::try_from(big_endian(bytes)).ok().filter(|number| *number > 0)
}
