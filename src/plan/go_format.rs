//! How Go prints values: history entries are made with its verbs.

use std::fmt::Write as _;

/// `%v` of a list of strings.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `%q` of a list of strings.
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    list(&quoted)
}

/// `%q` of a string.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{07}' => out.push_str("\\a"),
            '\u{08}' => out.push_str("\\b"),
            '\u{0C}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0B}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c => push_escaped(&mut out, c),
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0x7f => write!(out, "\\x{code:02x}"),
        0x80..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Control, format and private characters and unusual spaces are not printable.
fn is_printable(c: char) -> bool {
    let formatting = matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E000}'..='\u{F8FF}' | '\u{E0000}'..='\u{10FFFF}');
    !(c.is_control() || formatting || (c.is_whitespace() && c != ' '))
}

/// A `time.Duration` of `nanoseconds`: `1h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
pub(super) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    let text = match value {
        0 => "0s".to_owned(),
        1..1_000 => format!("{value}ns"),
        1_000..1_000_000 => decimal(value, 1_000) + "µs",
        1_000_000..1_000_000_000 => decimal(value, 1_000_000) + "ms",
        _ => clock(value),
    };
    format!("{sign}{text}")
}

/// One second or more.
fn clock(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let minutes = nanoseconds / SECOND / 60;
    let seconds = decimal(nanoseconds - minutes * 60 * SECOND, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` with as many decimals as needed; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{part:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (5_000_000_000, "5s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-2_000_000_000, "-2s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn quoting() {
        let words = ["a \"b\"\\", "\t\n\u{1}", "é\u{a0}\u{e0001}"].map(str::to_owned);
        assert_eq!(quoted_list(&words), r#"["a \"b\"\\" "\t\n\x01" "é\u00a0\U000e0001"]"#);
        assert_eq!(quoted_list(&[]), "[]");
    }
}
