use percent_encoding::percent_decode_str;
use url::Url;

/// Where spans go, and what they say of this server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TelemetrySettings {
    /// Of the collector's endpoint for traces.
    pub(super) url: String,
    /// May hold secrets: never printed.
    pub(super) headers: Vec<(String, String)>,
    /// Attributes of the resource, `service.name` among them.
    pub(super) resource: Vec<(String, String)>,
}

/// Why there can be no tracing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TelemetryError {
    #[error("invalid OTLP endpoint {0:?}: expected http[s]://HOST[:PORT][/PATH], of OTLP over HTTP")]
    Endpoint(String),
    #[error("{0}: expected NAME=VALUE,NAME=VALUE")]
    List(&'static str),
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL {0:?} is not supported: expected http/json")]
    Protocol(String),
}

impl TelemetrySettings {
    /// From `--otlp-endpoint`, else from the standard variables; `None` when nothing names a collector.
    ///
    /// # Source
    /// OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "General SDK configuration".
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub(crate) fn find(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TelemetryError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if endpoint.is_none() && set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        // One for all signals is a base, one for traces is taken as it is.
        let base = endpoint.map(str::to_owned).or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let exact = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").filter(|_| endpoint.is_none());
        let url = match (exact, base) {
            (Some(exact), _) => checked(&exact)?,
            (None, Some(base)) => format!("{}/v1/traces", checked(&base)?.trim_end_matches('/')),
            (None, None) => return Ok(None),
        };
        let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        // Collectors that take the one over HTTP take the other.
        if let Some(other) = protocol.filter(|name| !matches!(name.as_str(), "http/json" | "http/protobuf")) {
            return Err(TelemetryError::Protocol(other));
        }
        let mut headers = list("OTEL_EXPORTER_OTLP_HEADERS", set("OTEL_EXPORTER_OTLP_HEADERS"))?;
        headers.extend(list("OTEL_EXPORTER_OTLP_TRACES_HEADERS", set("OTEL_EXPORTER_OTLP_TRACES_HEADERS"))?);
        let mut resource = list("OTEL_RESOURCE_ATTRIBUTES", set("OTEL_RESOURCE_ATTRIBUTES"))?;
        let named = resource.iter().position(|(name, _)| name == "service.name").map(|index| resource.remove(index).1);
        let service = set("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| "cache-server".into());
        resource.insert(0, ("service.name".into(), service));
        Ok(Some(Self { url, headers, resource }))
    }
}

impl std::fmt::Debug for TelemetrySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelemetrySettings").field("url", &self.url).finish_non_exhaustive()
    }
}

fn checked(text: &str) -> Result<String, TelemetryError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // A secret in the address would be printed with it.
    let plain = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
    let shown = if text.contains(['@', '?']) { "…" } else { text };
    plain.map(Into::into).ok_or_else(|| TelemetryError::Endpoint(shown.into()))
}

fn list(variable: &'static str, text: Option<String>) -> Result<Vec<(String, String)>, TelemetryError> {
    let text = text.unwrap_or_default();
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or(TelemetryError::List(variable))?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| TelemetryError::List(variable))?;
        let is_value = !name.trim().is_empty() && !value.chars().any(char::is_control);
        is_value.then(|| (name.trim().to_owned(), value.into_owned())).ok_or(TelemetryError::List(variable))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<TelemetrySettings>, TelemetryError> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        TelemetrySettings::find(endpoint, variable)
    }

    fn url(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        find(endpoint, variables).expect("valid").map(|settings| settings.url)
    }

    #[test]
    fn the_flag_wins_over_the_standard_variables() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/push");
        assert_eq!(url(None, &[]), None);
        assert_eq!(url(None, &[base]).as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(url(None, &[base, exact]).as_deref(), Some("http://traces:4318/push"));
        assert_eq!(url(Some("https://x/a"), &[base, exact]).as_deref(), Some("https://x/a/v1/traces"));
        assert_eq!(url(None, &[base, ("OTEL_SDK_DISABLED", "true")]), None);
    }

    #[test]
    fn headers_and_attributes_are_lists() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20x, a=b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=cache,team=build"),
        ];
        let settings = find(Some("http://c:4318"), &variables).expect("valid").expect("some");
        assert_eq!(settings.headers, [("authorization".into(), "Basic x".into()), ("a".into(), "b".into())]);
        assert_eq!(settings.resource, [("service.name".into(), "cache".into()), ("team".into(), "build".into())]);
        assert!(!format!("{settings:?}").contains("Basic"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["collector:4318", "grpc://c:4317", "http://user:secret@c", "http://c?x=secret"] {
            let error = find(Some(bad), &[]).expect_err(bad).to_string();
            assert!(error.starts_with("invalid OTLP endpoint") && !error.contains("secret"), "{error}");
        }
        let other = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(find(Some("http://c"), &other).err(), Some(TelemetryError::Protocol("grpc".into())));
        for bad in ["nothing", "=x", "a=%0d%0ab"] {
            assert!(find(Some("http://c"), &[("OTEL_EXPORTER_OTLP_HEADERS", bad)]).is_err(), "{bad}");
        }
    }
}
