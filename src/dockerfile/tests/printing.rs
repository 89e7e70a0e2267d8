//! What was parsed can be written down again, and parses to the same.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::random::soup;
use super::*;
use crate::dockerfile::{arguments, heredoc};

/// Writes Dockerfiles with one escape character.
struct Printer {
    escape: char,
}

impl Printer {
    fn file(&self, file: &Dockerfile) -> String {
        let mut text = format!("# escape={}\n", self.escape);
        for argument in &file.global_args {
            self.line(&mut text, &argument.kind);
        }
        for stage in &file.stages {
            let platform = stage.platform.as_ref().map_or(String::new(), |value| self.flag("platform", value));
            let name = stage.name.as_ref().map_or(String::new(), |name| format!(" AS {name}"));
            let _ = writeln!(text, "FROM {platform}{}{name}", plain(&stage.base));
            for instruction in &stage.instructions {
                self.line(&mut text, &instruction.kind);
            }
        }
        text
    }

    fn line(&self, text: &mut String, kind: &Kind) {
        let line = match kind {
            Kind::Arg(pairs) => format!("ARG {}", plain(&words(pairs))),
            Kind::Env(pairs) => format!("ENV {}", plain(&self.pairs(pairs))),
            Kind::Label(pairs) => format!("LABEL {}", plain(&self.pairs(pairs))),
            Kind::Run(run) => self.run(run),
            Kind::Copy(copy) => {
                let from = copy.from.as_ref().map_or(String::new(), |from| self.flag("from", from));
                let parents = if copy.parents { "--parents " } else { "" };
                self.transfer(&format!("COPY {from}{parents}"), &copy.paths)
            }
            Kind::Add(add) => {
                let checksum = add.checksum.as_ref().map_or(String::new(), |value| self.flag("checksum", value));
                let keep = add.keep_git_dir.map_or(String::new(), |keep| format!("--keep-git-dir={keep} "));
                let unpack = add.unpack.map_or(String::new(), |unpack| format!("--unpack={unpack} "));
                self.transfer(&format!("ADD {checksum}{keep}{unpack}"), &add.paths)
            }
            Kind::Workdir(path) => format!("WORKDIR {}", plain(path)),
            Kind::User(user) => format!("USER {}", plain(user)),
            Kind::Volume(paths) => format!("VOLUME {}", json(paths)),
            Kind::Expose(ports) => format!("EXPOSE {}", plain(&ports.join(" "))),
            Kind::StopSignal(signal) => format!("STOPSIGNAL {}", plain(signal)),
            Kind::Shell(argv) => format!("SHELL {}", json(argv)),
            Kind::Cmd(command) => format!("CMD {}", self::command(command)),
            Kind::Entrypoint(command) => format!("ENTRYPOINT {}", self::command(command)),
            Kind::Healthcheck(check) => healthcheck(check),
            Kind::Maintainer(name) => format!("MAINTAINER {}", plain(name)),
            Kind::OnBuild(trigger) => format!("ONBUILD {trigger}"),
        };
        text.push_str(&line);
        text.push('\n');
    }

    /// A flag with a blank behind it. The parser makes a character of every byte; that is taken back.
    fn flag(&self, name: &str, value: &str) -> String {
        let bytes: Vec<u8> = value.chars().filter_map(|c| u8::try_from(c).ok()).collect();
        let written = String::from_utf8(bytes).expect("what was parsed was UTF-8");
        let mut text = format!("--{name}=\"");
        for c in written.chars() {
            if c == '"' || c == self.escape {
                text.push(self.escape);
            }
            text.push(c);
        }
        text + "\" "
    }

    /// The form with `=` unless that would be more than one word.
    fn pairs(&self, pairs: &[Pair]) -> String {
        match pairs {
            [Pair { name, value: Some(value) }] => {
                let word = format!("{name}={value}");
                let one = arguments::quoted_words(&word, self.escape) == [word.as_str()];
                if one { word } else { format!("{name} {value}") }
            }
            several => words(several),
        }
    }

