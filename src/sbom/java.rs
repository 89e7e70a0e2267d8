//! Java archives: what Maven left in them, else their manifest and their name.

use std::io::{self, Read, Seek};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::{Ecosystem, Package};

/// Members that are looked at.
const MAX_MEMBERS: usize = 500_000;
/// Members that are read.
const MAX_READ: usize = 20_000;
/// Longest manifest or list of properties that is read.
const MAX_TEXT: u64 = 256 << 10;
/// Longest archive inside another that is read.
const MAX_INNER: u64 = 128 << 20;
/// Bytes that are read of one outermost archive, when they are unpacked.
const MAX_TOTAL: u64 = 1 << 30;
/// How deep archives lie in others: a jar in a war in an ear.
const MAX_DEPTH: usize = 3;

/// Whether a file's name is that of an archive.
pub(super) fn is_archive(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|found| ["jar", "war", "ear", "hpi", "jpi"].contains(&found.to_ascii_lowercase().as_str()))
}

/// What is in the archive called `name`, and in archives in it. The place of these is their path inside.
///
/// # Errors
/// Reading failed.
pub(super) fn packages(name: &str, reader: impl Read + Seek) -> io::Result<Vec<Package>> {
    let mut search = Search { found: Vec::new(), left: MAX_TOTAL, members: MAX_MEMBERS };
    search.archive(name, "", reader, 1)?;
    Ok(search.found)
}

struct Search {
    found: Vec<Package>,
    /// Bytes that may still be read.
    left: u64,
    /// Members that may still be looked at.
    members: usize,
}

/// What an archive says about itself.
#[derive(Default)]
struct Own {
    manifest: Option<String>,
    properties: Vec<String>,
}

enum Member {
    Manifest,
    Properties,
    Archive(String),
}

/// Where a member is, and how it was compressed.
type Place = (ZipArchiveEntryWayfinder, CompressionMethod);

impl Search {
    fn archive(&mut self, name: &str, place: &str, mut reader: impl Read + Seek, depth: usize) -> io::Result<()> {
        let sha1 = sha1(&mut reader)?;
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        // What is damaged is left out.
        let Ok(archive) = ZipArchive::from_seekable(reader, &mut buffer) else { return Ok(()) };
        let mut own = Own::default();
        for (member, at) in self.members(&archive, &mut buffer) {
            match member {
                Member::Manifest => own.manifest = self.text(&archive, at),
                Member::Properties => own.properties.extend(self.text(&archive, at)),
                Member::Archive(inner) if depth < MAX_DEPTH => {
                    let Some(bytes) = self.bytes(&archive, at, MAX_INNER) else { continue };
                    let place = if place.is_empty() { inner.clone() } else { format!("{place}!/{inner}") };
                    self.archive(&inner, &place, io::Cursor::new(bytes), depth + 1)?;
                }
                Member::Archive(_) => {}
            }
        }
        let packages = own.packages(name, &sha1);
        self.found.extend(packages.into_iter().map(|package| Package { place: place.to_owned(), ..package }));
        Ok(())
    }

    fn members<R: ReaderAt>(&mut self, archive: &ZipArchive<R>, buffer: &mut [u8]) -> Vec<(Member, Place)> {
        let (mut entries, mut members) = (archive.entries(buffer), Vec::new());
        while let Ok(Some(entry)) = entries.next_entry() {
            if self.members == 0 || members.len() >= MAX_READ {
                break;
            }
            self.members -= 1;
            let path = entry.file_path();
            if let Some(member) = std::str::from_utf8(path.as_bytes()).ok().and_then(member) {
                members.push((member, (entry.wayfinder(), entry.compression_method())));
            }
        }
        members
    }

    fn text<R: ReaderAt>(&mut self, archive: &ZipArchive<R>, at: Place) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(archive, at, MAX_TEXT)?).into_owned())
    }

    /// A member whose length and checksum are what the directory says.
    fn bytes<R: ReaderAt>(&mut self, archive: &ZipArchive<R>, at: Place, limit: u64) -> Option<Vec<u8>> {
        let (way, method) = at;
        if way.uncompressed_size_hint() > limit.min(self.left) {
            return None;
        }
        let entry = archive.get_entry(way).ok()?;
        let raw = entry.reader();
        let unpacked: Box<dyn Read> = match method {
            CompressionMethod::STORE => Box::new(raw),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(raw)),
            _ => return None,
        };
        let mut bytes = Vec::new();
        let read = entry.verifying_reader(unpacked.take(limit + 1)).read_to_end(&mut bytes);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        read.ok().map(|_| bytes)
    }
}

