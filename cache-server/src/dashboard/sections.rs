//! The parts of the page. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::activity::{MINUTES, Minute, Recent, Traffic};
use super::text::{bytes, escape, percent, short, time};
use super::view::{ROWS, View};
use crate::demand::Wanted;
use crate::mirror::MirrorState;
use crate::name::RepositoryName;
use crate::storage::{Absence, Large};

const CHART_HEIGHT: f64 = 100.0;
/// Width of a minute in the chart.
const BAR: f64 = 5.0;

/// Sums over the minutes that are remembered.
pub(super) fn totals(view: &View) -> String {
    let mut sum = Traffic::default();
    view.recent.minutes.iter().for_each(|minute| sum.add(minute.traffic));
    let rate = sum.hit_rate().map_or("–".into(), |rate| format!("{:.1} %", rate * 100.0));
    let facts = facts(&[
        ("hit rate", rate),
        ("time saved", time(Duration::from_millis(sum.saved_millis).as_secs())),
        ("layers saved", bytes(sum.saved_bytes)),
        ("requests", sum.requests.to_string()),
        ("sent", bytes(sum.sent)),
        ("received", bytes(sum.received)),
        ("connections", view.gauges.connections.to_string()),
        ("uploads running", view.gauges.uploads.to_string()),
    ]);
    format!("<section class=\"wide\"><h2>Last {MINUTES} minutes</h2>{facts}</section>")
}

/// What is used of what may be.
pub(super) fn storage(view: &View) -> String {
    let used = bytes(view.used_bytes);
    let Some(limit) = view.max_bytes else {
        return format!(
            "<section class=\"wide\"><h2>Storage</h2><p>{used}, and no <code>--max-bytes</code></p></section>"
        );
    };
    let share = percent(view.used_bytes, limit);
    format!(
        "<section class=\"wide\"><h2>Storage</h2><p>{used} of {limit} <span class=\"soft\">{share:.1} %</span></p>\
         <svg class=\"meter\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{share:.1} %\"><rect class=\"rail\" width=\"100\" height=\"1\"/>\
         <rect class=\"used\" width=\"{shown:.1}\" height=\"1\"/></svg></section>",
        shown = share.min(100.0),
        limit = bytes(limit),
    )
}

