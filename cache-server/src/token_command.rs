//! `cache-server token`: the file of static tokens.

use std::error::Error;
use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};

use crate::access::{Grant, TokenFile, TokenFileError};
use crate::flags::{TokenCommand, TokenFlags};

/// Why the file of tokens was not changed or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenCommandError {
    #[error(transparent)]
    File(#[from] TokenFileError),
    #[error("the token would end before it begins, or after the end of time")]
    Expiry,
    #[error("there is no token with the ID {0:?}")]
    Unknown(String),
    #[error("failed to write to standard output")]
    Output(#[from] io::Error),
}

/// Does what the flags say.
pub(crate) fn run(flags: &TokenFlags) -> Result<(), Box<dyn Error>> {
    Ok(execute(flags)?)
}

fn execute(flags: &TokenFlags) -> Result<(), TokenCommandError> {
    let mut file = TokenFile::load(&flags.tokens)?;
    match &flags.command {
        TokenCommand::Create { name, grants, expires } => {
            let expires = expires.map(end).transpose()?;
            let token = file.create(name, grants.clone(), expires)?;
            file.save(&flags.tokens)?;
            writeln!(io::stdout(), "{token}")?;
        }
        TokenCommand::List => list(&file)?,
        TokenCommand::Revoke { id } => {
            if !file.revoke(id) {
                return Err(TokenCommandError::Unknown(id.clone()));
            }
            file.save(&flags.tokens)?;
        }
    }
    Ok(())
}

/// Days are 24 hours long here: nobody says in which time zone.
fn end(after: jiff::Span) -> Result<Timestamp, TokenCommandError> {
    let now = Timestamp::now();
    let end = now.to_zoned(TimeZone::UTC).checked_add(after).map_err(|_| TokenCommandError::Expiry)?.timestamp();
    if end > now { Ok(end) } else { Err(TokenCommandError::Expiry) }
}

fn list(file: &TokenFile) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for token in file.iter() {
        let expires = token.expires.map_or("never".to_owned(), |at| format!("{at:.0}"));
        let grants = token.grants.iter().map(Grant::to_string).collect::<Vec<_>>().join(" ");
        writeln!(out, "{} name={:?} created={:.0} expires={expires} {grants}", token.id, token.name, token.created)?;
    }
    Ok(())
}
