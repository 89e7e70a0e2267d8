//! Sparse files: an archive with them becomes one without.

use std::io::{self, Read, Seek, Write};

use super::fields::{Header, number};
use super::pax::{Records, split_record};
use super::{DecodeError, MAX_EXTENDED};
use crate::layer::header::RECORD;

/// Bytes that all sparse files of an archive may have together, holes included.
const MAX_EXPANDED: u64 = 64 << 30;
/// Most pieces of one file.
const MAX_PIECES: u64 = 1 << 20;
/// Of an offset and a length in an old header.
const PAIR: usize = 24;
const NAME: &[u8] = b"GNU.sparse.name";

/// Copies an uncompressed tar with every sparse file written out: GNU's old format, and its three for PAX.
/// `output` has to be new: holes are left out by seeking.
///
/// # Errors
/// See [`DecodeError`].
///
/// # Source
/// GNU tar manual, "Storing Sparse Files".
pub fn expand_sparse(input: impl Read, output: impl Write + Seek) -> Result<(), DecodeError> {
    let mut expander = Expander { input, output, position: 0, expanded: 0 };
    let mut prelude = Prelude::default();
    while let Some(record) = expander.header()? {
        prelude = expander.member(record, prelude)?;
    }
    expander.output.write_all(&[0; 2 * RECORD])?;
    Ok(expander.output.flush()?)
}

/// What the extended header before a member says.
#[derive(Default)]
struct Prelude {
    size: Option<u64>,
    sparse: Option<Sparse>,
}

/// A sparse file as an extended header tells of it.
struct Sparse {
    /// The other records, with its real name.
    records: Vec<u8>,
    real_size: u64,
    /// `None`: its content starts with them.
    pieces: Option<Vec<Piece>>,
}

/// Bytes that are there.
struct Piece {
    offset: u64,
    length: u64,
}

struct Expander<R, W> {
    input: R,
    output: W,
    /// Bytes taken from the input.
    position: u64,
    expanded: u64,
}

impl<R: Read, W: Write + Seek> Expander<R, W> {
    /// The next header; `None` at the end of the archive, marked or not.
    fn header(&mut self) -> Result<Option<[u8; RECORD]>, DecodeError> {
        let start = self.position;
        match self.record() {
            Err(DecodeError::Truncated { offset }) if offset == start => Ok(None),
            record => Ok(Some(record?).filter(|record| record.iter().any(|byte| *byte != 0))),
        }
    }

    fn record(&mut self) -> Result<[u8; RECORD], DecodeError> {
        let mut bytes = Vec::with_capacity(RECORD);
        self.input.by_ref().take(RECORD as u64).read_to_end(&mut bytes)?;
        self.position += bytes.len() as u64;
        bytes.try_into().map_err(|_| DecodeError::Truncated { offset: self.position })
    }

    fn failed(&self, cause: io::Error) -> DecodeError {
        match cause.kind() {
            io::ErrorKind::UnexpectedEof => DecodeError::Truncated { offset: self.position },
            _ => cause.into(),
        }
    }

    fn invalid(&self, problem: &'static str) -> DecodeError {
        DecodeError::Header { offset: self.position.saturating_sub(RECORD as u64), problem }
    }

    /// One member, or one header about the next; returns what holds for that one.
    fn member(&mut self, record: [u8; RECORD], prelude: Prelude) -> Result<Prelude, DecodeError> {
        let header = Header::new(record).map_err(|problem| self.invalid(problem))?;
        let size = prelude.size.map_or_else(|| header.size(), Ok).map_err(|problem| self.invalid(problem))?;
        match (header.type_flag(), prelude.sparse) {
            (b'x', _) => return self.extended(record, &header),
            (b'g' | b'L' | b'K', sparse) => {
                let size = header.size().map_err(|problem| self.invalid(problem))?;
                self.output.write_all(&record)?;
                self.copy(size)?;
                self.pad(size)?;
                return Ok(Prelude { size: prelude.size, sparse });
            }
            (b'S', _) => self.old(record, size)?,
            (0 | b'0' | b'7', Some(sparse)) => self.described(record, size, sparse)?,
            (0 | b'0' | b'7', None) => {
                self.output.write_all(&record)?;
                self.copy(size)?;
                self.pad(size)?;
            }
            _ => self.output.write_all(&record)?,
        }
        Ok(Prelude::default())
    }

