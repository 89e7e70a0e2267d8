use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

/// Where spans go, and what they say of the program that sends them.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector {
    /// Of the endpoint for traces; without user and query.
    pub url: String,
    /// May hold secrets: never printed.
    pub headers: Vec<(String, String)>,
    /// Attributes of the program, `service.name` among them.
    pub resource: Vec<(String, String)>,
    /// A request may take so long, when something says so.
    pub timeout: Option<Duration>,
}

/// An address that a program was given for itself; it counts before OpenTelemetry's own variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Of all signals: traces are below it, at `/v1/traces`.
    Base(String),
    /// Of traces.
    Exact(String),
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CollectorError {
    /// The address is no URL, or holds a user or a query: those may be secrets, and headers are the place for them.
    #[error("invalid OTLP endpoint {0:?}: expected http[s]://HOST[:PORT][/PATH], of OTLP over HTTP")]
    Endpoint(String),
    /// A variable that is no list.
    #[error("{0}: expected NAME=VALUE,NAME=VALUE")]
    List(&'static str),
    /// Another protocol was asked for.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL {0:?} is not supported: expected http/json")]
    Protocol(String),
    /// A variable that is no time.
    #[error("{0}: expected a number of milliseconds")]
    Time(&'static str),
}

impl Collector {
    /// From the program's own endpoint, else from the standard variables; `None` when nothing names a collector.
    /// `service` is the program's name when nothing else is said.
    ///
    /// # Source
    /// OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "General SDK configuration".
    ///
    /// # Errors
    /// See [`CollectorError`].
    pub fn find(
        service: &str,
        endpoint: Option<Endpoint>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, CollectorError> {
        let set = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let general = || if is_off(&set) { None } else { standard(&set) };
        let url = match endpoint.or_else(general) {
            Some(Endpoint::Exact(exact)) => checked(&exact)?,
            Some(Endpoint::Base(base)) => format!("{}/v1/traces", checked(&base)?.trim_end_matches('/')),
            None => return Ok(None),
        };
        let either = |one: &str, other: &str| set(one).or_else(|| set(other));
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        // Collectors that take the one over HTTP take the other.
        if let Some(other) = protocol.filter(|name| !matches!(name.as_str(), "http/json" | "http/protobuf")) {
            return Err(CollectorError::Protocol(other));
        }
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = timeout.map(|text| text.parse().map(Duration::from_millis)).transpose();
        Ok(Some(Self {
            url,
            headers: headers(&set)?,
            resource: resource(service, &set)?,
            timeout: timeout.map_err(|_| CollectorError::Time("OTEL_EXPORTER_OTLP_TIMEOUT"))?,
        }))
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("url", &self.url).finish_non_exhaustive()
    }
}

fn is_off(set: &impl Fn(&str) -> Option<String>) -> bool {
    set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none")
}

fn standard(set: &impl Fn(&str) -> Option<String>) -> Option<Endpoint> {
    let exact = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(Endpoint::Exact);
    exact.or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT").map(Endpoint::Base))
}

fn checked(text: &str) -> Result<String, CollectorError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // A secret in the address would be printed with it.
    let plain = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
    let shown = if text.contains(['@', '?']) { "…" } else { text };
    plain.map(Into::into).ok_or_else(|| CollectorError::Endpoint(shown.into()))
}

fn headers(set: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, CollectorError> {
    let mut headers = list("OTEL_EXPORTER_OTLP_HEADERS", set)?;
    for (name, value) in list("OTEL_EXPORTER_OTLP_TRACES_HEADERS", set)? {
        headers.retain(|(general, _)| !general.eq_ignore_ascii_case(&name));
        headers.push((name, value));
    }
    Ok(headers)
}

fn resource(service: &str, set: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, CollectorError> {
    let mut resource = list("OTEL_RESOURCE_ATTRIBUTES", set)?;
    let named = resource.iter().position(|(name, _)| name == "service.name").map(|index| resource.remove(index).1);
    let service = set("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| service.to_owned());
    resource.insert(0, ("service.name".into(), service));
    Ok(resource)
}

/// `NAME=VALUE` between commas, percent-encoded.
fn list(
    variable: &'static str,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, CollectorError> {
    let text = set(variable).unwrap_or_default();
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or(CollectorError::List(variable))?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| CollectorError::List(variable))?;
        let is_value = !name.trim().is_empty() && !value.chars().any(char::is_control);
        is_value.then(|| (name.trim().to_owned(), value.into_owned())).ok_or(CollectorError::List(variable))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Collector>, CollectorError> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Collector::find("cache", endpoint.map(|text| Endpoint::Base(text.into())), variable)
    }

    fn url(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        find(endpoint, variables).expect("valid").map(|collector| collector.url)
    }

    #[test]
    fn the_own_endpoint_wins_over_the_standard_variables() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/push");
        assert_eq!(url(None, &[]), None);
        assert_eq!(url(None, &[base]).as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(url(None, &[base, exact]).as_deref(), Some("http://traces:4318/push"));
        assert_eq!(url(Some("https://x/a"), &[base, exact]).as_deref(), Some("https://x/a/v1/traces"));
        assert_eq!(url(None, &[base, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(url(None, &[base, ("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn headers_and_attributes_are_lists() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20x, a=b"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "A=c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=build,service.name=other"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ];
        let collector = find(Some("http://c:4318"), &variables).expect("valid").expect("some");
        assert_eq!(collector.headers, [("authorization".into(), "Basic x".into()), ("A".into(), "c".into())]);
        assert_eq!(collector.resource, [("service.name".into(), "other".into()), ("team".into(), "build".into())]);
        assert_eq!(collector.timeout, Some(Duration::from_millis(1500)));
        assert!(!format!("{collector:?}").contains("Basic"));
        let unnamed = find(Some("http://c:4318"), &[]).expect("valid").expect("some");
        assert_eq!(unnamed.resource, [("service.name".into(), "cache".into())]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["collector:4318", "grpc://c:4317", "http://user:secret@c", "http://c?x=secret"] {
            let error = find(Some(bad), &[]).expect_err(bad).to_string();
            assert!(error.starts_with("invalid OTLP endpoint") && !error.contains("secret"), "{error}");
        }
        let other = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(find(Some("http://c"), &other).err(), Some(CollectorError::Protocol("grpc".into())));
        assert!(find(Some("http://c"), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")]).is_err());
        for bad in ["nothing", "=x", "a=%0d%0ab"] {
            assert!(find(Some("http://c"), &[("OTEL_EXPORTER_OTLP_HEADERS", bad)]).is_err(), "{bad}");
        }
    }
}
