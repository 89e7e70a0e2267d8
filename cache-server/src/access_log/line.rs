use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::{LogFormat, LogLevel};

/// What a line says; what is absent is left out.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) time: String,
    pub(super) level: LogLevel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Bytes of the answer's body that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    /// Bytes of the request's body that were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<&'a str>,
    /// The answer was cut off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) aborted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
}

impl Line<'_> {
    /// An empty line of this moment.
    pub(super) fn new(level: LogLevel) -> Self {
        Line {
            time: format!("{:.3}", Timestamp::now()),
            level,
            message: None,
            method: None,
            path: None,
            status: None,
            bytes: None,
            received: None,
            ms: None,
            peer: None,
            identity: None,
            aborted: false,
            error: None,
        }
    }

    /// Writes the line to standard error.
    pub(super) fn write(&self, format: LogFormat) {
        let text = match format {
            LogFormat::Text => self.to_string(),
            // Texts and numbers: nothing can fail.
            LogFormat::Json => serde_json::to_string(self).unwrap_or_default(),
        };
        // Nobody reads the log: no reason to stop serving.
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.level == LogLevel::Error { "error" } else { "info" };
        write!(f, "{} level={level}", self.time)?;
        quoted(f, "message", self.message)?;
        plain(f, "method", self.method)?;
        quoted(f, "path", self.path)?;
        plain(f, "status", self.status)?;
        plain(f, "bytes", self.bytes)?;
        plain(f, "received", self.received)?;
        if let Some(ms) = self.ms {
            write!(f, " ms={ms:.3}")?;
        }
        plain(f, "peer", self.peer)?;
        quoted(f, "identity", self.identity)?;
        if self.aborted {
            f.write_str(" aborted=true")?;
        }
        quoted(f, "error", self.error)
    }
}

fn plain(f: &mut fmt::Formatter<'_>, name: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {name}={value}"))
}

/// Quotes and escapes: what comes from a client cannot make lines of its own.
fn quoted(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&str>) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    f.write_char(' ')?;
    write!(f, "{name}={value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let line =
            Line { path: Some("/a\nlevel=error"), aborted: true, status: Some(200), ..Line::new(LogLevel::Info) };
        let text = line.to_string();
        assert!(text.ends_with(r#" level=info path="/a\nlevel=error" status=200 aborted=true"#), "{text}");
        let json = serde_json::to_string(&line).expect("written");
        assert!(!json.contains('\n') && json.contains(r#""level":"info""#) && !json.contains("identity"), "{json}");
    }
}
