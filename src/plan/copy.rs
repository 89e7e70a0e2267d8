//! COPY and ADD.
//!
//! # Source
//! BuildKit, `dockerfile2llb/convert_copy.go`.

use crate::digest::{Digest, DigestError};
use crate::dockerfile::{Add, Copy, Transfer};

use super::run::file_name;
use super::stage::{Effect, StageBuilder};
use super::{AddOptions, Chmod, CopyOp, CopySource, Op, PlanFault, Source, path, remote};

/// Why a COPY or ADD is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A number that is no mode.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    /// A word that is no symbolic mode.
    #[error("invalid chmod parameter: '{0}'. invalid syntax of symbolic mode")]
    SymbolicMode(String),
    /// COPY of a URL.
    #[error("source can't be a URL for COPY (did you mean ADD?)")]
    CopyUrl(String),
    /// COPY of a repository.
    #[error("source can't be a git ref for COPY (did you mean ADD?)")]
    CopyGit(String),
    /// `--checksum` with more than one source, or none.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSources,
    /// `--checksum` of a path.
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumPath,
    /// `--checksum` that is no digest.
    #[error("invalid checksum: {0}")]
    Checksum(DigestError),
}

impl TransferError {
    /// What to point at, as it may stand in the Dockerfile.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Mode(_) | Self::SymbolicMode(_) => vec!["--chmod".to_owned()],
            Self::CopyUrl(source) | Self::CopyGit(source) => vec![source.clone()],
            Self::ChecksumSources | Self::ChecksumPath | Self::Checksum(_) => vec!["--checksum".to_owned()],
        }
    }
}

/// The words of a COPY or ADD, expanded; flags that expand to nothing are as if not given.
struct Words {
    sources: Vec<CopySource>,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
}

impl StageBuilder<'_> {
    /// Evaluates a COPY.
    pub(super) fn copy(&self, copy: &Copy) -> Result<Effect, PlanFault> {
        let words = self.words(&copy.paths)?;
        let from = match &copy.from {
            None => Source::Context,
            Some(name) => self.copy_source(name)?,
        };
        for source in &words.sources {
            match source {
                CopySource::Url(url) => return Err(TransferError::CopyUrl(url.clone()).into()),
                CopySource::Git(address) => return Err(TransferError::CopyGit(address.clone()).into()),
                CopySource::Path(_) | CopySource::Inline { .. } => {}
            }
        }
        let keyword = if copy.parents { "COPY --parents" } else { "COPY" };
        let created_by = words.created_by(keyword);
        let op = CopyOp { parents: copy.parents, ..self.transfer(&copy.paths, words, from)? };
        Ok(Effect { created_by: Some(created_by), op: Some(Op::Copy(op)) })
    }

    /// Evaluates an ADD.
    pub(super) fn add(&self, add: &Add) -> Result<Effect, PlanFault> {
        let words = self.words(&add.paths)?;
        let checksum = self.non_empty(add.checksum.as_deref())?;
        if let Some(checksum) = &checksum {
            check_checksum(checksum, &words.sources)?;
        }
        let created_by = words.created_by("ADD");
        let options = AddOptions { checksum, keep_git_dir: add.keep_git_dir.unwrap_or(false), unpack: add.unpack };
        let op = CopyOp { add: Some(options), ..self.transfer(&add.paths, words, Source::Context)? };
        Ok(Effect { created_by: Some(created_by), op: Some(Op::Copy(op)) })
    }

    fn copy_source(&self, name: &str) -> Result<Source, PlanFault> {
        let origin = self.sources.graph.copy_origin(name)?;
        self.sources
            .source(&origin)
            .ok_or_else(|| PlanFault::CopyFromLater { from: name.to_owned(), stage: self.name.to_owned() })
    }

    fn words(&self, paths: &Transfer) -> Result<Words, PlanFault> {
        let mut sources: Vec<_> = self.expand_all(&paths.sources)?.iter().map(|word| remote::classify(word)).collect();
        for heredoc in &paths.heredocs {
            let name = file_name(&heredoc.name)?;
            let content = match heredoc.expand {
                true => self.declared.scope.expand_heredoc(&heredoc.body)?,
                false => heredoc.body.clone(),
            };
            sources.push(CopySource::Inline { name, content });
        }
        let destination = self.declared.scope.expand(&paths.destination)?;
        let chown = self.non_empty(paths.chown.as_deref())?;
        let chmod = self.non_empty(paths.chmod.as_deref())?;
        Ok(Words { sources, destination, chown, chmod })
    }

    /// A flag's value, expanded; one that expands to nothing is as if not given.
    fn non_empty(&self, word: Option<&str>) -> Result<Option<String>, PlanFault> {
        let value = word.map(|word| self.declared.scope.expand(word)).transpose()?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// What COPY and ADD have in common.
    fn transfer(&self, paths: &Transfer, words: Words, from: Source) -> Result<CopyOp, TransferError> {
        let Words { sources, destination, chown, chmod } = words;
        Ok(CopyOp {
            add: None,
            from,
            sources,
            destination: path::join_destination(self.workdir(), &destination),
            chown,
            link: paths.link && chmod.is_none(),
            chmod: chmod.as_deref().map(parse_mode).transpose()?,
            parents: false,
            excludes: paths.excludes.clone(),
        })
    }
}

impl Words {
    /// The history entry: the words as expanded, flags that only say how left out.
    fn created_by(&self, keyword: &str) -> String {
        let mut words = vec![keyword.to_owned()];
        words.extend(self.chown.as_ref().map(|owner| format!("--chown={owner}")));
        words.extend(self.chmod.as_ref().map(|mode| format!("--chmod={mode}")));
        words.extend(self.sources.iter().map(|source| match source {
            CopySource::Path(text) | CopySource::Url(text) | CopySource::Git(text) => text.clone(),
            CopySource::Inline { name, .. } => format!("<<{name}"),
        }));
        words.push(self.destination.clone());
        format!("{} # buildkit", words.join(" "))
    }
}

fn check_checksum(checksum: &str, sources: &[CopySource]) -> Result<(), TransferError> {
    let mut named = sources.iter().filter(|source| !matches!(source, CopySource::Inline { .. }));
    match (named.next(), named.next()) {
        (Some(CopySource::Url(_)), None) => checksum.parse::<Digest>().map(|_| ()).map_err(TransferError::Checksum),
        // A prefix of a commit, checked against the repository.
        (Some(CopySource::Git(_)), None) => Ok(()),
        (Some(_), None) => Err(TransferError::ChecksumPath),
        _ => Err(TransferError::ChecksumSources),
    }
}

/// Octal, or symbolic as in `chmod(1)` of BSD.
///
/// # Source
/// `tonistiigi/dchapes-mode`.
fn parse_mode(text: &str) -> Result<Chmod, TransferError> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        let mode = mode.filter(|mode| *mode <= 0o7777);
        return mode.map(Chmod::Octal).ok_or_else(|| TransferError::Mode(text.to_owned()));
    }
    if text.split(',').all(is_clause) {
        return Ok(Chmod::Symbolic(text.to_owned()));
    }
    Err(TransferError::SymbolicMode(text.to_owned()))
}

/// `[ugoa]*([+-=][rwxXstugo]*)+`.
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    actions.starts_with(['+', '-', '=']) && actions.chars().all(|c| "+-=rwxXstugo".contains(c))
}
