//! What the flags say is to be said about an image.

use std::sync::Arc;

use yadokari::build::{Attestations, ProvenanceOptions};

use crate::command_line::settings::{Environment, SettingsError};
use crate::flags::{BuildFlags, OutputFlags, ProvenanceFlag};
use crate::keys;

/// Who builds, when nobody says it better.
const BUILDER: &str = "urn:yadokari:executor";

/// Signatures and statements: none are attached where nothing is pushed.
pub(crate) fn attestations(
    (output, build): (&OutputFlags, &BuildFlags),
    env: Environment<'_>,
) -> Result<Attestations, SettingsError> {
    let signer = keys::signer(output.sign_key.as_deref().filter(|_| !output.no_push), env)?;
    let asked = output.provenance != ProvenanceFlag::False;
    let attach = asked && !output.no_push;
    let provenance = (attach || output.metadata_file.is_some()).then(|| ProvenanceOptions {
        attach,
        with_values: output.provenance == ProvenanceFlag::Max,
        builder: env("YADOKARI_BUILDER_ID").filter(|id| !id.is_empty()).unwrap_or_else(|| builder(env)),
        invocation: invocation(),
        context: address(&build.context),
    });
    Ok(Attestations { signer: signer.map(Arc::new), provenance, sbom: output.sbom && !output.no_push })
}

/// The job, in pipelines that have an address for it.
fn builder(env: Environment<'_>) -> String {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let github = || {
        Some(format!(
            "{}/{}/actions/runs/{}",
            set("GITHUB_SERVER_URL")?,
            set("GITHUB_REPOSITORY")?,
            set("GITHUB_RUN_ID")?
        ))
    };
    set("CI_JOB_URL").or_else(github).or_else(|| set("BUILD_URL")).unwrap_or_else(|| BUILDER.to_owned())
}

/// A new one each time; where there is no randomness the process and the time will do.
fn invocation() -> String {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map(|text| text.trim().to_owned());
    random.unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        format!("{}-{}", std::process::id(), since.as_nanos())
    })
}

/// A context's address without user, password and query; of a directory, and of an archive of this machine, nothing is said.
fn address(context: &str) -> Option<String> {
    let (scheme, rest) = context.split_once("://")?;
    if matches!(scheme, "dir" | "tar") {
        return None;
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.split('?').next().unwrap_or_default();
    Some(format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_have_addresses_without_what_may_be_secret() {
        for (context, expected) in [
            ("/workspace/", None),
            ("dir:///workspace", None),
            ("tar://stdin", None),
            ("https://user:token@git.example/a.git#main", Some("https://git.example/a.git#main")),
            ("https://e.example/a.tar.gz?X-Amz-Signature=1", Some("https://e.example/a.tar.gz")),
            ("s3://bucket/key.tar.gz", Some("s3://bucket/key.tar.gz")),
        ] {
            assert_eq!(address(context).as_deref(), expected, "{context}");
        }
    }

    #[test]
    fn the_builder_is_the_job() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(builder(&env(&[])), BUILDER);
        assert_eq!(
            builder(&env(&[("CI_JOB_URL", "https://gitlab.example/-/jobs/1")])),
            "https://gitlab.example/-/jobs/1"
        );
        let github =
            &[("GITHUB_SERVER_URL", "https://g.example"), ("GITHUB_REPOSITORY", "a/b"), ("GITHUB_RUN_ID", "7")];
        assert_eq!(builder(&env(github)), "https://g.example/a/b/actions/runs/7");
    }
}
