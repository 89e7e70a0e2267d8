//! What each instruction accepts.

use super::arguments::{self, Parts};
use super::ast::{Command, Heredoc, Kind, Pair, Run, RunCommand};
use super::diagnostic::Fault;
use super::flag::{FlagKind, Flags, Known};
use super::{healthcheck, heredoc, suggestion};

/// Lower case, sorted.
const KEYWORDS: [&str; 18] = [
    "add",
    "arg",
    "cmd",
    "copy",
    "entrypoint",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

const NETWORKS: [&str; 3] = ["default", "none", "host"];
const SECURITIES: [&str; 2] = ["sandbox", "insecure"];

/// One logical line, cut up, with the bodies of its heredocs.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// The line.
    pub(super) line: &'a str,
    /// Its parts.
    pub(super) parts: Parts<'a>,
    /// The escape character.
    pub(super) escape: char,
    /// In the order of their tokens; bodies raw.
    pub(super) heredocs: Vec<Heredoc>,
}

/// FROM, or anything else.
#[derive(Debug)]
pub(super) enum Parsed {
    /// FROM.
    From(From),
    /// An instruction of a stage.
    Kind(Kind),
}

/// FROM's arguments.
#[derive(Debug)]
pub(super) struct From {
    /// Unexpanded.
    pub(super) base: String,
    /// Lower-cased.
    pub(super) name: Option<String>,
    /// `--platform`, unexpanded.
    pub(super) platform: Option<String>,
}

/// Can the instruction have heredocs? ONBUILD can when its trigger can.
pub(super) fn takes_heredocs(parts: &Parts<'_>, escape: char) -> bool {
    match parts.keyword.to_ascii_lowercase().as_str() {
        "add" | "copy" | "run" => !matches!(arguments::json(parts.rest), Ok(Some(_))),
        "onbuild" => {
            let trigger = arguments::split(parts.rest, escape);
            !trigger.keyword.eq_ignore_ascii_case("onbuild") && takes_heredocs(&trigger, escape)
        }
        _ => false,
    }
}

