//! Traces of builds, for who asks for them by variables.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use yadokari::registry::web_agent;
use yadokari::report::{Event, Observer, Recording, TraceContext, trace};

use crate::command_line::settings::Environment;

/// OpenTelemetry's default is 10 s; a build should not wait for it that long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a server's answer, bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Where traces go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Telemetry {
    url: String,
    headers: Vec<(String, String)>,
    patience: Duration,
    context: TraceContext,
}

impl Telemetry {
    /// Nothing when no variable asks for it.
    ///
    /// # Source
    /// Kaniko's fork: `KANIKO_TELEMETRY_ENDPOINT`, `KANIKO_TELEMETRY_OMIT_DOCKERFILE`; OpenTelemetry, "OTLP Exporter
    /// Configuration", "Environment Variable Specification".
    pub(crate) fn from_env(env: Environment<'_>) -> Option<Self> {
        let set = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_off || set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none") {
            return None;
        }
        let kaniko = || set("KANIKO_TELEMETRY_ENDPOINT").map(|url| if has_path(&url) { url } else { below(&url) });
        let general = || set("OTEL_EXPORTER_OTLP_ENDPOINT").map(|url| below(&url));
        let url = kaniko().or_else(|| set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")).or_else(general)?;
        let headers = set("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| set("OTEL_EXPORTER_OTLP_HEADERS"));
        let timeout = set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| set("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let patience = timeout.and_then(|text| text.parse().ok()).map_or(PATIENCE, Duration::from_millis);
        let mut resource = pairs(&set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(name) = set("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".into(), name));
        } else if !resource.iter().any(|(key, _)| key == "service.name") {
            resource.push(("service.name".into(), "yadokari-executor".into()));
        }
        let parent = set("TRACEPARENT").and_then(|text| TraceContext::parse_parent(&text));
        let [own, seed] = random();
        let (trace, parent) = parent.map_or((own, None), |(trace, parent)| (trace, Some(parent)));
        let with_instructions =
            set("KANIKO_TELEMETRY_OMIT_DOCKERFILE").is_none_or(|value| matches!(value.as_str(), "0" | "false"));
        let context = TraceContext { trace, parent, seed, resource, with_instructions };
        Some(Self { url, headers: pairs(&headers.unwrap_or_default()), patience, context })
    }

    /// Sends the trace. What goes wrong is a warning: the build is over.
    pub(crate) fn send(&self, recording: &Recording, observer: &dyn Observer) {
        let body = trace(recording, &self.context).to_string();
        let agent = web_agent(false);
        let mut request =
            agent.post(&self.url).config().timeout_global(Some(self.patience)).http_status_as_error(false).build();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let refused = match request.header("content-type", "application/json").send(body.as_bytes()) {
            Ok(mut answer) if answer.status().is_success() => {
                // Gives the connection back; what it says does not matter.
                let _ = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
                return;
            }
            Ok(answer) => format!("status {}", answer.status().as_u16()),
            Err(error) => error.to_string(),
        };
        observer.event(Event::Warning(format!("the trace was not sent to {}: {refused}", public(&self.url))));
    }
}

fn has_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').is_some_and(|(_, path)| !path.is_empty())
}

fn below(url: &str) -> String {
    format!("{}/v1/traces", url.trim_end_matches('/'))
}

/// Without user and query.
fn public(url: &str) -> String {
    let plain = url.split('?').next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => plain.to_owned(),
    }
}

/// `key=value` between commas, percent-encoded.
///
/// # Source
/// OpenTelemetry, "OTLP Exporter Configuration", "Specifying headers via environment variables".
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).filter(|(key, _)| !key.is_empty()).collect()
}

/// A name of a trace, and the first half of those of spans.
fn random() -> [String; 2] {
    use std::hash::{BuildHasher as _, RandomState};
    // Each `RandomState` has keys of its own, from the system.
    let number = || RandomState::new().hash_one(std::process::id()) | 1;
    [format!("{:016x}{:016x}", number(), number()), format!("{:08x}", number() >> 32 | 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(pairs: &[(&str, &str)]) -> Option<Telemetry> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Telemetry::from_env(&find)
    }

    #[test]
    fn endpoints() {
        for (pairs, url) in [
            (&[][..], None),
            (&[("KANIKO_TELEMETRY_ENDPOINT", "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[("KANIKO_TELEMETRY_ENDPOINT", "http://c:4318/own/path")], Some("http://c:4318/own/path")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")], Some("http://c:4318/v1/traces")),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://d")],
                Some("http://c/x"),
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_SDK_DISABLED", "true")], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_EXPORTER", "none")], None),
        ] {
            assert_eq!(telemetry(pairs).map(|telemetry| telemetry.url).as_deref(), url, "{pairs:?}");
        }
    }

    #[test]
    fn variables_of_opentelemetry() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = telemetry(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, b = c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("TRACEPARENT", parent),
            ("KANIKO_TELEMETRY_OMIT_DOCKERFILE", "true"),
        ]);
        let found = found.expect("an endpoint");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(found.headers, [pair("authorization", "Bearer x"), pair("b", "c")]);
        assert_eq!(found.context.resource, [pair("team", "b"), pair("service.name", "mine")]);
        assert_eq!(found.context.trace, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(found.context.parent.as_deref(), Some("b7ad6b7169203331"));
        assert!(!found.context.with_instructions);
        assert_eq!(public("https://user:secret@c.example/v1?token=x"), "https://c.example/v1");
        for wrong in ["", "00-0-0-01", &parent.replace("00-0af", "ff-0af"), &parent.to_uppercase()] {
            assert_eq!(TraceContext::parse_parent(wrong), None, "{wrong}");
        }
    }
}
