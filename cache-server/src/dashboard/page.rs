//! The page. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use super::activity::{MINUTES, Minute, Recent, Traffic};
use crate::metrics::Gauges;

/// Rows of a table.
const ROWS: usize = 12;
const CHART_HEIGHT: f64 = 100.0;
/// Width of a minute in the chart.
const BAR: f64 = 5.0;

/// HTML of the whole page, as of `now`.
pub(super) fn render(recent: &Recent, gauges: &Gauges, now: Timestamp) -> String {
    let sections =
        [totals(recent, gauges), chart(recent, now), repositories(recent), manifests(recent), misses(recent, now)];
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>cache-server</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"30\">\
         <style>{}</style></head><body><header><h1>cache-server</h1><span class=\"soft\">{now:.0}</span></header>\
         <main>{}</main><footer>Since the start of the server, or the last {MINUTES} minutes where it says so. \
         <a href=\"/metrics\">Metrics</a></footer></body></html>",
        include_str!("style.css"),
        sections.concat(),
    )
}

fn totals(recent: &Recent, gauges: &Gauges) -> String {
    let mut sum = Traffic::default();
    recent.minutes.iter().for_each(|minute| sum.add(minute.traffic));
    let rate = sum.hit_rate().map_or("–".into(), |rate| format!("{:.1} %", rate * 100.0));
    let facts = [
        ("hit rate", rate),
        ("requests", sum.requests.to_string()),
        ("sent", bytes(sum.sent)),
        ("received", bytes(sum.received)),
        ("connections", gauges.connections.to_string()),
        ("uploads running", gauges.uploads.to_string()),
    ];
    let facts: String =
        facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect();
    format!("<section class=\"wide\"><h2>Last {MINUTES} minutes</h2><dl>{facts}</dl></section>")
}

/// Look-ups by minute: found upwards in one colour, not found on top in another.
fn chart(recent: &Recent, now: Timestamp) -> String {
    let newest = now.as_second().div_euclid(60);
    let highest = recent.minutes.iter().map(|minute| minute.traffic.hits + minute.traffic.misses).max().unwrap_or(0);
    let width = MINUTES as f64 * BAR;
    let bars: String = recent.minutes.iter().map(|minute| bar(minute, newest, highest)).collect();
    let label = format!("Manifests looked up per minute, {highest} at most");
    format!(
        "<section class=\"wide\"><h2>Look-ups</h2><p class=\"soft\">per minute, at most {highest}: \
         <span class=\"key hits\">found</span> <span class=\"key misses\">not found</span></p>\
         <svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"axis\" x1=\"0\" x2=\"{width}\" y1=\"{CHART_HEIGHT}\" y2=\"{CHART_HEIGHT}\"/>{bars}</svg></section>",
        height = CHART_HEIGHT + 1.0,
    )
}

fn bar(minute: &Minute, newest: i64, highest: u64) -> String {
    let age = newest - minute.number;
    if highest == 0 || !(0..MINUTES as i64).contains(&age) {
        return String::new();
    }
    let x = (MINUTES as i64 - 1 - age) as f64 * BAR;
    let scale = |count: u64| count as f64 / highest as f64 * CHART_HEIGHT;
    let (hits, misses) = (scale(minute.traffic.hits), scale(minute.traffic.misses));
    let piece = |class: &str, top: f64, height: f64| {
        format!("<rect class=\"{class}\" x=\"{x}\" y=\"{top:.2}\" width=\"{}\" height=\"{height:.2}\"/>", BAR - 1.0)
    };
    piece("hit", CHART_HEIGHT - hits, hits) + &piece("miss", CHART_HEIGHT - hits - misses, misses)
}

fn repositories(recent: &Recent) -> String {
    let rows = largest(&recent.repositories, |traffic| traffic.requests).into_iter().map(|(name, traffic)| {
        let (sent, received) = (bytes(traffic.sent), bytes(traffic.received));
        row(&[escape(name.as_str())], &[traffic.requests.to_string(), sent, received])
    });
    table("Repositories", &["repository"], &["requests", "sent", "received"], rows.collect())
}

