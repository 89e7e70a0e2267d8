//! The command line of Kaniko's warmer, as facts, against ours.

use std::path::Path;

use crate::command_line::flag_page;
use crate::command_line::kaniko_table::{Fact, compare, rows};
use crate::flags::command;

/// Every flag of Kaniko's warmer.
///
/// # Source
/// The last Kaniko of Google's, v1.24, and the living fork, v1.28.
const FACTS: [Fact; 20] = [
    ("--image -i", "one that fails is exit code 1"),
    ("--dockerfile -d", "images of COPY --from and RUN --mount are fetched, too"),
    ("--build-arg", "counts before the default in the Dockerfile"),
    ("--cache-dir -c", ""),
    ("--cache-ttl", "what is unchanged is renewed after half of it"),
    ("--force -f", "reads all that is there, and fetches what is damaged"),
    ("--customPlatform", "repeatable; `--custom-platform` and `--platform`, too"),
    ("--insecure-pull", ""),
    ("--insecure-registry", ""),
    ("--skip-tls-verify-pull", "works; Kaniko never reads it"),
    ("--skip-tls-verify-registry", ""),
    ("--registry-certificate", "counts for that registry only"),
    ("--registry-client-cert", ""),
    ("--registry-map", "`docker.io` is Docker Hub, too"),
    ("--registry-mirror", "the variable `KANIKO_REGISTRY_MIRROR` counts, too"),
    ("--skip-default-registry-fallback", ""),
    ("--verbosity -v", ""),
    ("--log-format", "`color` is a live display on a terminal, and has no colours elsewhere"),
    ("--log-timestamp", ""),
    ("--help -h", ""),
];

#[test]
fn the_page_lists_every_flag_of_kaniko_and_of_ours() {
    let mut command = command();
    command.build();
    let rows = rows(&command, &FACTS, &|_| None);
    compare("warmer flags", &rows, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kaniko.md"));
}

#[test]
fn the_page_of_flags_lists_every_one() {
    let mut command = command();
    command.build();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flags.md");
    flag_page::compare("warmer", &flag_page::page(&command), &document);
}
