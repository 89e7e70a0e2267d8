//! Licenses by their names in SPDX.

/// Licenses that are called by their SPDX names; what else is declared stands in a comment.
const LICENSES: [&str; 79] = [
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "Beerware",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-Source-Code",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "GFDL-1.2-no-invariants-or-later",
    "GFDL-1.2-only",
    "GFDL-1.2-or-later",
    "GFDL-1.3-no-invariants-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-1.0",
    "MPL-1.1",
    "MPL-2.0",
    "NCSA",
    "NTP",
    "OFL-1.1",
    "OpenSSL",
    "PostgreSQL",
    "PSF-2.0",
    "Python-2.0",
    "QPL-1.0",
    "Ruby",
    "Sleepycat",
    "TCL",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "Zlib",
    "ZPL-2.1",
];

/// What may follow WITH.
const EXCEPTIONS: [&str; 8] = [
    "Autoconf-exception-2.0",
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-3.1",
    "Linux-syscall-note",
    "LLVM-exception",
    "OCaml-LGPL-linking-exception",
];

/// Licenses that Debian calls by other names.
///
/// # Source
/// Debian, "Machine-readable debian/copyright file" 1.0, "Short name".
const OF_DEBIAN: [(&str, &str); 8] = [
    ("Expat", "MIT"),
    ("Artistic", "Artistic-1.0"),
    ("Perl", "(GPL-1.0-or-later OR Artistic-1.0)"),
    ("Python", "Python-2.0"),
    ("CC0", "CC0-1.0"),
    ("CDDL", "CDDL-1.0"),
    ("QPL", "QPL-1.0"),
    ("Zope", "ZPL-2.1"),
];

/// Names joined by AND, OR and WITH, with brackets.
///
/// # Source
/// SPDX specification 2.3, annex D.
pub(super) fn is_expression(text: &str) -> bool {
    let text = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut before) = (0usize, "(");
    for word in text.split_whitespace() {
        let after_operator = matches!(before, "AND" | "OR" | "(");
        let fits = match word {
            "(" => after_operator,
            ")" => !after_operator && before != "WITH" && depth > 0,
            "AND" | "OR" => !after_operator && before != "WITH",
            "WITH" => LICENSES.contains(&before),
            word if before == "WITH" => EXCEPTIONS.contains(&word),
            word => after_operator && LICENSES.contains(&word),
        };
        if !fits {
            return false;
        }
        depth = match word {
            "(" => depth + 1,
            ")" => depth - 1,
            _ => depth,
        };
        before = word;
    }
    depth == 0 && !matches!(before, "AND" | "OR" | "WITH" | "(")
}

/// What Debian calls `text` in the words of SPDX, as far as they are known: `GPL-2+ or Artistic`.
pub(super) fn of_debian(text: &str) -> String {
    // A comma binds less than `and` and `or`.
    let parts: Vec<String> = text.split(',').map(|part| part.trim().trim_start_matches("and ")).map(words).collect();
    match parts.as_slice() {
        [one] => one.clone(),
        several => several.iter().map(|part| bracketed(part)).collect::<Vec<_>>().join(" AND "),
    }
}

/// So that it may stand beside an AND.
pub(super) fn bracketed(expression: &str) -> String {
    if expression.contains(" OR ") && !expression.starts_with('(') {
        format!("({expression})")
    } else {
        expression.to_owned()
    }
}

fn words(text: &str) -> String {
    let word = |word: &str| match word {
        "and" => "AND".to_owned(),
        "or" => "OR".to_owned(),
        word => name_of_debian(word).unwrap_or_else(|| word.to_owned()),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn name_of_debian(word: &str) -> Option<String> {
    if let Some((_, name)) = OF_DEBIAN.iter().find(|(debian, _)| debian.eq_ignore_ascii_case(word)) {
        return Some((*name).to_owned());
    }
    if let Some(name) = LICENSES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
        return Some((*name).to_owned());
    }
    let (family, version) = word.rsplit_once('-')?;
    let family = family.to_ascii_uppercase();
    let (family, suffix) = match family.strip_suffix("-NIV") {
        Some(family) => (family, "-no-invariants"),
        None => (family.as_str(), ""),
    };
    let (number, later) = version.strip_suffix('+').map_or((version, "only"), |number| (number, "or-later"));
    let number = if number.contains('.') { number.to_owned() } else { format!("{number}.0") };
    let name = format!("{family}-{number}{suffix}-{later}");
    LICENSES.contains(&name.as_str()).then_some(name)
}