impl Statement<'_> {
    /// Parses the statement by its keyword.
    pub(super) fn parse(self) -> Result<Parsed, Fault> {
        let kind = match self.parts.keyword.to_lowercase().as_str() {
            "from" => return self.from().map(Parsed::From),
            "add" => Kind::Add(self.add()?),
            "arg" => Kind::Arg(self.arg()?),
            "cmd" => Kind::Cmd(self.command()?),
            "copy" => Kind::Copy(self.copy()?),
            "entrypoint" => Kind::Entrypoint(self.command()?),
            "env" => Kind::Env(self.pairs("ENV")?),
            "expose" => Kind::Expose(self.expose()?),
            "healthcheck" => Kind::Healthcheck(healthcheck::parse(&self.parts.flags, self.parts.rest)?),
            "label" => Kind::Label(self.pairs("LABEL")?),
            "maintainer" => Kind::Maintainer(self.one("MAINTAINER")?),
            "onbuild" => Kind::OnBuild(self.on_build()?),
            "run" => Kind::Run(self.run()?),
            "shell" => Kind::Shell(self.shell()?),
            "stopsignal" => Kind::StopSignal(self.stop_signal()?),
            "user" => Kind::User(self.one("USER")?),
            "volume" => Kind::Volume(self.volume()?),
            "workdir" => Kind::Workdir(self.one("WORKDIR")?),
            _ => return Err(unknown(self.parts.keyword)),
        };
        Ok(Parsed::Kind(kind))
    }

    /// The flags, checked against what the instruction knows.
    pub(super) fn flags(&self, known: &[Known]) -> Result<Flags, Fault> {
        Flags::parse(&self.parts.flags, known)
    }

    fn from(&self) -> Result<From, Fault> {
        let mut words = arguments::fields(self.parts.rest);
        let name = match words.as_slice() {
            [_] => None,
            [_, word, name] if word.eq_ignore_ascii_case("as") => Some(stage_name(name)?),
            _ => return Err(Fault::at("FROM requires either one or three arguments", self.parts.rest)),
        };
        let flags = self.flags(&[("platform", FlagKind::Value)])?;
        Ok(From { base: words.swap_remove(0), name, platform: flags.value("platform") })
    }

    /// ARG has no flags, and drops what looks like one.
    fn arg(&self) -> Result<Vec<Pair>, Fault> {
        let words = arguments::quoted_words(self.parts.rest, self.escape);
        if words.is_empty() {
            return Err(at_least_one("ARG"));
        }
        words.into_iter().map(|word| pair(&word, "ARG")).collect()
    }

    /// What BuildKit refuses before it looks at what the instruction means.
    fn check_line(&self) -> Result<(), Fault> {
        match self.parts.keyword.to_lowercase().as_str() {
            "add" | "cmd" | "copy" | "entrypoint" | "run" | "shell" | "volume" => {
                arguments::json(self.parts.rest).map(|_| ())
            }
            "healthcheck" => healthcheck::split(self.parts.rest).map(|_| ()),
            "env" => self.words_of_pairs("ENV").map(|_| ()),
            "label" => self.words_of_pairs("LABEL").map(|_| ()),
            _ => Ok(()),
        }
    }

    /// ENV and LABEL: `name=value …`, or the old `name value` that takes the rest of the line.
    fn pairs(&self, keyword: &str) -> Result<Vec<Pair>, Fault> {
        let words = self.words_of_pairs(keyword)?;
        self.flags(&[])?;
        match words {
            PairWords::None => Err(at_least_one(keyword)),
            PairWords::Old(name, value) => Ok(vec![Pair { name, value: Some(value) }]),
            PairWords::New(words) => words.iter().map(|word| pair(word, keyword)).collect(),
        }
    }

    fn words_of_pairs(&self, keyword: &str) -> Result<PairWords, Fault> {
        let words = arguments::quoted_words(self.parts.rest, self.escape);
        let Some(first) = words.first() else { return Ok(PairWords::None) };
        if !first.contains('=') {
            let (name, value) = arguments::cut(self.parts.rest)
                .ok_or_else(|| Fault::at(format!("{keyword} must have two arguments"), self.parts.rest))?;
            return Ok(PairWords::Old(name.to_owned(), value.to_owned()));
        }
        if let Some(word) = words.iter().find(|word| !word.contains('=')) {
            let message = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            return Err(Fault::at_last(message, word));
        }
        Ok(PairWords::New(words))
    }

    /// Instructions whose argument is the rest of the line.
    fn one(&self, keyword: &str) -> Result<String, Fault> {
        if self.parts.rest.is_empty() {
            return Err(exactly_one(keyword));
        }
        self.flags(&[])?;
        Ok(self.parts.rest.to_owned())
    }

    /// STOPSIGNAL has no flags, and drops what looks like one.
    fn stop_signal(&self) -> Result<String, Fault> {
        if self.parts.rest.is_empty() {
            return Err(exactly_one("STOPSIGNAL"));
        }
        Ok(self.parts.rest.to_owned())
    }

    /// CMD and ENTRYPOINT; nothing at all is the empty shell command.
    fn command(&self) -> Result<Command, Fault> {
        let exec = arguments::json(self.parts.rest)?;
        self.flags(&[])?;
        Ok(exec.map_or_else(|| Command::Shell(self.parts.rest.to_owned()), Command::Exec))
    }

    fn shell(&self) -> Result<Vec<String>, Fault> {
        let exec = arguments::json(self.parts.rest)?;
        self.flags(&[])?;
        match exec {
            Some(words) if !words.is_empty() => Ok(words),
            None if !self.parts.rest.is_empty() => {
                Err(Fault::at("SHELL requires the arguments to be in JSON form", self.parts.rest))
            }
            _ => Err(at_least_one("SHELL")),
        }
    }

    /// The words sorted bytewise, as BuildKit has them in its history.
    fn expose(&self) -> Result<Vec<String>, Fault> {
        let mut words = arguments::fields(self.parts.rest);
        if words.is_empty() {
            return Err(at_least_one("EXPOSE"));
        }
        self.flags(&[])?;
        words.sort_unstable();
        Ok(words)
    }

    fn volume(&self) -> Result<Vec<String>, Fault> {
        let words = self.list()?;
        if words.is_empty() {
            return Err(at_least_one("VOLUME"));
        }
        self.flags(&[])?;
        let words: Vec<String> = words.iter().map(|word| word.trim().to_owned()).collect();
        if words.iter().any(String::is_empty) {
            return Err(Fault::new("VOLUME specified can not be an empty string"));
        }
        Ok(words)
    }

    fn run(&self) -> Result<Run, Fault> {
        let exec = arguments::json(self.parts.rest)?;
        let flags = self.flags(&[
            ("mount", FlagKind::List),
            ("network", FlagKind::Value),
            ("security", FlagKind::Value),
            ("device", FlagKind::List),
        ])?;
        let network = one_of(&flags, "network", &NETWORKS, |value| format!("invalid network mode {value:?}"))?;
        let security = one_of(&flags, "security", &SECURITIES, |value| format!("security {value:?} is not valid"))?;
        let command = match exec {
            Some(words) if words.is_empty() => return Err(Fault::at("arguments are required", self.parts.rest)),
            Some(words) => RunCommand::Exec(words),
            None => self.run_text(),
        };
        Ok(Run { command, mounts: flags.list("mount"), network, security, devices: flags.list("device") })
    }

    /// One heredoc alone is a script; anything else goes to the shell as it stands.
    fn run_text(&self) -> RunCommand {
        if let [first, ..] = self.heredocs.as_slice()
            && heredoc::token(self.parts.rest).is_some()
        {
            return RunCommand::Script(heredoc::stripped(first));
        }
        let mut text = self.parts.rest.to_owned();
        self.append_heredocs(&mut text);
        RunCommand::Shell(text)
    }

    /// Appends each body and its terminator, as the shell wants them.
    fn append_heredocs(&self, text: &mut String) {
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
    }

    /// The trigger's text. What it says is looked at when it is triggered; only what makes no line of a
    /// Dockerfile at all is refused here.
    fn on_build(&self) -> Result<String, Fault> {
        if self.parts.rest.is_empty() {
            return Err(at_least_one("ONBUILD"));
        }
        self.flags(&[])?;
        let parts = arguments::split(self.parts.rest, self.escape);
        match parts.keyword.to_uppercase().as_str() {
            "ONBUILD" => {
                return Err(Fault::at_last("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", parts.keyword));
            }
            upper @ ("FROM" | "MAINTAINER") => {
                return Err(Fault::at(format!("{upper} isn't allowed as an ONBUILD trigger"), parts.keyword));
            }
            _ => {}
        }
        Statement { line: self.parts.rest, parts, escape: self.escape, heredocs: Vec::new() }.check_line()?;
        let (_, text) = arguments::cut(self.line.trim_start()).unwrap_or_default();
        let mut text = text.to_owned();
        self.append_heredocs(&mut text);
        Ok(text)
    }
}