    fn run(&self, run: &Run) -> String {
        let mut text = "RUN ".to_owned();
        run.mounts.iter().for_each(|mount| text += &self.flag("mount", mount));
        run.devices.iter().for_each(|device| text += &self.flag("device", device));
        text += &run.network.as_ref().map_or(String::new(), |mode| self.flag("network", mode));
        text += &run.security.as_ref().map_or(String::new(), |mode| self.flag("security", mode));
        match &run.command {
            RunCommand::Shell(command) => text += &plain(command),
            RunCommand::Exec(argv) => text += &json(argv),
            RunCommand::Script(script) => {
                text += &token(script);
                text += &body(script);
            }
        }
        text
    }

    fn transfer(&self, start: &str, paths: &Transfer) -> String {
        let mut text = start.to_owned();
        text += &paths.chown.as_ref().map_or(String::new(), |owner| self.flag("chown", owner));
        text += &paths.chmod.as_ref().map_or(String::new(), |mode| self.flag("chmod", mode));
        text += if paths.link { "--link " } else { "" };
        paths.excludes.iter().for_each(|pattern| text += &self.flag("exclude", pattern));
        if paths.heredocs.is_empty() {
            let all: Vec<String> = paths.sources.iter().chain([&paths.destination]).cloned().collect();
            return text + &json(&all);
        }
        let tokens = paths.heredocs.iter().map(token);
        let all: Vec<String> = paths.sources.iter().cloned().chain(tokens).chain([paths.destination.clone()]).collect();
        text += &plain(&all.join(" "));
        paths.heredocs.iter().for_each(|heredoc| text += &body(heredoc));
        text
    }
}

/// Text that is no flag, even if it looks like one.
fn plain(text: &str) -> String {
    if text.starts_with("--") { format!("-- {text}") } else { text.to_owned() }
}

fn words(pairs: &[Pair]) -> String {
    let word = |pair: &Pair| match &pair.value {
        Some(value) => format!("{}={value}", pair.name),
        None => pair.name.clone(),
    };
    pairs.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn json(words: &[String]) -> String {
    serde_json::to_string(words).expect("strings")
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell(text) => plain(text),
        Command::Exec(argv) => json(argv),
    }
}

fn healthcheck(check: &HealthcheckSpec) -> String {
    let HealthcheckSpec::Check { command, interval, timeout, start_period, start_interval, retries } = check else {
        return "HEALTHCHECK NONE".to_owned();
    };
    let durations = [("interval", interval), ("timeout", timeout), ("start-period", start_period)];
    let durations = durations.into_iter().chain([("start-interval", start_interval)]);
    let flags: String = durations.map(|(name, nanoseconds)| format!("--{name}={nanoseconds}ns ")).collect();
    let command = match command {
        Command::Shell(text) => text.clone(),
        Command::Exec(argv) => json(argv),
    };
    format!("HEALTHCHECK {flags}--retries={retries} CMD {command}")
}

/// Escapes do not switch expansion off; quotes do.
fn token(heredoc: &Heredoc) -> String {
    let dash = if heredoc.chomp { "-" } else { "" };
    let quotes = if heredoc.expand { "" } else { "\"\"" };
    let name: String =
        heredoc.name.chars().flat_map(|c| (!c.is_alphanumeric()).then_some('\\').into_iter().chain([c])).collect();
    format!("<<{dash}{quotes}{name}")
}

fn body(heredoc: &Heredoc) -> String {
    format!("\n{}{}", heredoc.body, heredoc.name)
}

/// What a file says, without places and comments.
fn said(file: &Dockerfile) -> Vec<(String, Vec<Kind>)> {
    let kinds = |instructions: &[Instruction]| instructions.iter().map(|found| found.kind.clone()).collect::<Vec<_>>();
    let stage =
        |stage: &Stage| (format!("{:?}", (&stage.base, &stage.name, &stage.platform)), kinds(&stage.instructions));
    [(String::new(), kinds(&file.global_args))].into_iter().chain(file.stages.iter().map(stage)).collect()
}

