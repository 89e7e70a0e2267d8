//! The fields of a `--mount` value: one CSV record.

use super::MountError;

/// Splits `record` at its commas; a field in double quotes may hold commas, and `""` for a quote.
///
/// # Errors
/// [`MountError::Csv`] for stray or open quotes, line breaks, and an empty record.
///
/// # Source
/// RFC 4180, as Go's `encoding/csv` reads it.
pub(super) fn split(record: &str) -> Result<Vec<String>, MountError> {
    let bad = |reason| MountError::Csv { record: record.to_owned(), reason };
    if record.is_empty() {
        return Err(bad("EOF"));
    }
    if record.contains(['\n', '\r']) {
        return Err(bad("line break"));
    }
    let mut fields = Vec::new();
    let mut rest = Some(record);
    while let Some(text) = rest {
        let (field, after) = match text.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted).map_err(bad)?,
            None => take_bare(text).map_err(bad)?,
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

/// A field and what follows its comma, `None` at the end.
type Taken<'a> = (String, Option<&'a str>);

fn take_bare(text: &str) -> Result<Taken<'_>, &'static str> {
    let (field, rest) = text.split_once(',').map_or((text, None), |(field, rest)| (field, Some(rest)));
    if field.contains('"') {
        return Err("bare \" in non-quoted field");
    }
    Ok((field.to_owned(), rest))
}

/// Given what follows the opening quote.
fn take_quoted(text: &str) -> Result<Taken<'_>, &'static str> {
    const EXTRANEOUS: &str = "extraneous or missing \" in quoted-field";
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or(EXTRANEOUS)?;
        field.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if after.is_empty() {
            return Ok((field, None));
        } else {
            return Ok((field, Some(after.strip_prefix(',').ok_or(EXTRANEOUS)?)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn records() {
        for (record, fields) in [
            ("a", vec!["a"]),
            ("a,b=c,", vec!["a", "b=c", ""]),
            (r#""a,b",c"#, vec!["a,b", "c"]),
            (r#""say ""hi""""#, vec![r#"say "hi""#]),
            (" a", vec![" a"]),
        ] {
            assert_eq!(split(record).expect(record), fields, "{record}");
        }
        for bad in ["", "a\"b", "\"a", "\"a\"b", "a\nb"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