fn member(path: &str) -> Option<Member> {
    if path == "META-INF/MANIFEST.MF" {
        return Some(Member::Manifest);
    }
    if path.starts_with("META-INF/maven/") && path.ends_with("/pom.properties") {
        return Some(Member::Properties);
    }
    is_archive(path).then(|| Member::Archive(path.to_owned()))
}

impl Own {
    /// One package for each that Maven speaks of: an archive may hold the classes of many. Where none of them is the archive
    /// itself, that comes from the manifest and the file's name.
    fn packages(&self, name: &str, sha1: &str) -> Vec<Package> {
        let stem = name.rsplit('/').next().unwrap_or(name);
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        let manifest = self.manifest.as_deref().unwrap_or_default();
        let license = manifest_field(manifest, "Bundle-License").filter(|text| text.len() <= 100);
        let known: Vec<(String, Package)> = self.properties.iter().filter_map(|text| of_maven(text)).collect();
        let is_own = |artifact: &str| known.len() == 1 || is_called(stem, artifact);
        let own = |package: Package| Package {
            checksum: Some(("SHA1", sha1.to_owned())),
            ..package.licensed(license.as_deref())
        };
        let has_own = known.iter().any(|(artifact, _)| is_own(artifact));
        let named = if has_own { None } else { of_manifest(stem, manifest).map(own) };
        let listed = known.iter().map(
            |(artifact, package)| {
                if is_own(artifact) { own(package.clone()) } else { package.clone() }
            },
        );
        listed.chain(named).collect()
    }
}

/// Whether a file's name is that of an artifact, perhaps with a version.
fn is_called(stem: &str, artifact: &str) -> bool {
    let rest = stem.strip_prefix(artifact);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_digit)))
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// The artifact's name, and the package.
///
/// # Source
/// Maven Archiver, `pom.properties`.
fn of_maven(properties: &str) -> Option<(String, Package)> {
    let field = |name: &str| {
        let mut lines = properties.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).filter(|value| is_word(value))
    };
    let (group, artifact, version) = (field("groupId")?, field("artifactId")?, field("version")?);
    let package = Package::new(Ecosystem::Maven, &format!("{group}:{artifact}"), version)?;
    Some((artifact.to_owned(), package))
}

/// The group is a guess, and may be missing.
fn of_manifest(stem: &str, manifest: &str) -> Option<Package> {
    let field = |name: &str| manifest_field(manifest, name).filter(|text| is_word(text));
    let split = stem.match_indices('-').find(|(at, _)| stem[at + 1..].starts_with(is_digit));
    let version = ["Implementation-Version", "Bundle-Version", "Specification-Version"];
    let (artifact, version) = match split {
        Some((at, _)) => (stem[..at].to_owned(), stem[at + 1..].to_owned()),
        None => {
            (field("Implementation-Title").unwrap_or_else(|| stem.to_owned()), version.into_iter().find_map(field)?)
        }
    };
    let bundle = field("Bundle-SymbolicName").map(|name| name.split(';').next().unwrap_or_default().to_owned());
    let group = field("Implementation-Vendor-Id").or_else(|| {
        let bundle = bundle.filter(|name| name.contains('.'))?;
        let above = bundle.strip_suffix(&artifact).and_then(|rest| rest.strip_suffix('.'));
        Some(above.unwrap_or(&bundle).to_owned())
    });
    let name = group.map_or_else(|| artifact.clone(), |group| format!("{group}:{artifact}"));
    Package::new(Ecosystem::Maven, &name, &version)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | '$'))
}

/// A field of the main section; lines go on after a blank.
///
/// # Source
/// JAR File Specification, "JAR Manifest".
fn manifest_field(manifest: &str, name: &str) -> Option<String> {
    let mut lines = manifest.lines().take_while(|line| !line.trim_end().is_empty());
    let mut value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))?;
    lines.map_while(|line| line.strip_prefix(' ')).for_each(|more| value.push_str(more));
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// What Maven's repositories know archives by.
fn sha1(mut reader: impl Read + Seek) -> io::Result<String> {
    let (mut context, mut buffer) = (Context::new(&SHA1_FOR_LEGACY_USE_ONLY), vec![0; 64 << 10]);
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        context.update(&buffer[..length]);
    }
    reader.rewind()?;
    Ok(super::locks::hex(context.finish().as_ref()))
}
