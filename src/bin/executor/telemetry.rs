//! Traces of builds, for who asks for them by variables.

use std::time::Duration;

use yadokari::otlp::{self, Collector, CollectorError, Endpoint, TraceParent};
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
    collector: Collector,
    context: TraceContext,
}

impl Telemetry {
    /// Nothing when no variable asks for it.
    ///
    /// # Source
    /// Kaniko's fork: `KANIKO_TELEMETRY_ENDPOINT`, `KANIKO_TELEMETRY_OMIT_DOCKERFILE`; see [`Collector::find`].
    ///
    /// # Errors
    /// As [`Collector::find`].
    pub(crate) fn from_env(env: Environment<'_>) -> Result<Option<Self>, CollectorError> {
        let set = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let kaniko = set("KANIKO_TELEMETRY_ENDPOINT").map(|url| match has_path(&url) {
            true => Endpoint::Exact(url),
            false => Endpoint::Base(url),
        });
        let Some(collector) = Collector::find("yadokari-executor", kaniko, set)? else { return Ok(None) };
        let caller = set("TRACEPARENT").and_then(|text| TraceParent::parse(&text));
        let with_instructions =
            set("KANIKO_TELEMETRY_OMIT_DOCKERFILE").is_none_or(|value| matches!(value.as_str(), "0" | "false"));
        let context = TraceContext {
            trace: caller.map_or_else(|| u128::from(random()) << 64 | u128::from(random()), |caller| caller.trace),
            parent: caller.map(|caller| caller.span),
            seed: (random() >> 32) as u32 | 1,
            with_instructions,
        };
        Ok(Some(Self { collector, context }))
    }

    /// Sends the trace. What goes wrong is a warning: the build is over.
    pub(crate) fn send(&self, recording: &Recording, observer: &dyn Observer) {
        let spans = trace(recording, &self.context);
        let body = otlp::document(&self.collector.resource, "yadokari", &spans).to_string();
        let (agent, url) = (web_agent(false), &self.collector.url);
        let patience = self.collector.timeout.unwrap_or(PATIENCE);
        let mut request = agent.post(url).config().timeout_global(Some(patience)).http_status_as_error(false).build();
        for (name, value) in &self.collector.headers {
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
        observer.event(Event::Warning(format!("the trace was not sent to {url}: {refused}")));
    }
}

fn has_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').is_some_and(|(_, path)| !path.is_empty())
}

fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Each `RandomState` has keys of its own, from the system.
    RandomState::new().hash_one(std::process::id()) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(pairs: &[(&str, &str)]) -> Option<Telemetry> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Telemetry::from_env(&find).expect("valid")
    }

    #[test]
    fn endpoints() {
        for (pairs, url) in [
            (&[][..], None),
            (&[("KANIKO_TELEMETRY_ENDPOINT", "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[("KANIKO_TELEMETRY_ENDPOINT", "http://c:4318/own/path")], Some("http://c:4318/own/path")),
            (
                &[("KANIKO_TELEMETRY_ENDPOINT", "http://c/x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://d")],
                Some("http://c/x"),
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")], Some("http://c:4318/v1/traces")),
        ] {
            assert_eq!(telemetry(pairs).map(|telemetry| telemetry.collector.url).as_deref(), url, "{pairs:?}");
        }
    }

    #[test]
    fn a_build_joins_its_callers_trace() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let parent = ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let found = telemetry(&[endpoint, parent, ("KANIKO_TELEMETRY_OMIT_DOCKERFILE", "true")]).expect("an endpoint");
        assert_eq!(found.context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(found.context.parent, Some(0xb7ad_6b71_6920_3331));
        assert!(!found.context.with_instructions);
        let alone = telemetry(&[endpoint, ("TRACEPARENT", "00-0-0-01")]).expect("an endpoint");
        assert!(alone.context.parent.is_none() && alone.context.trace != 0 && alone.context.with_instructions);
    }
}