/// How ENV and LABEL are written.
enum PairWords {
    None,
    /// `name value`.
    Old(String, String),
    /// `name=value …`.
    New(Vec<String>),
}

/// `name=value`, or a name alone.
fn pair(word: &str, keyword: &str) -> Result<Pair, Fault> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
    if name.is_empty() {
        return Err(Fault::at(format!("{keyword} names can not be blank"), word));
    }
    Ok(Pair { name: name.to_owned(), value })
}

fn stage_name(name: &str) -> Result<String, Fault> {
    let lower = name.to_lowercase();
    let starts = lower.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')) {
        return Ok(lower);
    }
    let message = format!("invalid name for build stage: {name:?}, name can't start with a number or contain symbols");
    Err(Fault::at(message, name))
}

/// The flag's value; `message` is what to say of one that is not allowed.
fn one_of(flags: &Flags, name: &str, allowed: &[&str], message: fn(&str) -> String) -> Result<Option<String>, Fault> {
    match flags.get(name) {
        Some(value) if !allowed.contains(&value) => {
            let nearest = suggestion::nearest(value, allowed.iter().copied());
            Err(Fault::at(suggestion::append(message(value), nearest), &format!("--{name}")))
        }
        value => Ok(value.map(str::to_owned)),
    }
}

/// Suggests in capitals what was typed in capitals.
fn unknown(keyword: &str) -> Fault {
    let lower = keyword.to_lowercase();
    let shouted = keyword != lower && keyword == keyword.to_uppercase();
    let nearest = suggestion::nearest(&lower, KEYWORDS);
    let nearest = nearest.map(|word| if shouted { word.to_uppercase() } else { word.to_owned() });
    Fault::at(suggestion::append(format!("unknown instruction: {keyword}"), nearest.as_deref()), keyword)
}

fn at_least_one(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} requires at least one argument"))
}

fn exactly_one(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} requires exactly one argument"))
}
