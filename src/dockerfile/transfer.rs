//! COPY and ADD.

use super::arguments;
use super::ast::{Add, Copy, Heredoc, Transfer};
use super::diagnostic::Fault;
use super::flag::{FlagKind, Flags};
use super::heredoc;
use super::instruction::Statement;

impl Statement<'_> {
    /// COPY.
    pub(super) fn copy(&self) -> Result<Copy, Fault> {
        let list = self.paths("COPY")?;
        let flags = self.flags(&[
            ("chown", FlagKind::Value),
            ("from", FlagKind::Value),
            ("chmod", FlagKind::Value),
            ("link", FlagKind::Bool),
            ("parents", FlagKind::Bool),
            ("exclude", FlagKind::List),
        ])?;
        let from = flags.value("from");
        if let Some(from) = from.as_deref().filter(|from| from.contains('$')) {
            let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG \
                           from global scope as a workaround";
            return Err(Fault::at(message, from));
        }
        let parents = flags.switch("parents").unwrap_or(false);
        Ok(Copy { from, parents, paths: self.transfer("COPY", list, &flags)? })
    }

    /// ADD.
    pub(super) fn add(&self) -> Result<Add, Fault> {
        let list = self.paths("ADD")?;
        let flags = self.flags(&[
            ("chown", FlagKind::Value),
            ("chmod", FlagKind::Value),
            ("link", FlagKind::Bool),
            ("keep-git-dir", FlagKind::Bool),
            ("checksum", FlagKind::Value),
            ("unpack", FlagKind::Bool),
            ("exclude", FlagKind::List),
        ])?;
        Ok(Add {
            checksum: flags.value("checksum"),
            keep_git_dir: flags.switch("keep-git-dir"),
            unpack: flags.switch("unpack"),
            paths: self.transfer("ADD", list, &flags)?,
        })
    }

    /// A JSON array, or words between blanks.
    pub(super) fn list(&self) -> Result<Vec<String>, Fault> {
        Ok(arguments::json(self.parts.rest)?.unwrap_or_else(|| arguments::fields(self.parts.rest)))
    }

    fn paths(&self, keyword: &str) -> Result<Vec<String>, Fault> {
        let list = self.list()?;
        if list.len() < 2 {
            return Err(Fault::new(format!(
                "{keyword} requires at least two arguments, but only one was provided. Destination could not be \
                 determined"
            )));
        }
        Ok(list)
    }

    fn transfer(&self, keyword: &str, mut sources: Vec<String>, flags: &Flags) -> Result<Transfer, Fault> {
        let destination = sources.pop().unwrap_or_default();
        if heredoc::token(&destination).is_some() {
            let message = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(Fault::at(message, &destination));
        }
        let mut heredocs = Vec::new();
        sources.retain(|source| match self.source_heredoc(source) {
            Some(heredoc) => {
                heredocs.push(heredoc);
                false
            }
            None => true,
        });
        Ok(Transfer {
            sources,
            heredocs,
            destination,
            chown: flags.value("chown"),
            chmod: flags.value("chmod"),
            link: flags.switch("link").unwrap_or(false),
            excludes: flags.list("exclude"),
        })
    }

    /// The heredoc that `source` names: the last of that name, as with BuildKit; an empty one if the
    /// line announces none (between quotes, or in a JSON array).
    fn source_heredoc(&self, source: &str) -> Option<Heredoc> {
        let token = heredoc::token(source)?;
        let found = self.heredocs.iter().rev().find(|heredoc| heredoc.name == token.name);
        let body = found.map_or(String::new(), |heredoc| heredoc.body.clone());
        Some(heredoc::stripped(&Heredoc { name: token.name, body, expand: token.expand, chomp: token.chomp }))
    }
}
