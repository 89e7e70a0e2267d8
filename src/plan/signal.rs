//! Names of signals.

/// Is `text` a number other than 0, or the name of a Linux signal, with or without `SIG`?
///
/// # Source
/// `moby/sys/signal`, `ParseSignal`.
pub(super) fn is_valid(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_realtime(name)
}

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// `RTMIN+1` to `RTMIN+15`, `RTMAX-1` to `RTMAX-14`.
fn is_realtime(name: &str) -> bool {
    let within = |prefix: &str, last: usize| {
        name.strip_prefix(prefix).is_some_and(|number| (1..=last).any(|n| n.to_string() == number))
    };
    within("RTMIN+", 15) || within("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn names_and_numbers() {
        for good in ["9", "SIGTERM", "term", "SigKill", "RTMIN+3", "SIGRTMAX-14", "100"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "0", "SIGNOPE", "SIG", "RTMIN+16", "RTMAX-15", "RTMIN+", "1x", "RTMIN+01"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
