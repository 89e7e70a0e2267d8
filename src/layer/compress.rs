use std::io::{self, BufReader, Read};

use libdeflater::CompressionLvl;

use super::members;
use crate::image::media_type::{self, Compression};

/// Bytes of tar that become one gzip member or zstd frame. Part of what makes layers equal byte
/// for byte: changing it changes the blobs of equal trees (never their diff IDs).
pub(super) const BLOCK: usize = 512 << 10;
/// Level of gzip members; 1 is twice as fast as 2 for a few percent more bytes.
pub const GZIP_LEVEL: i32 = 1;
/// Level of zstd frames.
pub const ZSTD_LEVEL: i32 = 3;
/// Largest window that a zstd frame may ask for, log2 of bytes: what `zstd -d` accepts.
const ZSTD_WINDOW_LOG: u32 = 27;
const READ_BUFFER: usize = 128 << 10;

/// The media type of a layer that we compressed so.
pub(super) fn layer_media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    }
}

/// How a blob is to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCompression {
    /// The format.
    pub compression: Compression,
    /// 1 to 12 for gzip, 1 to 22 for zstd; others count as the nearest of these. `None`: [`GZIP_LEVEL`]
    /// or [`ZSTD_LEVEL`].
    pub level: Option<i32>,
}

impl From<Compression> for LayerCompression {
    fn from(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

/// Compresses block after block, each on its own, so that blocks can be shared out to threads
/// and the result does not depend on how many there are.
pub(super) enum Compressor {
    Gzip(Box<libdeflater::Compressor>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Compressor {
    /// `None` when nothing is to be compressed.
    pub(super) fn new(LayerCompression { compression, level }: LayerCompression) -> io::Result<Option<Self>> {
        Ok(match compression {
            Compression::None => None,
            Compression::Gzip => {
                let level = level.unwrap_or(GZIP_LEVEL).clamp(1, 12);
                let level = CompressionLvl::new(level).unwrap_or_default();
                Some(Self::Gzip(Box::new(libdeflater::Compressor::new(level))))
            }
            Compression::Zstd => {
                let level = level.unwrap_or(ZSTD_LEVEL).clamp(1, 22);
                Some(Self::Zstd(Box::new(zstd::bulk::Compressor::new(level)?)))
            }
        })
    }

    /// The gzip member or zstd frame of `block`, in `buffer`.
    pub(super) fn compress(&mut self, block: &[u8], mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(compressor) => {
                members::write(compressor, block, &mut buffer)?;
            }
            Self::Zstd(compressor) => {
                buffer.reserve(zstd::zstd_safe::compress_bound(block.len()));
                compressor.compress_to_buffer(block, &mut buffer)?;
            }
        }
        Ok(buffer)
    }
}

/// How bytes are compressed, by how they start.
pub fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or a skippable frame before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// The tar inside a layer blob. Goes by the first bytes and not by a media type, since
/// registries serve layers under wrong ones; any number of gzip members or zstd frames.
///
/// # Errors
/// When the first bytes cannot be read, or zstd is out of memory.
pub fn decompress<'a>(mut blob: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::with_capacity(4);
    blob.by_ref().take(4).read_to_end(&mut start)?;
    let compression = sniff(&start);
    let blob = io::Cursor::new(start).chain(blob);
    Ok(match compression {
        Compression::None => Box::new(blob),
        Compression::Gzip => Box::new(members::Reader::new(BufReader::with_capacity(READ_BUFFER, blob))),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(READ_BUFFER, blob))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_frames_join() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut compressor = Compressor::new(compression.into()).unwrap().unwrap();
            let blob =
                [compressor.compress(b"one ", Vec::new()).unwrap(), compressor.compress(b"two", Vec::new()).unwrap()]
                    .concat();
            assert_eq!(sniff(&blob), compression);
            let mut text = String::new();
            decompress(&*blob).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
            let cut = &blob[..blob.len() - 1];
            assert!(decompress(cut).unwrap().read_to_end(&mut Vec::new()).is_err());
        }
        assert!(Compressor::new(Compression::None.into()).unwrap().is_none());
    }

    #[test]
    fn what_has_no_magic_is_plain() {
        for plain in [&b""[..], b"\x1f", b"etc/passwd"] {
            let mut bytes = Vec::new();
            decompress(plain).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, plain);
        }
    }
}