/// Can it be written on one line? A lone escape character at the end of the file has nothing to
/// join; of several heredocs of one name all take the last body; and where something is open on the
/// line, no heredoc is announced, so that those there are have no body.
fn is_printable(text: &str, file: &Dockerfile) -> bool {
    let escape = file.directives.escape;
    let continues = |line: &str| {
        let line = line.trim_end_matches([' ', '\t']);
        line.strip_suffix(escape).is_some_and(|rest| !rest.ends_with(escape))
    };
    // The parser trims what only Unicode calls white space at both ends of a line, and these words were sorted.
    let trimmed = |kind: &Kind| {
        let Kind::Expose(words) = kind else { return false };
        let ends =
            [words.first().and_then(|word| word.chars().next()), words.last().and_then(|word| word.chars().last())];
        ends.into_iter().flatten().any(char::is_whitespace)
    };
    let ambiguous = |kind: &Kind| {
        let (Kind::Copy(Copy { paths, .. }) | Kind::Add(Add { paths, .. })) = kind else { return false };
        let names: std::collections::BTreeSet<_> = paths.heredocs.iter().map(|heredoc| &heredoc.name).collect();
        let tokens = paths.heredocs.iter().map(token);
        let words = paths.sources.iter().cloned().chain(tokens).chain([paths.destination.clone()]);
        let words: Vec<String> = words.collect();
        let announced = heredoc::tokens(&words.join(" ")).len();
        names.len() < paths.heredocs.len() || announced != paths.heredocs.len()
    };
    let mut kinds = file.stages.iter().flat_map(|stage| &stage.instructions).map(|found| &found.kind);
    !text.lines().skip(1).any(continues) && !kinds.any(|kind| trimmed(kind) || ambiguous(kind))
}

fn check(source: &str) -> Result<(), TestCaseError> {
    let Ok(file) = parse(source.as_bytes()) else { return Ok(()) };
    let text = Printer { escape: file.directives.escape }.file(&file);
    if is_printable(&text, &file) {
        let again = parse(text.as_bytes());
        let again = again.map_err(|error| TestCaseError::fail(format!("{source:?}\nprinted: {text:?}\n{error}")))?;
        prop_assert_eq!(said(&file), said(&again), "{:?}\nprinted: {:?}", source, text);
    }
    Ok(())
}

#[test]
fn instructions_print_and_parse_again() {
    let body = "ARG a b=\"c d\" e='f'\nENV a b  c\nENV a=\"b c\" d=\nLABEL x y=z\nRUN --mount=type=cache,target=/a\\ b <<-'X'\n\ta\n\tX\n\
                RUN cat <<A <<-B > /x\na\nA\n\tb\n\tB\nCOPY --link --exclude=a\\\"b <<\"E\" f /x\n$a\nE\nADD --unpack=false [\"a b\", \"c\"]\n\
                COPY --from=x --chmod=1 a* [b] c\nHEALTHCHECK --interval=1m --retries=3 CMD [\"a\"]\nHEALTHCHECK NONE\nSHELL [\"a\"]\n\
                CMD -- --x\nENTRYPOINT []\nVOLUME /a /b\nEXPOSE 2 1\nSTOPSIGNAL 9\nUSER a b\nWORKDIR /a b \nONBUILD RUN <<E\nx\nE\nMAINTAINER  a  b";
    let source = format!("ARG g=1\nFROM --platform=$P a AS b\n{body}\n");
    assert_eq!(instructions(body).len(), 21);
    check(&source).expect("stable");
    check(&format!("# escape=`\n{}", source.replace('\\', "`"))).expect("stable");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn soup_prints_and_parses_again(body in soup()) {
        check(&format!("FROM a\n{body}"))?;
    }
}
