//! The report for people.

use std::fmt::Write as _;

use yadokari::report::human_bytes;
use yadokari::sandbox::Facts;

use super::{Report, files};

/// Escape sequences of a terminal, or nothing.
struct Colours(bool);

impl Colours {
    fn mark(&self, ok: bool) -> &'static str {
        match (self.0, ok) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (true, false) => "\x1b[31m✗\x1b[0m",
            (false, true) => "✓",
            (false, false) => "✗",
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Sections with a heading each.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let colours = Colours(colour);
    let mut text = String::new();
    section(&mut text, &colours, "Container", facts(&report.facts));
    section(&mut text, &colours, "RUN steps", sandboxes(report, &colours));
    section(&mut text, &colours, "Directories", directories(report, &colours));
    section(&mut text, &colours, "Credentials", credentials(report, &colours));
    section(&mut text, &colours, "Registries", registries(report, &colours));
    let verdict = if report.ok { "A build can run." } else { "A build cannot run as asked." };
    let _ = writeln!(text, "{}", colours.bold(verdict));
    text
}

fn section(text: &mut String, colours: &Colours, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "{}", colours.bold(heading));
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn facts(facts: &Facts) -> Vec<String> {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let capabilities =
        if facts.capabilities.is_empty() { "none".to_owned() } else { facts.capabilities.join(" ").to_lowercase() };
    let kernel = format!("{}{}", facts.kernel, if facts.gvisor { " (gVisor)" } else { "" });
    let mut lines = vec![
        format!("kernel            {kernel}"),
        format!("user              {}:{}", facts.uid, facts.gid),
        format!("capabilities      {capabilities}"),
        format!("seccomp           {}", facts.seccomp),
        format!("AppArmor          {}", facts.apparmor.as_deref().unwrap_or("unconfined")),
        format!("user namespace    {}", yes(facts.in_user_namespace)),
        format!("Landlock          {}", yes(facts.landlock)),
        format!("container         {}", facts.container.as_deref().unwrap_or("no sign of one")),
    ];
    lines.extend(facts.no_new_privileges.then(|| "no new privileges: setuid programs have no effect".to_owned()));
    lines.extend(facts.read_only_root.then(|| "the root file system is read-only".to_owned()));
    lines
}

fn sandboxes(report: &Report, colours: &Colours) -> Vec<String> {
    let attempt = |finding: &super::Finding| {
        format!("{} {:<9} {}", colours.mark(finding.ok), finding.name, finding.why.as_deref().unwrap_or("works"))
    };
    let mut lines: Vec<String> = report.sandboxes.iter().map(attempt).collect();
    lines.push(format!("chosen: {}", colours.bold(report.sandbox)));
    if let Some(advice) = &report.advice {
        lines.push(format!("{}, with these lines in the Pod:", advice.why));
        lines.extend(advice.yaml.lines().map(|line| format!("    {line}")));
    }
    lines
}

fn directories(report: &Report, colours: &Colours) -> Vec<String> {
    let line = |directory: &super::Directory| {
        let free = directory.free_bytes.map_or(String::new(), |bytes| format!(", {} free", human_bytes(bytes)));
        let note = directory.note.as_deref().map_or(String::new(), |note| format!(": {note}"));
        let mark = colours.mark(directory.ok);
        format!("{mark} {:<6} {}{free}{note}", directory.use_for, directory.path.display())
    };
    report.directories.iter().map(line).collect()
}

fn credentials(report: &Report, colours: &Colours) -> Vec<String> {
    let mut lines: Vec<String> = files().iter().map(|path| format!("read from {}", path.display())).collect();
    lines.extend(report.credentials.iter().map(|entry| format!("{:<24} {}", entry.server, entry.kind)));
    if report.credentials.is_empty() {
        lines.push("none: registries are asked as a guest".into());
    }
    lines.extend(report.hidden_by.map(|how| format!("kept from RUN steps by {how}")));
    if !report.exposed.is_empty() {
        let what = crate::hide::exposure(&report.exposed);
        lines.push(format!(
            "{} {what}; --hide-credentials=strict hides them, see docs/sandboxes.md",
            colours.mark(false)
        ));
    }
    lines
}

fn registries(report: &Report, colours: &Colours) -> Vec<String> {
    let line = |finding: &super::Finding| {
        format!("{} {} {}", colours.mark(finding.ok), finding.name, finding.why.as_deref().unwrap_or("answers"))
    };
    report.registries.iter().map(line).collect()
}
