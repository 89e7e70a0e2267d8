use std::collections::BTreeMap;

use super::{Change, ChangeKind, Device};

/// Unit of a tar.
pub(super) const RECORD: usize = 512;

const NAME: usize = 100;
const PREFIX: usize = 155;
const CAPABILITY: &str = "security.capability";

/// What a header says.
struct Member<'a> {
    /// As stored: with the slash of a directory, with the `.wh.` of a whiteout.
    name: Vec<u8>,
    link: &'a [u8],
    type_flag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: i64,
    device: Device,
    capability: Option<&'a [u8]>,
    /// Whether a long name may be split over two fields instead of an extended header.
    may_split: bool,
}

/// Appends the header of `change` to `out`: one record, or three and more when it needs an
/// extended header.
///
/// The bytes are those that BuildKit's exporter writes for the same metadata: ustar, a PAX `x`
/// record only for what ustar cannot say, no GNU extensions.
///
/// # Source
/// POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
pub(super) fn append_header(out: &mut Vec<u8>, change: &Change) {
    let member = member(change);
    let mut extended = member.extended();
    let split = if member.may_split { split_name(&member.name) } else { None };
    if split.is_some() {
        extended.remove("path");
    }
    if !extended.is_empty() {
        append_extended(out, &member.name, &extended);
    }
    let (prefix, name) = split.unwrap_or((b"", &member.name));
    out.extend_from_slice(&member.record(prefix, name));
}

fn member(change: &Change) -> Member<'_> {
    let (type_flag, size, link, device): (u8, u64, &[u8], Option<&Device>) = match &change.kind {
        ChangeKind::File { size, .. } => (b'0', *size, b"", None),
        ChangeKind::Whiteout => return whiteout(change),
        ChangeKind::Hardlink { target } => (b'1', 0, target, None),
        ChangeKind::Symlink { target } => (b'2', 0, target, None),
        ChangeKind::CharDevice(device) => (b'3', 0, b"", Some(device)),
        ChangeKind::BlockDevice(device) => (b'4', 0, b"", Some(device)),
        ChangeKind::Directory => (b'5', 0, b"", None),
        ChangeKind::Fifo => (b'6', 0, b"", None),
    };
    let mut name = change.path.clone();
    if type_flag == b'5' {
        name.push(b'/');
    }
    Member {
        name,
        link,
        type_flag,
        mode: change.mode & 0o7777,
        uid: change.uid,
        gid: change.gid,
        size,
        mtime: change.mtime,
        device: device.copied().unwrap_or(Device { major: 0, minor: 0 }),
        capability: change.xattrs.get(CAPABILITY).map(Vec::as_slice),
        may_split: false,
    }
}

/// An empty file with no metadata, whatever the change says.
fn whiteout(change: &Change) -> Member<'_> {
    let base = change.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let mut name = change.path.clone();
    name.splice(base..base, *super::WHITEOUT_PREFIX);
    Member {
        name,
        link: b"",
        type_flag: b'0',
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        device: Device { major: 0, minor: 0 },
        capability: None,
        may_split: true,
    }
}

impl Member<'_> {
    /// What ustar has no room for, by PAX keyword.
    fn extended(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut records = BTreeMap::new();
        for (key, text) in [("path", &*self.name), ("linkpath", self.link)] {
            if text.len() > NAME || !text.is_ascii() {
                records.insert(key, text.to_vec());
            }
        }
        for (key, number, digits) in [("uid", self.uid, 7), ("gid", self.gid, 7), ("size", self.size, 11)] {
            if !fits(number, digits) {
                records.insert(key, number.to_string().into_bytes());
            }
        }
        if !u64::try_from(self.mtime).is_ok_and(|seconds| fits(seconds, 11)) {
            records.insert("mtime", self.mtime.to_string().into_bytes());
        }
        if let Some(capability) = self.capability {
            records.insert("SCHILY.xattr.security.capability", capability.to_vec());
        }
        records
    }

    fn record(&self, prefix: &[u8], name: &[u8]) -> [u8; RECORD] {
        let mut record = Record::new(name, self.type_flag);
        record.octal(100, 8, u64::from(self.mode));
        record.octal(108, 8, self.uid);
        record.octal(116, 8, self.gid);
        record.octal(124, 12, self.size);
        record.octal(136, 12, u64::try_from(self.mtime).unwrap_or(0));
        record.text(157, NAME, self.link);
        record.octal(329, 8, u64::from(self.device.major));
        record.octal(337, 8, u64::from(self.device.minor));
        record.text(345, PREFIX, prefix);
        record.finish()
    }
}

/// The record under construction; offsets are those of the ustar format.
struct Record([u8; RECORD]);

impl Record {
    fn new(name: &[u8], type_flag: u8) -> Self {
        let mut record = Self([0; RECORD]);
        record.text(0, NAME, name);
        record.0[156] = type_flag;
        record.0[257..265].copy_from_slice(b"ustar\x0000");
        record
    }

    /// The ASCII bytes of `text`, cut to the field.
    fn text(&mut self, offset: usize, length: usize, text: &[u8]) {
        let ascii: Vec<u8> = text.iter().copied().filter(u8::is_ascii).collect();
        let kept = ascii.len().min(length);
        let field = &mut self.0[offset..offset + length];
        field[..kept].copy_from_slice(&ascii[..kept]);
        // A file whose name was cut at a slash must not look like a directory.
        if ascii.len() > length && field.ends_with(b"/") {
            let end = field.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            field[end] = 0;
        }
    }

    /// Octal digits and a NUL; zero when the number does not fit.
    fn octal(&mut self, offset: usize, length: usize, number: u64) {
        let digits = length - 1;
        let number = if fits(number, digits) { number } else { 0 };
        for (index, digit) in self.0[offset..offset + digits].iter_mut().rev().enumerate() {
            *digit = b'0' + (number >> (3 * index) & 7) as u8;
        }
    }

    fn finish(mut self) -> [u8; RECORD] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148, 7, sum);
        self.0[154] = 0;
        self.0
    }
}

fn fits(number: u64, octal_digits: usize) -> bool {
    number >> (3 * octal_digits) == 0
}

/// Appends an `x` member with those records, keys sorted.
fn append_extended(out: &mut Vec<u8>, name: &[u8], records: &BTreeMap<&str, Vec<u8>>) {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| extended_record(key, value)).collect();
    let mut record = Record::new(&extended_name(name), b'x');
    for (offset, length) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
        record.octal(offset, length, 0);
    }
    record.octal(124, 12, body.len() as u64);
    out.extend_from_slice(&record.finish());
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(RECORD), 0);
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn extended_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// `<directory>/PaxHeaders.0/<base>`.
fn extended_name(name: &[u8]) -> Vec<u8> {
    let base = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let joined = [&name[..base], b"PaxHeaders.0/", &name[base..]].concat();
    let mut ascii: Vec<u8> = joined.into_iter().filter(u8::is_ascii).collect();
    ascii.truncate(NAME);
    let end = ascii.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    ascii.truncate(end);
    ascii
}

/// A long name as the fields `prefix` and `name`, split at the last slash that suits.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let slash = name[..name.len().min(PREFIX + 1)].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, base) = (&name[..slash], &name[slash + 1..]);
    let fits = !prefix.is_empty() && !base.is_empty() && base.len() <= NAME;
    fits.then_some((prefix, base))
}