    fn extended(&mut self, record: [u8; RECORD], header: &Header) -> Result<Prelude, DecodeError> {
        let size = header.size().map_err(|problem| self.invalid(problem))?;
        if size > MAX_EXTENDED {
            return Err(self.invalid("extended header longer than 1 MiB"));
        }
        let mut body = Vec::new();
        self.input.by_ref().take(size).read_to_end(&mut body)?;
        if body.len() as u64 != size {
            return Err(DecodeError::Truncated { offset: self.position });
        }
        self.position += size;
        let records = Records::parse(&body).map_err(|problem| self.invalid(problem))?;
        let sparse = if records.sparse {
            Some(Sparse::parse(&body).ok_or_else(|| self.invalid("malformed description of a sparse file"))?)
        } else {
            self.output.write_all(&record)?;
            self.output.write_all(&body)?;
            None
        };
        self.skip_padding(size)?;
        if sparse.is_none() {
            self.output.write_all(&vec![0; padding(size)])?;
        }
        Ok(Prelude { size: records.size, sparse })
    }

    /// GNU's old format: pieces in the header, and in records behind it.
    fn old(&mut self, mut record: [u8; RECORD], size: u64) -> Result<(), DecodeError> {
        let malformed = "malformed map of a sparse file";
        let real_size = unsigned(&record[483..495]).ok_or_else(|| self.invalid(malformed))?;
        let mut pieces = Vec::new();
        let mut more = record[482] != 0;
        read_pairs(&record[386..386 + 4 * PAIR], &mut pieces).ok_or_else(|| self.invalid(malformed))?;
        while more {
            let next = self.record()?;
            more = next[21 * PAIR] != 0;
            read_pairs(&next[..21 * PAIR], &mut pieces).ok_or_else(|| self.invalid(malformed))?;
            if pieces.len() as u64 > MAX_PIECES {
                return Err(self.invalid("sparse file of too many pieces"));
            }
        }
        record[345..RECORD].fill(0);
        self.expand(record, size, real_size, &pieces)
    }

    /// A file that an extended header describes.
    fn described(&mut self, record: [u8; RECORD], size: u64, sparse: Sparse) -> Result<(), DecodeError> {
        if !sparse.records.is_empty() {
            let length = sparse.records.len() as u64;
            self.output.write_all(&with_size(record, b'x', length))?;
            self.output.write_all(&sparse.records)?;
            self.output.write_all(&vec![0; padding(length)])?;
        }
        let (pieces, map) = match sparse.pieces {
            Some(pieces) => (pieces, 0),
            None => self.leading_map()?,
        };
        let size = size.checked_sub(map).ok_or_else(|| self.invalid("sparse file shorter than its map"))?;
        self.expand(record, size, sparse.real_size, &pieces)
    }

