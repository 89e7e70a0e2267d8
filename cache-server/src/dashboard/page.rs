//! The page. Pure.

use jiff::Timestamp;

use super::activity::MINUTES;
use super::sections;
use super::view::View;

/// HTML of the whole page, as of `now`.
pub(super) fn render(view: &View, now: Timestamp) -> String {
    let sections = [
        sections::totals(view),
        sections::storage(view),
        sections::chart(&view.recent, now),
        sections::repositories(view),
        sections::hottest(&view.hottest),
        sections::largest(&view.largest),
        sections::leases(view),
        sections::mirrors(&view.mirrors, now),
        sections::misses(view, now),
    ];
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;

    use super::super::activity::{Activity, Event, LookedUp, Saved, Subject};
    use super::*;
    use crate::demand::Wanted;
    use crate::leases::Running;
    use crate::metrics::Gauges;
    use crate::mirror::MirrorState;
    use crate::name::{RepositoryName, Tag};
    use crate::storage::{Absence, Holdings, Large};

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("valid")
    }

    fn activity() -> Activity {
        let activity = Activity::default();
        for (reference, status) in [("v1", StatusCode::OK), ("<script>", StatusCode::NOT_FOUND)] {
            let subject = Subject { repository: name("team/app"), manifest: Some(reference.into()) };
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
        let key: Tag = "aaaa".parse().expect("valid");
        activity.looked_up(&LookedUp {
            second: 5995,
            repository: &name("cache"),
            identity: "token:ci",
            found: Saved { records: 2, bytes: 7_000_000, millis: 90_000 },
            missed: &[&key],
        });
        activity
    }

    #[test]
    fn the_page_says_what_happened_and_runs_nothing() {
        let failure = Some((5000, "no <i>route</i>".to_owned()));
        let view = View {
            recent: activity().recent(),
            gauges: Gauges { connections: 3, uploads: 0 },
            used_bytes: 50,
            max_bytes: Some(200),
            holdings: vec![Holdings { repository: "cache".into(), bytes: 4_000_000, manifests: 17 }],
            largest: vec![Large { bytes: 9_000_000, repository: "cache".into(), reference: "b".repeat(64) }],
            hottest: vec![Wanted {
                repository: name("docker.io/library/alpine"),
                reference: "3".parse().expect("valid"),
                weight: 12.34,
            }],
            leases: vec![Running {
                repository: name("cache"),
                tag: "cccc".parse().expect("valid"),
                age: Duration::from_secs(61),
                left: Duration::from_secs(9),
            }],
            lease_count: 1,
            mirrors: vec![(
                "docker.io".into(),
                MirrorState { failures: 1, last_failure: failure, ..MirrorState::default() },
            )],
            absences: vec![Absence::Evicted(5_940_000), Absence::Elsewhere("other".into())],
        };
        let html = render(&view, Timestamp::from_second(6000).expect("valid")).replace("<wbr>", "");
        for part in [
            "60.0 %",
            "3.0 MB",
            "team/app:&lt;script&gt;",
            "user:&lt;b&gt;",
            "10 s ago",
            "7.0 MB",
            "90 s",
            "25.0 %",
            "4.0 MB",
            "17",
            "bbbbbbbbbbbbbbbb…",
            "docker.io/library/alpine:3",
            "12.3",
            "cache:cccc",
            "61 s",
            "no &lt;i&gt;route&lt;/i&gt;",
            "made room for others 60 s ago",
            "is in other",
        ] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        for tag in ["<script", "<b>", "<i>"] {
            assert!(!html.contains(tag), "{tag}\n{html}");
        }
        assert_eq!(html.matches("class=\"hit\"").count(), 1);
    }
}
