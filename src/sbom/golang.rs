//! Go modules: of sources, and of programs.

use std::collections::BTreeMap;
use std::io::{self, Read};

use memchr::memmem;

use super::{Ecosystem, Package};

/// What comes before the build information of a program.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
/// Of the header's flags: what follows are the texts, not pointers to them (since Go 1.18).
const INLINE: u8 = 2;
/// How much is searched at a time.
const CHUNK: u64 = 256 << 10;
/// Longest build information.
const MAX_INFORMATION: u64 = 4 << 20;
/// Bytes before and after the modules.
const SENTINEL: usize = 16;

/// # Source
/// The Go modules reference, "go.sum files". A line about `go.mod` alone does not mean that the module is used.
pub(super) fn sums(text: &str) -> Vec<Package> {
    let modules = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        (!version.ends_with("/go.mod")).then(|| Package::new(Ecosystem::Go, name, version)).flatten()
    });
    modules.collect()
}

/// What `go.mod` requires, and what it puts in the place of that.
///
/// # Source
/// The Go modules reference, "go.mod files".
pub(super) fn required(text: &str) -> Vec<Package> {
    let (mut block, mut required, mut replaced) = (None, Vec::new(), BTreeMap::new());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let mut words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [directive, "("] => block = Some(*directive),
            [")"] => block = None,
            _ => {
                let directive = block.unwrap_or_else(|| if words.is_empty() { "" } else { words.remove(0) });
                match (directive, words.as_slice()) {
                    ("require", [name, version]) => required.push((*name, *version)),
                    ("replace", [name, "=>", new @ ..] | [name, _, "=>", new @ ..]) => {
                        replaced.insert(*name, new.to_vec());
                    }
                    _ => {}
                }
            }
        }
    }
    let module = |(name, version): (&str, &str)| match replaced.get(name).map(Vec::as_slice) {
        Some([name, version]) => Package::new(Ecosystem::Go, name, version),
        // By a directory.
        Some(_) => None,
        None => Package::new(Ecosystem::Go, name, version),
    };
    required.into_iter().filter_map(module).collect()
}

/// The modules that a program was built from, its standard library among them. Of what is no program, nothing, after four
/// bytes.
///
/// # Errors
/// Reading failed.
///
/// # Source
/// Go, `debug/buildinfo`.
pub(super) fn built(mut reader: impl Read) -> io::Result<Vec<Package>> {
    let finder = memmem::Finder::new(MAGIC);
    let mut window = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut window)?;
    if window != b"\x7fELF" {
        return Ok(Vec::new());
    }
    loop {
        let more = reader.by_ref().take(CHUNK).read_to_end(&mut window)?;
        while let Some(at) = finder.find(&window) {
            window.drain(..at);
            let missing = (HEADER as u64 + MAX_INFORMATION).saturating_sub(window.len() as u64);
            reader.by_ref().take(missing).read_to_end(&mut window)?;
            if let Some(modules) = information(&window) {
                return Ok(modules);
            }
            // The text may stand in a program that reads others.
            window.drain(..MAGIC.len());
        }
        if more == 0 {
            return Ok(Vec::new());
        }
        window.drain(..window.len().saturating_sub(MAGIC.len() - 1));
    }
}

fn information(bytes: &[u8]) -> Option<Vec<Package>> {
    if bytes.get(MAGIC.len() + 1)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = text(bytes.get(HEADER..)?)?;
    let version =
        std::str::from_utf8(version).ok().filter(|text| text.starts_with("go") || text.starts_with("devel "))?;
    let (modules, _) = text(rest)?;
    let modules = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?).unwrap_or_default();
    let number = version.strip_prefix("go").and_then(|version| version.split_whitespace().next());
    let library = number.and_then(|number| Package::new(Ecosystem::Go, "stdlib", number));
    Some(library.into_iter().chain(listed(&String::from_utf8_lossy(modules))).collect())
}

/// Seven bits of the length a byte, the lowest first; then the text.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        at += 1;
        if byte < 0x80 {
            return bytes.get(at..)?.split_at_checked(length);
        }
        if at > 4 {
            return None;
        }
    }
}

/// Lines of `mod`, `dep`, and `=>` for what took the place of the one before; the commit counts where there is no version.
fn listed(text: &str) -> Vec<Package> {
    let commit = text.lines().find_map(|line| line.strip_prefix("build\tvcs.revision="));
    let mut found: Vec<Option<Package>> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(kind @ ("mod" | "dep" | "=>")), Some(name)) = (fields.next(), fields.next()) else { continue };
        let version = match fields.next() {
            Some("(devel)" | "") | None => {
                if kind == "mod" {
                    commit
                } else {
                    None
                }
            }
            version => version,
        };
        if kind == "=>" {
            found.pop();
        }
        found.push(version.and_then(|version| Package::new(Ecosystem::Go, name, version)));
    }
    found.into_iter().flatten().collect()
}