fn manifests(recent: &Recent) -> String {
    let rows =
        largest(&recent.manifests, |traffic| traffic.hits).into_iter().map(|((repository, reference), traffic)| {
            row(
                &[format!("{}:{}", escape(repository.as_str()), escape(&short(reference)))],
                &[traffic.hits.to_string()],
            )
        });
    table("Hottest manifests", &["manifest"], &["found"], rows.collect())
}

fn misses(recent: &Recent, now: Timestamp) -> String {
    let rows = recent.misses.iter().map(|miss| {
        let age = (now.as_second() - miss.second).max(0);
        let name = format!("{}:{}", escape(miss.repository.as_str()), escape(&short(&miss.reference)));
        row(&[name, escape(&miss.identity)], &[format!("{age} s ago")])
    });
    let table = table("Recent misses", &["manifest", "asked by"], &["when"], rows.collect());
    table.replacen("<section", "<section class=\"wide\"", 1)
}

/// The entries with the highest figures, highest first; names decide between equals.
fn largest<K: Ord>(counts: &HashMap<K, Traffic>, figure: impl Fn(&Traffic) -> u64) -> Vec<(&K, &Traffic)> {
    let mut entries: Vec<_> = counts.iter().filter(|(_, traffic)| figure(traffic) > 0).collect();
    entries.sort_by(|a, b| figure(b.1).cmp(&figure(a.1)).then_with(|| a.0.cmp(b.0)));
    entries.truncate(ROWS);
    entries
}

fn table(title: &str, names: &[&str], figures: &[&str], rows: Vec<String>) -> String {
    if rows.is_empty() {
        return format!("<section><h2>{title}</h2><p class=\"soft\">nothing yet</p></section>");
    }
    let names: String = names.iter().map(|name| format!("<th>{name}</th>")).collect();
    let figures: String = figures.iter().map(|name| format!("<th class=\"number\">{name}</th>")).collect();
    let rows = rows.concat();
    format!(
        "<section><h2>{title}</h2><table><thead><tr>{names}{figures}</tr></thead><tbody>{rows}</tbody></table></section>"
    )
}

/// Cells of escaped text, then figures.
fn row(names: &[String], figures: &[String]) -> String {
    let names = names.iter().map(|name| format!("<td>{name}</td>"));
    let figures = figures.iter().map(|figure| format!("<td class=\"number\">{figure}</td>"));
    format!("<tr>{}</tr>", names.chain(figures).collect::<String>())
}

/// A digest with fewer digits.
fn short(reference: &str) -> String {
    let digest = reference.split_once(':').map(|(algorithm, hex)| (algorithm, hex.get(..12).unwrap_or(hex)));
    digest.map_or_else(|| reference.into(), |(algorithm, hex)| format!("{algorithm}:{hex}…"))
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn escape(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::super::activity::{Activity, Event, Subject};
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn the_page_says_what_happened_and_runs_nothing() {
        let activity = Activity::default();
        let now = Timestamp::from_second(6000).expect("valid");
        for (reference, status) in [("v1", StatusCode::OK), ("<script>", StatusCode::NOT_FOUND)] {
            let repository = "team/app".parse().expect("valid");
            let subject = Subject { repository, manifest: Some(reference.into()) };
            let event = Event {
                second: 5990,
                subject: Some(&subject),
                identity: "user:<b>",
                status,
                received: 0,
                sent: 1_500_000,
            };
            activity.record(&event);
        }
        let html = render(&activity.recent(), &Gauges { connections: 3, uploads: 0 }, now);
        for part in ["50.0 %", "3.0 MB", "team/app:v1", "team/app:&lt;script&gt;", "user:&lt;b&gt;", "10 s ago"] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert_eq!(html.matches("class=\"hit\"").count(), 1);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([bytes(0), bytes(999), bytes(1500), bytes(u64::MAX)], ["0 B", "999 B", "1.5 kB", "18446744.1 TB"]);
        assert_eq!(short(&format!("sha256:{}", "a".repeat(64))), "sha256:aaaaaaaaaaaa…");
        assert_eq!(short("v1"), "v1");
    }
}
