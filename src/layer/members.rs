//! Gzip members that say how long they are: any gunzip reads them, and ours reads them faster, each
//! in one go.

use std::io::{self, BufRead, Cursor, Read};
use std::mem;

use flate2::bufread::MultiGzDecoder;
use libdeflater::{Compressor, Crc, Decompressor};

use super::compress::BLOCK;

/// Magic number, deflate, extra field, no time, no hints, unknown system; the extra field has eight
/// bytes, of which four are the subfield `YD`.
///
/// # Source
/// RFC 1952, sections 2.3 and 2.3.1.1.
const HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, b'Y', b'D', 4, 0];
/// With the length of the whole member, 32 bits, little endian.
const START: usize = HEADER.len() + 4;
/// CRC-32 and length of the content.
const TRAILER: usize = 8;

/// Replaces what `buffer` holds by the member with `block`, [`BLOCK`] bytes at most.
pub(super) fn write(compressor: &mut Compressor, block: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(START + compressor.deflate_compress_bound(block.len()) + TRAILER, 0);
    let length = compressor.deflate_compress(block, &mut buffer[START..]).map_err(io::Error::other)?;
    buffer.truncate(START + length);
    let mut crc = Crc::new();
    crc.update(block);
    buffer.extend_from_slice(&crc.sum().to_le_bytes());
    buffer.extend_from_slice(&u32::try_from(block.len()).map_err(io::Error::other)?.to_le_bytes());
    let whole = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    buffer[..HEADER.len()].copy_from_slice(&HEADER);
    buffer[HEADER.len()..START].copy_from_slice(&whole.to_le_bytes());
    Ok(())
}

/// What any number of gzip members hold. From the first one that does not say its length on, all are
/// read as a stream.
pub(super) enum Reader<R> {
    Members(Members<R>),
    Stream(Box<MultiGzDecoder<io::Chain<Cursor<Vec<u8>>, R>>>),
    /// After an error.
    Broken,
}

/// Members that say their length.
pub(super) struct Members<R> {
    blob: R,
    decompressor: Decompressor,
    member: Vec<u8>,
    content: Vec<u8>,
    /// How much of `content` was read.
    taken: usize,
}

/// What comes next in the blob.
enum Next {
    Content,
    End,
    /// Something else, which starts so.
    Other(Vec<u8>),
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(blob: R) -> Self {
        let (member, content) = (Vec::new(), Vec::new());
        Self::Members(Members { blob, decompressor: Decompressor::new(), member, content, taken: 0 })
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let members = match self {
                Self::Stream(stream) => return stream.read(buffer),
                Self::Broken => return Err(io::ErrorKind::InvalidData.into()),
                Self::Members(members) => members,
            };
            if members.taken < members.content.len() {
                let read = (&members.content[members.taken..]).read(buffer)?;
                members.taken += read;
                return Ok(read);
            }
            match members.advance()? {
                Next::Content => {}
                Next::End => return Ok(0),
                Next::Other(start) => {
                    if let Self::Members(members) = mem::replace(self, Self::Broken) {
                        let rest = Cursor::new(start).chain(members.blob);
                        *self = Self::Stream(Box::new(MultiGzDecoder::new(rest)));
                    }
                }
            }
        }
    }
}

impl<R: BufRead> Members<R> {
    /// Reads the next member.
    fn advance(&mut self) -> io::Result<Next> {
        let mut start = Vec::with_capacity(START);
        self.blob.by_ref().take(START as u64).read_to_end(&mut start)?;
        if start.is_empty() {
            return Ok(Next::End);
        }
        let Some(length) = length(&start) else { return Ok(Next::Other(start)) };
        self.member.clear();
        self.member.extend_from_slice(&start);
        let rest = (length - START) as u64;
        if self.blob.by_ref().take(rest).read_to_end(&mut self.member)? as u64 != rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content.resize(BLOCK, 0);
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let read = self.decompressor.gzip_decompress(&self.member, &mut self.content).map_err(malformed)?;
        self.content.truncate(read);
        self.taken = 0;
        Ok(Next::Content)
    }
}

/// The length of a member, when it says one that ours can have.
fn length(start: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(start.strip_prefix(&HEADER)?.try_into().ok()?) as usize;
    // Deflate makes nothing much longer.
    (START + TRAILER..=2 * BLOCK).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use libdeflater::CompressionLvl;

    use super::*;

    fn ours(block: &[u8]) -> Vec<u8> {
        let mut buffer = vec![7; 3];
        write(&mut Compressor::new(CompressionLvl::fastest()), block, &mut buffer).unwrap();
        buffer
    }

    fn foreign(block: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(block).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Reader::new(blob).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn any_gunzip_reads_them() {
        let blob = [ours(&[1; BLOCK]), ours(b"")].concat();
        let mut content = Vec::new();
        MultiGzDecoder::new(&*blob).read_to_end(&mut content).unwrap();
        assert_eq!(content, [1; BLOCK]);
    }

    #[test]
    fn members_of_both_kinds_join() {
        let blob = [ours(b"a"), ours(b""), ours(b"b"), foreign(b"c"), ours(b"d"), foreign(b"e")].concat();
        assert_eq!(read(&blob).unwrap(), b"abcde");
        assert_eq!(read(&foreign(b"c")).unwrap(), b"c");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn damage_is_seen() {
        let whole = [ours(b"some bytes"), ours(b"more bytes")].concat();
        for length in 1..whole.len() {
            let is_boundary = length == ours(b"some bytes").len();
            assert_eq!(read(&whole[..length]).is_ok(), is_boundary, "{length} bytes");
        }
        let first = ours(b"some bytes").len();
        // The first byte has bits that nobody reads.
        for at in START + 1..first {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x40;
            assert!(read(&wrong).is_err(), "byte {at}");
        }
        // A longer content than a block is not ours, whatever the header says.
        let mut long = foreign(&[0; 2 * BLOCK]);
        let length = u32::try_from(long.len() + 10).unwrap();
        long.splice(..10, [&HEADER[..], &length.to_le_bytes()].concat());
        assert!(read(&long).is_err());
    }
}
