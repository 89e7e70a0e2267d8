//! Figures and names as the page shows them. Pure.

/// A digest with fewer digits.
pub(super) fn short(reference: &str) -> String {
    if reference.len() > 40 && !reference.contains(':') {
        // A cache key, mostly.
        return format!("{}…", reference.chars().take(16).collect::<String>());
    }
    let digest = reference.split_once(':').map(|(algorithm, hex)| (algorithm, hex.get(..12).unwrap_or(hex)));
    digest.map_or_else(|| reference.into(), |(algorithm, hex)| format!("{algorithm}:{hex}…"))
}

pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// A time in its two largest units.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A share of a whole, in percent.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([bytes(0), bytes(999), bytes(1500), bytes(u64::MAX)], ["0 B", "999 B", "1.5 kB", "18446744.1 TB"]);
        assert_eq!(short(&format!("sha256:{}", "a".repeat(64))), "sha256:aaaaaaaaaaaa…");
        assert_eq!([short("v1"), short(&"b".repeat(64))], ["v1".to_owned(), format!("{}…", "b".repeat(16))]);
        let times = [0, 119, 120, 7200, 200_000].map(time);
        assert_eq!(times, ["0 s", "119 s", "2 min", "2 h 0 min", "2 d 7 h"]);
        assert_eq!([percent(1, 4), percent(1, 0)], [25.0, 0.0]);
    }
}
