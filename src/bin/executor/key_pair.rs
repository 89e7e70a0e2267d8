//! `executor generate-key-pair`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use yadokari::signature::{KeyError, KeyPair, RANDOM_BYTES};

use crate::command_line::settings::env;
use crate::failure::Failure;
use crate::keys;

#[derive(Debug, Args)]
pub(crate) struct KeyPairFlags {
    /// The files are PREFIX.key and PREFIX.pub.
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
}

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyPairError {
    #[error("failed to write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to read /dev/urandom")]
    Random(#[source] io::Error),
    #[error("failed to make a key")]
    Key(#[from] KeyError),
}

/// Writes both files; none of them may be there.
pub(crate) fn run(flags: &KeyPairFlags) -> Result<(), Failure> {
    let password = keys::password(&env);
    let pair = loop {
        if let Some(pair) =
            KeyPair::new(&random().map_err(KeyPairError::Random)?, password.as_bytes()).map_err(KeyPairError::Key)?
        {
            break pair;
        }
    };
    let file = |ending: &str| PathBuf::from(format!("{}.{ending}", flags.output_key_prefix.display()));
    write(&file("key"), &pair.private, 0o600)?;
    write(&file("pub"), &pair.public, 0o644)?;
    let protection = if password.is_empty() { "without a password: set YADOKARI_SIGN_PASSWORD" } else { "encrypted" };
    eprintln!("{} ({protection}) and {} are written", file("key").display(), file("pub").display());
    Ok(())
}

fn random() -> io::Result<[u8; RANDOM_BYTES]> {
    let mut bytes = [0; RANDOM_BYTES];
    let mut source = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeyPairError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| KeyPairError::Write { path: path.into(), source })
}
