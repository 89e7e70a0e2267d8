//! `executor verify`: what keys say about an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use yadokari::attest::{self, AttestError, Claim, PROVENANCE, Rejected, SPDX, Verification, Verified, Way};
use yadokari::causes::chain;
use yadokari::image::Reference;
use yadokari::registry::Client;
use yadokari::signature::TrustedKey;

use crate::command_line::settings::{SettingsError, env, usage};
use crate::failure::Failure;
use crate::flags::RegistryFlags;
use crate::{keys, settings};

#[derive(Debug, Args)]
pub(crate) struct VerifyFlags {
    /// The image: NAME:TAG or NAME@DIGEST. A tag is resolved once; the digest is printed.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Public key (PEM). Repeatable: a signature by any of them counts.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Verify an attestation in the place of the signature, and print its statement: slsaprovenance, spdx,
    /// or the URI of another type of predicate.
    #[arg(long, value_name = "TYPE", value_parser = predicate)]
    attestation: Option<String>,
    /// How the result is printed.
    #[arg(long, short, value_enum, default_value_t = OutputForm::Text, value_name = "FORM")]
    output: OutputForm,
    #[command(flatten)]
    registry: RegistryFlags,
}

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Text,
    Json,
}

/// Why an image is not verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("failed to verify {image}")]
    Asking {
        image: String,
        #[source]
        source: AttestError,
    },
    #[error("{image} has no {wanted} by a key that was given{}", reasons(.rejected))]
    Nothing { image: String, wanted: String, rejected: Vec<String> },
}

/// The names that cosign has for types of predicates.
fn predicate(text: &str) -> Result<String, String> {
    match text {
        "slsaprovenance" | "slsaprovenance1" => Ok(PROVENANCE.to_owned()),
        "spdx" | "spdxjson" => Ok(SPDX.to_owned()),
        uri if uri.contains("://") => Ok(uri.to_owned()),
        _ => Err("expected slsaprovenance, spdx, or the URI of a type of predicate".to_owned()),
    }
}

fn reasons(rejected: &[String]) -> String {
    if rejected.is_empty() {
        return ": nothing of the kind is beside it".to_owned();
    }
    rejected.iter().map(|line| format!("\n  {line}")).collect()
}

/// Exit code 1 when nothing counts.
pub(crate) fn run(flags: &VerifyFlags) -> Result<(), Failure> {
    let image = settings::reference(&flags.image)?;
    let keys = flags.key.iter().map(|path| keys::trusted_key("--key", path));
    let keys: Vec<TrustedKey> = keys.collect::<Result<_, SettingsError>>()?;
    if keys.len() > 64 {
        return Err(usage("--key: 64 keys at most").into());
    }
    let claim = flags.attestation.clone().map_or(Claim::Signature, Claim::Attestation);
    let client = Client::new(
        settings::client_options(&flags.registry, &env)?,
        settings::registry_credentials(&flags.registry)?,
    )?;
    let failed = |source| VerifyError::Asking { image: image.to_string(), source };
    let found = attest::verify(&client, &image, &keys, &claim).map_err(failed)?;
    let name_of = |id: &str| {
        let number = keys.iter().position(|key| key.id() == id);
        number.and_then(|number| flags.key.get(number)).map(|path| path.display().to_string()).unwrap_or_default()
    };
    let verified: Vec<Row> =
        found.verified.iter().map(|verified| Row { key: name_of(&verified.key), verified }).collect();
    match (flags.output, &claim) {
        (OutputForm::Json, _) => println!("{:#}", as_json(&image, &found, &verified)),
        (OutputForm::Text, Claim::Signature) => print_signatures(&image, &found, &verified),
        (OutputForm::Text, Claim::Attestation(_)) => print_statements(&image, &found, &verified),
    }
    if found.verified.is_empty() {
        let wanted = flags.attestation.as_ref().map_or("signature".to_owned(), |kind| format!("attestation {kind}"));
        let image = image.with_digest(found.digest.clone()).to_string();
        let rejected = found.rejected.iter().map(rejection).collect();
        return Err(VerifyError::Nothing { image, wanted, rejected }.into());
    }
    Ok(())
}

/// One that counts, and the file of its key.
struct Row<'a> {
    key: String,
    verified: &'a Verified,
}

impl Row<'_> {
    fn way(&self) -> String {
        match &self.verified.way {
            Way::Bundle(digest) => format!("bundle {digest}"),
            Way::Tag(tag) => format!("tag {tag}"),
        }
    }
}

fn rejection(rejected: &Rejected) -> String {
    format!("{}: {}", rejected.what, chain(&rejected.why))
}

fn print_signatures(image: &Reference, found: &Verification, verified: &[Row<'_>]) {
    if verified.is_empty() {
        return;
    }
    println!("{}", image.with_digest(found.digest.clone()));
    verified.iter().for_each(|row| println!("signed by {} ({})", row.key, row.way()));
    notes(found);
}

/// The statements alone on the standard output, one a line, for the next program.
fn print_statements(image: &Reference, found: &Verification, verified: &[Row<'_>]) {
    for row in verified {
        eprintln!("{}: said by {} ({})", image.with_digest(found.digest.clone()), row.key, row.way());
        println!("{}", row.verified.json().unwrap_or_default());
    }
    if !verified.is_empty() {
        notes(found);
    }
}

/// What does not count beside what does: another's signature is nothing bad.
fn notes(found: &Verification) {
    found.rejected.iter().for_each(|rejected| eprintln!("does not count: {}", rejection(rejected)));
}

fn as_json(image: &Reference, found: &Verification, verified: &[Row<'_>]) -> Value {
    let row = |row: &Row<'_>| {
        let (form, place) = match &row.verified.way {
            Way::Bundle(digest) => ("bundle", digest.to_string()),
            Way::Tag(tag) => ("tag", tag.clone()),
        };
        json!({ "form": form, "place": place, "key": row.key, "keyId": row.verified.key, "payload": row.verified.json() })
    };
    json!({
        "image": image.to_string(),
        "digest": found.digest.to_string(),
        "verified": verified.iter().map(row).collect::<Vec<_>>(),
        "rejected": found.rejected.iter()
            .map(|rejected| json!({ "place": rejected.what, "reason": chain(&rejected.why) })).collect::<Vec<_>>(),
    })
}
