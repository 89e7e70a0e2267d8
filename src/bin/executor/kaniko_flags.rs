//! Kaniko's command line, as facts, against ours.

use std::path::Path;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::command_line::flag_page;
use crate::command_line::kaniko_table::{Fact, compare, rows};
use crate::flags::{CommandLine, command};
use crate::without_effect::FLAGS;

/// Every flag of Kaniko's executor, hidden and deprecated ones included.
///
/// # Source
/// The last Kaniko of Google's, v1.24, and the living fork, v1.28.
const FACTS: [Fact; 66] = [
    ("--dockerfile -f", "a Dockerfile from the web has no ignore file of its own"),
    (
        "--context -c",
        "the archive never lies in the context itself; ssh, `https://….git`, and Azure by identity or signature are taken, too; one in the container's own root is there after a build of several stages, and after `--cleanup`",
    ),
    ("--context-sub-path", "counts for a directory, too"),
    ("--bucket -b", "a warning where --context is a directory, which Kaniko prefers silently"),
    ("--destination -d", ""),
    ("--target", ""),
    ("--build-arg", ""),
    ("--custom-platform --customPlatform", "several give an image index"),
    ("--snapshot-mode --snapshotMode", "every mode finds every change"),
    ("--single-snapshot", "each step is cached by itself all the same"),
    ("--use-new-run", ""),
    ("--reproducible", ""),
    ("--cache", "the cache has a format of its own, with Kaniko's entries beside it unread"),
    ("--cache-repo", "repeatable: all are read, the first is written"),
    ("--cache-dir", "holds the layer cache, too, where it can be written"),
    ("--cache-ttl", ""),
    ("--cache-copy-layers", "on by default"),
    ("--cache-run-layers", ""),
    ("--no-push-cache", ""),
    ("--compressed-caching", ""),
    ("--compression", "zstd whatever the base image's layers are; not ignored over an image of Docker's"),
    ("--compression-level", "up to 12 with gzip and 22 with zstd, and an error beyond; by default 1 and 3"),
    ("--image-format", "`oci` by default, whatever the base image is; `--tar-path` writes Docker's archive either way"),
    ("--no-push", "the flag counts before the variable `KANIKO_NO_PUSH`"),
    ("--tar-path --tarPath", "missing directories are made"),
    ("--oci-layout-path", "never holds anything but the image"),
    (
        "--digest-file",
        "written when the image is there, and never with the digest of a cache entry; `http://` is a URL, too",
    ),
    ("--image-name-with-digest-file", "as `--digest-file`"),
    ("--image-name-tag-with-digest-file", "as `--digest-file`"),
    ("--label", ""),
    ("--annotation", "those of the base image are not inherited"),
    ("--secret", "other steps than those that mount it cannot read it"),
    ("--git", "one commit is fetched unless `depth` says more (0: all); an unknown key is a warning"),
    ("--ignore-path", "in place; elsewhere nothing of the container's root is touched"),
    ("--ignore-var-run --whitelist-var-run", "in place"),
    ("--kaniko-dir", "takes what the build needs while it runs; the executor itself stays where it is"),
    (
        "--cleanup",
        "in place; leaves output files, the context and the working directory; the flag counts before the variable `KANIKO_CLEANUP`",
    ),
    ("--pre-cleanup", ""),
    ("--preserve-context", "in place"),
    ("--materialize", "in place"),
    ("--dryrun", "the words are others; says of each step who has its result"),
    ("--image-fs-extract-retry", "goes on where it broke off; never fewer than 3"),
    ("--skip-push-permission-check", ""),
    ("--force", "asked for only where the build would overwrite the root of what is no container"),
    ("--verbosity -v", ""),
    ("--log-format", "`color` is a live display on a terminal, and has no colours elsewhere"),
    ("--log-timestamp", ""),
    ("--force-build-metadata", ""),
    ("--skip-unused-stages", ""),
    ("--azure-container-registry-config", ""),
    ("--insecure", ""),
    ("--insecure-pull", ""),
    ("--insecure-registry", ""),
    ("--skip-tls-verify", ""),
    ("--skip-tls-verify-pull", "works; Kaniko never reads it"),
    ("--skip-tls-verify-registry", ""),
    ("--registry-certificate", "counts for that registry only"),
    ("--registry-client-cert", ""),
    ("--registry-map", "`docker.io` is Docker Hub, too"),
    ("--registry-mirror", ""),
    ("--skip-default-registry-fallback", ""),
    ("--push-retry", "what no repetition can change is not repeated"),
    ("--push-ignore-immutable-tag-errors", "knows the words of Harbor and Docker Hub, too; says which tag stayed"),
    ("--image-download-retry", "counts for layers, too; never fewer than 3"),
    ("--credential-helpers", "`github`, too; programs that Docker's config.json names are asked in any case"),
    ("--help -h", ""),
];

