use super::{Ecosystem, Package, berkeley, ndb, sqlite};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;
/// Types of values.
const INT32: u32 = 4;
const STRINGS: [u32; 3] = [6, 8, 9];

/// Packages of a database in any of rpm's forms.
///
/// # Source
/// rpm `lib/backend`: of SQLite's database the table `Packages`, columns `hnum` and `blob`; of the others all values.
pub(super) fn installed(database: &[u8]) -> Vec<Package> {
    let [of_sqlite, of_berkeley] = [sqlite::blobs(database, "Packages"), berkeley::values(database)];
    let headers = of_sqlite.iter().chain(&of_berkeley).map(Vec::as_slice);
    headers.chain(ndb::blobs(database)).filter_map(package).collect()
}

/// # Source
/// rpm `docs/manual/format_header.md`: number of entries and size of the data, then tag, type, offset and count of each.
fn package(header: &[u8]) -> Option<Package> {
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let count = usize::try_from(word(0)?).ok()?;
    let data = header.get(8usize.checked_add(count.checked_mul(16)?)?..)?;
    let entry = |wanted: u32| {
        let mut entries = (0..count).map(|index| 8 + index * 16);
        let at = entries.find(|at| word(*at) == Some(wanted))?;
        Some((word(at + 4)?, data.get(usize::try_from(word(at + 8)?).ok()?..)?))
    };
    let text = |wanted: u32| {
        let (kind, data) = entry(wanted).filter(|(kind, _)| STRINGS.contains(kind))?;
        debug_assert!(STRINGS.contains(&kind));
        let end = data.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&data[..end]).ok()
    };
    let epoch = entry(EPOCH).filter(|(kind, _)| *kind == INT32).and_then(|(_, data)| data.first_chunk::<4>());
    let epoch = epoch.map(|bytes| format!("{}:", u32::from_be_bytes(*bytes))).unwrap_or_default();
    let (name, version) = (text(NAME)?, format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE)?));
    // Keys that signatures are checked with are kept as packages.
    let package = Package::new(Ecosystem::Rpm, name, &version).filter(|_| name != "gpg-pubkey")?;
    Some(Package {
        architecture: text(ARCHITECTURE).map(str::to_owned),
        source: text(SOURCE).map(str::to_owned),
        ..package.licensed(text(LICENSE))
    })
}
