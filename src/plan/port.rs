//! EXPOSE: `[[ip:]host:]port[-end][/protocol]`.

use std::net::IpAddr;

/// More than every port of every protocol.
const MAX_PORTS: usize = 3 * 65536;

/// Why a word is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Nothing before the slash.
    #[error("no port specified: {0}<empty>")]
    None(String),
    /// Not tcp, udp or sctp.
    #[error("invalid proto: {0}")]
    Protocol(String),
    /// Before the host port, and no address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Not a number to 65535, or a reversed range.
    #[error("invalid containerPort: {0}")]
    Container(String),
    /// The same for the host's side.
    #[error("invalid hostPort: {0}")]
    Host(String),
    /// Ranges of different lengths.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// In the container.
        container: String,
        /// On the host.
        host: String,
    },
    /// The same ports again and again.
    #[error("EXPOSE of more than {MAX_PORTS} ports")]
    TooMany,
}

/// Adds the ports that `words` name to `ports`, as `80/tcp`, in order; ranges become single ports.
///
/// # Errors
/// The first bad word; addresses and host ports are checked, and then of no effect.
///
/// # Source
/// BuildKit, `dockerfile2llb/convert_expose.go`.
pub(super) fn parse(words: &[String], ports: &mut Vec<String>) -> Result<(), PortError> {
    for word in words {
        let (start, end, protocol) = parse_word(word)?;
        ports.extend((start..=end).map(|port| format!("{port}/{protocol}")));
        if ports.len() > MAX_PORTS {
            return Err(PortError::TooMany);
        }
    }
    Ok(())
}

fn parse_word(word: &str) -> Result<(u16, u16, String), PortError> {
    let (outside, container) = word.rsplit_once(':').map_or((None, word), |(o, c)| (Some(o), c));
    let (port, protocol) = split_protocol(container)?;
    let (address, host) = match outside {
        None => ("", ""),
        Some(outside) => outside.rsplit_once(':').unwrap_or(("", outside)),
    };
    check_address(address)?;
    let (start, end) = range(port).ok_or_else(|| PortError::Container(port.to_owned()))?;
    if !host.is_empty() {
        let (host_start, host_end) = range(host).ok_or_else(|| PortError::Host(host.to_owned()))?;
        if end != start && end - start != host_end - host_start {
            return Err(PortError::Ranges { container: port.to_owned(), host: host.to_owned() });
        }
    }
    Ok((start, end, protocol))
}

fn split_protocol(text: &str) -> Result<(&str, String), PortError> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, ""));
    if port.is_empty() {
        return Err(PortError::None(text.to_owned()));
    }
    match protocol.to_lowercase().as_str() {
        "" => Ok((port, "tcp".to_owned())),
        known @ ("tcp" | "udp" | "sctp") => Ok((port, known.to_owned())),
        other => Err(PortError::Protocol(other.to_owned())),
    }
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(PortError::Address(address.to_owned()))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some((start, end))
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(words: &str) -> Result<Vec<String>, PortError> {
        let mut ports = Vec::new();
        parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &mut ports)?;
        Ok(ports)
    }

    #[test]
    fn forms() {
        for (given, expected) in [
            ("80", "80/tcp"),
            ("80/", "80/tcp"),
            ("443/UDP 1000-1002", "443/udp 1000/tcp 1001/tcp 1002/tcp"),
            ("0.0.0.0:80:8080", "8080/tcp"),
            ("[::1]:80:8080/sctp", "8080/sctp"),
            ("::1:80:8080", "8080/tcp"),
            ("8000-8010:80", "80/tcp"),
            ("0", "0/tcp"),
            ("65534-65535", "65534/tcp 65535/tcp"),
        ] {
            let expected: Vec<String> = expected.split(' ').map(str::to_owned).collect();
            assert_eq!(ports(given), Ok(expected), "{given}");
        }
    }

    #[test]
    fn faults() {
        for (given, message) in [
            ("/tcp", "no port specified: /tcp<empty>"),
            ("80/icmp", "invalid proto: icmp"),
            ("abc", "invalid containerPort: abc"),
            ("70000", "invalid containerPort: 70000"),
            ("90-80", "invalid containerPort: 90-80"),
            ("1-2-3", "invalid containerPort: 1-2-3"),
            ("+80", "invalid containerPort: +80"),
            ("x:80", "invalid hostPort: x"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80-81:90-92", "invalid ranges specified for container and host Ports: 90-92 and 80-81"),
        ] {
            assert_eq!(ports(given).map_err(|error| error.to_string()), Err(message.to_owned()), "{given}");
        }
        assert_eq!(ports(&"0-65535 ".repeat(4)), Err(PortError::TooMany));
    }
}