fn why(name: &str) -> Option<String> {
    FLAGS.iter().find(|flag| flag.name == name).map(|flag| flag.why.to_owned())
}

#[test]
fn the_page_lists_every_flag_of_kaniko_and_of_ours() {
    let mut command = command();
    command.build();
    let rows = rows(&command, &FACTS, &why);
    for flag in &FLAGS {
        let name = format!("`--{}`", flag.name);
        let listed = rows.iter().any(|row| row.names.starts_with(&name) && row.status == "accepted without effect");
        assert!(listed, "{name} is no flag of Kaniko's");
    }
    compare("executor flags", &rows, &Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kaniko.md"));
}

#[test]
fn the_page_of_flags_lists_every_one() {
    let mut command = command();
    command.build();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flags.md");
    flag_page::compare("executor", &flag_page::page(&command), &document);
}

fn parse(arguments: &[&str]) -> Result<CommandLine, clap::Error> {
    let matches = command().try_get_matches_from([&["executor"], arguments].concat())?;
    CommandLine::from_arg_matches(&matches)
}

#[test]
fn flags_are_written_as_for_kaniko() {
    let line = parse(&["--cache", "-c", "one", "--context=two", "-f=File", "--target=a,b", "--target", "c", "-d=r/i"]);
    let line = line.expect("valid");
    assert!(line.cache.cache);
    assert_eq!((line.build.context.as_str(), line.build.dockerfile.to_str()), ("two", Some("File")));
    assert_eq!(
        (line.build.target.as_slice(), line.output.destination.as_slice()),
        (&["a", "b", "c"].map(str::to_owned)[..], &["r/i".to_owned()][..])
    );
    assert!(!parse(&["--cache=false"]).expect("valid").cache.cache);
    assert!(parse(&["--cache", "true"]).is_err());
}

#[test]
fn an_unknown_flag_suggests_the_nearest() {
    let error = parse(&["--destnation=r/i"]).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::UnknownArgument);
    assert_eq!(error.get(ContextKind::SuggestedArg), Some(&ContextValue::String("--destination".into())));
}

#[test]
fn what_has_no_effect_is_said_once_and_only_when_it_was_asked_for() {
    let quiet =
        parse(&["--force-build-metadata=false", "--compressed-caching", "--use-new-run", "--use-new-run=false"]);
    assert_eq!(quiet.expect("valid").without_effect.warnings, <[String; 0]>::default());
    let line = parse(&["--use-new-run", "--use-new-run=true", "--compressed-caching=false"]);
    let warnings = line.expect("valid").without_effect.warnings;
    let starts = ["--compressed-caching has no", "--use-new-run has no"];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
}

#[test]
fn a_bucket_is_the_context_where_kaniko_takes_it() {
    for (arguments, context, warns) in [
        (&["-b", "x", "-b=b/k.tar.gz", "--context="][..], "gs://b/k.tar.gz", false),
        (&["--bucket=s3://b/k", "-c", "gs://other"], "s3://b/k", false),
        (&["--bucket=b"], "/workspace/", true),
        (&["--bucket=b", "-c", "dir"], "dir", true),
        (&["--bucket=", "-c", "s3://b"], "s3://b", false),
    ] {
        let line = crate::settings::with_bucket(parse(arguments).expect("valid"));
        assert_eq!(line.build.context, context, "{arguments:?}");
        assert_eq!(line.without_effect.warnings.iter().any(|text| text.contains("--bucket")), warns, "{arguments:?}");
    }
}
