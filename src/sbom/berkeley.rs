//! As much of Berkeley DB's hash files as it takes to read all values, in the byte order of whoever wrote them.
//!
//! # Source
//! Berkeley DB 5.3 `src/dbinc/db_page.h`.

use std::cell::Cell;

const MAGIC: u32 = 0x0006_1561;
/// Types of pages.
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
/// Types of items.
const IN_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;
/// Length of a page's head, in bytes.
const HEAD: usize = 26;
/// Longest value that is read, in bytes.
const MAX_VALUE: usize = 64 << 20;
/// Of all values, whole or not.
const MAX_TOTAL: usize = 256 << 20;

/// The value of every key. A damaged database gives what can be read of it.
pub(super) fn values(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(file) = File::open(bytes) else { return Vec::new() };
    let pages = file.bytes.chunks_exact(file.page_size).skip(1);
    pages.filter(|page| matches!(page[25], HASH | HASH_UNSORTED)).flat_map(|page| file.items(page)).collect()
}

struct File<'a> {
    bytes: &'a [u8],
    page_size: usize,
    is_big_endian: bool,
    /// Bytes that may still be read: damaged items may all lead to the same long value.
    left: Cell<usize>,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let is_big_endian = match bytes.get(12..16)?.try_into().ok()? {
            magic if u32::from_le_bytes(magic) == MAGIC => false,
            magic if u32::from_be_bytes(magic) == MAGIC => true,
            _ => return None,
        };
        let file = Self { bytes, page_size: 0, is_big_endian, left: Cell::new(MAX_TOTAL) };
        let page_size = file.word(bytes, 20).filter(|size| (512..=65_536).contains(size) && size.is_power_of_two())?;
        // Not encrypted.
        (bytes.get(24) == Some(&0)).then_some(Self { page_size, ..file })
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(if self.is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }).ok()
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let half = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(if self.is_big_endian { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) }))
    }

    fn takes(&self, length: usize) -> bool {
        let left = self.left.get().checked_sub(length);
        self.left.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Of keys and values in turn, the values.
    fn items(&self, page: &[u8]) -> Vec<Vec<u8>> {
        let count = self.half(page, 20).unwrap_or_default();
        (1..count).step_by(2).filter_map(|index| self.item(page, index)).collect()
    }

    /// Items are put into a page from its end.
    fn item(&self, page: &[u8], index: usize) -> Option<Vec<u8>> {
        let start = self.half(page, HEAD + index * 2)?;
        let end = self.half(page, HEAD + (index - 1) * 2)?;
        let item = page.get(start..end)?;
        match *item.first()? {
            IN_PAGE => self.takes(item.len()).then(|| item[1..].to_vec()),
            OFF_PAGE => self.overflow(self.word(item, 4)?, self.word(item, 8)?),
            _ => None,
        }
    }

    fn overflow(&self, first: usize, length: usize) -> Option<Vec<u8>> {
        let (mut value, mut next) = (Vec::new(), first);
        while value.len() < length.min(MAX_VALUE) {
            let start = next.checked_mul(self.page_size).filter(|_| next > 0 && self.takes(self.page_size))?;
            let page = self.bytes.get(start..start.checked_add(self.page_size)?)?;
            let used = self.half(page, 22).filter(|_| page[25] == OVERFLOW)?;
            value.extend_from_slice(page.get(HEAD..HEAD + used)?);
            next = self.word(page, 16)?;
        }
        (value.len() == length).then_some(value)
    }
}
