use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};

/// Reads files out of a layer's uncompressed tar in one pass, and no further than the last.
///
/// `wanted` has the size of each file under its offset, as [`super::EntryKind::File`] tells
/// them. `each` gets the offset and a reader of exactly that many bytes, in order of offsets; it
/// need not read them all. Whether they are the right bytes is for the caller to check.
///
/// # Errors
/// What reading or `each` fails with; `UnexpectedEof` when the tar ends before a file does,
/// `InvalidInput` when files overlap.
pub fn read_files(
    mut tar: impl Read,
    wanted: &BTreeMap<u64, u64>,
    each: &mut dyn FnMut(u64, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut position = 0;
    for (&offset, &size) in wanted {
        let gap =
            offset.checked_sub(position).ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "files overlap"))?;
        skip(&mut tar, gap)?;
        let mut file = WholeFile { tar: &mut tar, left: size };
        each(offset, &mut file)?;
        let left = file.left;
        skip(&mut tar, left)?;
        position = offset.saturating_add(size);
    }
    Ok(())
}

fn skip(tar: &mut impl Read, length: u64) -> io::Result<()> {
    if io::copy(&mut tar.take(length), &mut io::sink())? == length { Ok(()) } else { Err(too_short()) }
}

fn too_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "layer ends before the files that its table of contents lists")
}

/// So many bytes, or an error: unlike [`io::Take`], which ends early and says nothing.
struct WholeFile<'a, R> {
    tar: &'a mut R,
    left: u64,
}

impl<R: Read> Read for WholeFile<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let room = usize::try_from(self.left).unwrap_or(buffer.len()).min(buffer.len());
        match self.tar.read(&mut buffer[..room])? {
            0 => Err(too_short()),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tar: &[u8], wanted: &[(u64, u64)]) -> io::Result<Vec<(u64, String)>> {
        let mut found = Vec::new();
        read_files(tar, &wanted.iter().copied().collect(), &mut |offset, file| {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            found.push((offset, text));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn ranges_are_handed_out_in_order() {
        let found = read(b"0123456789", &[(7, 2), (1, 3), (4, 0)]).unwrap();
        assert_eq!(found, [(1, "123".into()), (4, String::new()), (7, "78".into())]);
        assert_eq!(read(b"", &[]).unwrap(), []);
    }

    #[test]
    fn a_file_may_be_left_unread() {
        let mut first = String::new();
        read_files(&b"0123456789"[..], &BTreeMap::from([(0, 5), (5, 1)]), &mut |offset, file| {
            if offset == 5 { file.read_to_string(&mut first).map(drop) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(first, "5");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert_eq!(read(b"0123", &[(2, 3)]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(read(b"0123", &[(9, 1)]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(read(b"0123", &[(0, 3), (1, 1)]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
