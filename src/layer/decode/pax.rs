use std::collections::BTreeMap;

use crate::layer::is_kept_xattr;

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// The records of an extended header that matter to layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) size: Option<u64>,
    /// Whole seconds, rounded down.
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Whether the member is a sparse file.
    pub(super) sparse: bool,
}

impl Records {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !body.is_empty() {
            let (key, value, rest) = split_record(body).ok_or("malformed extended header")?;
            records.set(key, value).ok_or("malformed value in extended header")?;
            body = rest;
        }
        Ok(records)
    }

    /// These records, and those of a global header where these say nothing.
    pub(super) fn over(&self, global: &Self) -> Self {
        let mut xattrs = global.xattrs.clone();
        xattrs.extend(self.xattrs.clone());
        Self {
            path: self.path.clone().or_else(|| global.path.clone()),
            link_path: self.link_path.clone().or_else(|| global.link_path.clone()),
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            size: self.size.or(global.size),
            mtime: self.mtime.or(global.mtime),
            xattrs,
            sparse: self.sparse || global.sparse,
        }
    }

    /// An empty value means that the header's own field counts.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = some_bytes(value),
            b"linkpath" => self.link_path = some_bytes(value),
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"size" => self.size = number(value)?,
            b"mtime" => self.mtime = seconds(value)?,
            _ if key.starts_with(SPARSE_PREFIX) => self.sparse = true,
            _ => self.set_xattr(key, value),
        }
        Some(())
    }

    fn set_xattr(&mut self, key: &[u8], value: &[u8]) {
        let name = key.strip_prefix(XATTR_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
        if let Some(name) = name.filter(|name| is_kept_xattr(name)) {
            self.xattrs.insert(name.to_owned(), value.to_vec());
        }
    }
}

/// Splits `<length> <key>=<value>\n` from what follows.
pub(super) fn split_record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], rest))
}

fn some_bytes(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn number(value: &[u8]) -> Option<Option<u64>> {
    if value.is_empty() {
        return Some(None);
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Some)
}

fn seconds(value: &[u8]) -> Option<Option<i64>> {
    if value.is_empty() {
        return Some(None);
    }
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let rounds_down = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(Some(if rounds_down { seconds.checked_sub(1)? } else { seconds }))
}