/// Look-ups by minute: found upwards in one colour, not found on top in another.
pub(super) fn chart(recent: &Recent, now: Timestamp) -> String {
    let newest = now.as_second().div_euclid(60);
    let highest = recent.minutes.iter().map(|minute| minute.traffic.hits + minute.traffic.misses).max().unwrap_or(0);
    let width = MINUTES as f64 * BAR;
    let bars: String = recent.minutes.iter().map(|minute| bar(minute, newest, highest)).collect();
    let label = format!("Manifests and records looked up per minute, {highest} at most");
    format!(
        "<section class=\"wide\"><h2>Look-ups</h2><p class=\"soft\">per minute, at most {highest}: \
         <span class=\"key hits\">found</span> <span class=\"key misses\">not found</span></p>\
         <svg class=\"chart\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"axis\" x1=\"0\" x2=\"{width}\" y1=\"{CHART_HEIGHT}\" y2=\"{CHART_HEIGHT}\"/>{bars}</svg>\
         <p class=\"soft ends\"><span>{MINUTES} minutes ago</span><span>now</span></p></section>",
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
    let rate = minute.traffic.hit_rate().map_or(String::new(), |rate| format!("{:.0} % found", rate * 100.0));
    let piece = |class: &str, top: f64, height: f64| {
        format!("<rect class=\"{class}\" x=\"{x}\" y=\"{top:.2}\" width=\"{}\" height=\"{height:.2}\"/>", BAR - 1.0)
    };
    let pieces = piece("hit", CHART_HEIGHT - hits, hits) + &piece("miss", CHART_HEIGHT - hits - misses, misses);
    format!("<g><title>{rate}</title>{pieces}</g>")
}

/// What each repository holds, and what came and went.
pub(super) fn repositories(view: &View) -> String {
    let traffic = |name: &str| {
        let name: Option<RepositoryName> = name.parse().ok();
        name.and_then(|name| view.recent.repositories.get(&name)).copied().unwrap_or_default()
    };
    let rows = view.holdings.iter().map(|holdings| {
        let traffic = traffic(&holdings.repository);
        let rate = traffic.hit_rate().map_or("–".into(), |rate| format!("{:.0} %", rate * 100.0));
        let figures =
            [bytes(holdings.bytes), holdings.manifests.to_string(), rate, bytes(traffic.sent), bytes(traffic.received)];
        row([breakable(&holdings.repository)], figures)
    });
    let figures = ["holds", "manifests", "found", "sent", "received"];
    wide(&table("Repositories", &["repository"], &figures, rows))
}

pub(super) fn hottest(hottest: &[Wanted]) -> String {
    let rows = hottest.iter().map(|wanted| {
        let name = thing(wanted.repository.as_str(), &wanted.reference.to_string());
        row([name], [format!("{:.1}", wanted.weight)])
    });
    let table = table("Asked for most", &["manifest or record"], &["requests"], rows);
    noted(&table, "a request counts half after a day")
}

pub(super) fn largest(largest: &[Large]) -> String {
    let rows = largest.iter().map(|large| row([thing(&large.repository, &large.reference)], [bytes(large.bytes)]));
    let table = table("Largest", &["manifest or record"], &["size"], rows);
    noted(&table, "with all that it is made of")
}

pub(super) fn leases(view: &View) -> String {
    let rows = view.leases.iter().map(|lease| {
        let figures = [time(lease.age.as_secs()), time(lease.left.as_secs())];
        row([thing(lease.repository.as_str(), lease.tag.as_str())], figures)
    });
    let more = view.lease_count.saturating_sub(ROWS);
    let title = if more > 0 { format!("Running leases, and {more} more") } else { "Running leases".into() };
    wide(&table(&title, &["record that is being made"], &["held for", "ends in"], rows))
}

pub(super) fn mirrors(mirrors: &[(String, MirrorState)], now: Timestamp) -> String {
    let rows = mirrors.iter().map(|(name, state)| {
        let works = match (&state.last_failure, state.last_answer) {
            (Some((failed, why)), answered) if answered.is_none_or(|answered| answered < *failed) => {
                format!("<span class=\"bad\">failed {}</span>: {}", ago(now, *failed), escape(why))
            }
            (_, Some(answered)) => format!("answered {}", ago(now, answered)),
            _ => "not asked yet".into(),
        };
        let figures = [state.answers.to_string(), state.failures.to_string(), bytes(state.bytes)];
        row([escape(name), works], figures)
    });
    wide(&table("Mirrors", &["registry", "state"], &["answers", "failures", "fetched"], rows))
}

pub(super) fn misses(view: &View, now: Timestamp) -> String {
    let rows = view.recent.misses.iter().zip(&view.absences).map(|(miss, absence)| {
        let name = thing(miss.repository.as_str(), &miss.reference);
        row([name, reason(absence, now), escape(&miss.identity)], [ago(now, miss.second)])
    });
    wide(&table("Recent misses", &["manifest or record", "why", "asked by"], &["when"], rows))
}

fn reason(absence: &Absence, now: Timestamp) -> String {
    match absence {
        Absence::StoredSince => "it was stored after that".into(),
        Absence::Incomplete => "it is here, but a blob of it is gone".into(),
        // Milliseconds of a time fit.
        Absence::Evicted(at) => format!("it made room for others {}", ago(now, (at / 1000) as i64)),
        Absence::Elsewhere(repository) => format!("it is in {}, which was not asked", escape(repository)),
        Absence::Never => "nobody has stored it".into(),
    }
}

fn ago(now: Timestamp, second: i64) -> String {
    format!("{} ago", time(now.as_second().saturating_sub(second).max(0).unsigned_abs()))
}

fn thing(repository: &str, reference: &str) -> String {
    breakable(&format!("{repository}:{}", short(reference)))
}

/// A long name, that may go on in the next line where one of its parts ends.
fn breakable(name: &str) -> String {
    escape(name).replace('/', "/<wbr>").replace(':', ":<wbr>")
}

fn facts(facts: &[(&str, String)]) -> String {
    let facts: String =
        facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect();
    format!("<dl>{facts}</dl>")
}

fn wide(section: &str) -> String {
    section.replacen("<section", "<section class=\"wide\"", 1)
}

/// The section with a line below its heading.
fn noted(section: &str, note: &str) -> String {
    section.replacen("</h2>", &format!("</h2><p class=\"soft\">{note}</p>"), 1)
}

/// A row of a table: cells of HTML, then figures.
struct Row {
    cells: Vec<String>,
    figures: Vec<String>,
}

fn row(cells: impl Into<Vec<String>>, figures: impl Into<Vec<String>>) -> Row {
    Row { cells: cells.into(), figures: figures.into() }
}

/// A table. Every cell but the first one knows the name of its column: narrow screens show no head.
fn table(title: &str, names: &[&str], figures: &[&str], rows: impl Iterator<Item = Row>) -> String {
    let rows: String = rows.map(|row| tr(&row, names, figures)).collect();
    if rows.is_empty() {
        return format!("<section><h2>{title}</h2><p class=\"soft\">nothing yet</p></section>");
    }
    let names: String = names.iter().map(|name| format!("<th>{name}</th>")).collect();
    let figures: String = figures.iter().map(|name| format!("<th class=\"number\">{name}</th>")).collect();
    format!(
        "<section><h2>{title}</h2><table><thead><tr>{names}{figures}</tr></thead>\
         <tbody>{rows}</tbody></table></section>"
    )
}

fn tr(row: &Row, names: &[&str], figures: &[&str]) -> String {
    let first = row.cells.iter().take(1).map(|cell| format!("<td>{cell}</td>"));
    let cells = row.cells.iter().zip(names).skip(1);
    let cells = cells.map(|(cell, name)| format!("<td data-name=\"{name}\">{cell}</td>"));
    let figures = row.figures.iter().zip(figures);
    let figures = figures.map(|(figure, name)| format!("<td class=\"number\" data-name=\"{name}\">{figure}</td>"));
    format!("<tr>{}</tr>", first.chain(cells).chain(figures).collect::<String>())
}