    /// The pieces at the start of the content, and how many bytes they took: decimal numbers, one a
    /// line, the count first.
    fn leading_map(&mut self) -> Result<(Vec<Piece>, u64), DecodeError> {
        let start = self.position;
        let mut numbers: Vec<u64> = Vec::new();
        let mut digits = Vec::new();
        loop {
            for byte in self.record()? {
                match byte {
                    b'\n' => {
                        let value = decimal(&digits).ok_or_else(|| self.invalid("malformed map of a sparse file"))?;
                        numbers.push(value);
                        digits.clear();
                    }
                    _ => digits.push(byte),
                }
                let count = numbers.first().copied().unwrap_or(0);
                if count > MAX_PIECES {
                    return Err(self.invalid("sparse file of too many pieces"));
                }
                if !numbers.is_empty() && numbers.len() as u64 == 1 + 2 * count {
                    let pieces = numbers[1..].chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] });
                    return Ok((pieces.collect(), self.position - start));
                }
            }
        }
    }

    /// Writes header and content of a file of `real_size` bytes, of which `size` follow in the input.
    fn expand(&mut self, record: [u8; RECORD], size: u64, real_size: u64, pieces: &[Piece]) -> Result<(), DecodeError> {
        self.expanded = self.expanded.saturating_add(real_size);
        if self.expanded > MAX_EXPANDED {
            return Err(self.invalid("sparse files of more than 64 GiB"));
        }
        self.output.write_all(&with_size(record, b'0', real_size))?;
        let (mut at, mut read) = (0, 0);
        for piece in pieces {
            let end = piece.offset.checked_add(piece.length).filter(|end| piece.offset >= at && *end <= real_size);
            let end = end.ok_or_else(|| self.invalid("pieces of a sparse file out of order"))?;
            self.hole(piece.offset - at)?;
            self.copy_bytes(piece.length)?;
            (at, read) = (end, read + piece.length);
        }
        if read != size {
            return Err(self.invalid("sparse file and its map differ in length"));
        }
        self.hole(real_size - at + padding(real_size) as u64)?;
        self.skip_padding(size)
    }

    fn hole(&mut self, length: u64) -> Result<(), DecodeError> {
        // Within the limit above.
        Ok(self.output.seek_relative(length as i64)?)
    }

    fn copy(&mut self, size: u64) -> Result<(), DecodeError> {
        self.copy_bytes(size)?;
        self.skip_padding(size)
    }

    fn copy_bytes(&mut self, size: u64) -> Result<(), DecodeError> {
        let copied = io::copy(&mut self.input.by_ref().take(size), &mut self.output)?;
        self.position += copied;
        if copied == size { Ok(()) } else { Err(DecodeError::Truncated { offset: self.position }) }
    }

    fn pad(&mut self, size: u64) -> Result<(), DecodeError> {
        Ok(self.output.write_all(&vec![0; padding(size)])?)
    }

    fn skip_padding(&mut self, size: u64) -> Result<(), DecodeError> {
        let mut rest = vec![0; padding(size)];
        self.input.read_exact(&mut rest).map_err(|cause| self.failed(cause))?;
        self.position += rest.len() as u64;
        Ok(())
    }
}

impl Sparse {
    /// From the records of an extended header; `None` when they make no sense.
    fn parse(mut body: &[u8]) -> Option<Self> {
        let mut sparse = Self { records: Vec::new(), real_size: 0, pieces: Some(Vec::new()) };
        let (mut path, mut name, mut offset) = (None, None, None);
        while !body.is_empty() {
            let (key, value, rest) = split_record(body)?;
            match key {
                b"GNU.sparse.major" => sparse.pieces = sparse.pieces.filter(|_| value != b"1"),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse.real_size = decimal(value)?,
                b"GNU.sparse.map" => sparse.pieces = Some(comma_list(value)?),
                b"GNU.sparse.offset" => offset = Some(decimal(value)?),
                b"GNU.sparse.numbytes" => {
                    sparse.pieces.as_mut()?.push(Piece { offset: offset.take()?, length: decimal(value)? });
                }
                NAME => name = Some(value),
                b"path" => path = Some(value),
                b"size" => {}
                key if key.starts_with(b"GNU.sparse.") => {}
                _ => sparse.records.extend_from_slice(&body[..body.len() - rest.len()]),
            }
            body = rest;
        }
        if let Some(name) = name.or(path) {
            append_record(&mut sparse.records, b"path", name);
        }
        Some(sparse)
    }
}

/// `header` as one of another type and size, its checksum right again.
fn with_size(mut header: [u8; RECORD], type_flag: u8, size: u64) -> [u8; RECORD] {
    header[156] = type_flag;
    header[124..136].fill(0);
    if size < 1 << 33 {
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
    }
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// Appends `<length> <key>=<value>\n`, the length counting itself.
fn append_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |length: usize| length.to_string().len();
    let length = rest + digits(rest + digits(rest));
    records.extend([length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat());
}

fn read_pairs(bytes: &[u8], pieces: &mut Vec<Piece>) -> Option<()> {
    for pair in bytes.chunks_exact(PAIR) {
        let (offset, length) = pair.split_at(PAIR / 2);
        if length[0] == 0 {
            break;
        }
        pieces.push(Piece { offset: unsigned(offset)?, length: unsigned(length)? });
    }
    Some(())
}

fn comma_list(value: &[u8]) -> Option<Vec<Piece>> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0)?;
    Some(numbers.chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] }).collect())
}

fn unsigned(field: &[u8]) -> Option<u64> {
    number(field).ok()?.try_into().ok()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % RECORD as u64) as usize
}

#[cfg(test)]
mod tests;
