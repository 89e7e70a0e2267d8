#!/bin/bash
# Installs what the tests need from Debian, and runs everything: format, lints, unit and integration tests, the golden
# suite (from ../shared/golden when it is there), documentation. Needs root and a Rust toolchain.
set -euo pipefail
cd "$(dirname "$0")"
say() { printf '\n== %s\n' "$*"; }

packages=(build-essential musl-tools python3 python3-pip python3-venv perl ca-certificates openssl docker-registry busybox-static skopeo buildah openssh-client podman runc runsc uidmap git zstd xz-utils bzip2 curl procps util-linux)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep 'ok installed' >/dev/null || missing+=("$package")
done
# kubectl and Docker's client have more than one package.
command -v kubectl >/dev/null || missing+=(kubernetes-client)
command -v docker >/dev/null || missing+=(docker.io)
# So has Node.js: some have npm within.
command -v npm >/dev/null || missing+=(nodejs npm)
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

say "format"
cargo fmt --all --check
say "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
say "object stores for tests"
cache-server/tests/moto.sh
cache-server/tests/azurite.sh
cache-server/tests/fake-gcs.sh
say "tests"
# A test that fails at random lands nothing: unset it to look for more.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED-7}
cargo test --workspace --locked
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items --quiet
say "static binaries"
rustup target list --installed 2>/dev/null | grep x86_64-unknown-linux-musl >/dev/null || rustup target add x86_64-unknown-linux-musl
cargo build --release --workspace --bins --locked --target x86_64-unknown-linux-musl
bin=target/x86_64-unknown-linux-musl/release
say "files of deploy/, and the book"
tests/deploy.sh "$bin"
say "images, and the ways that pipelines use them"
tests/images.sh "$bin"
say "in place, inside an ordinary container"
tests/in-place.sh "$bin"
say "what a step can see of the executor"
tests/credentials.sh "$bin"
say "what processes find and leave"
tests/processes.sh "$bin"
say "under several profiles of containers"
tests/profiles.sh "$bin"
say "inside gVisor"
tests/gvisor.sh "$bin"
say "signatures, checked by others"
tests/signatures.sh "$bin"
golden=$(realpath -m ../shared/golden)
if [ -d "$golden" ]; then
    say "golden suite"
    python3 "$golden/run.py" --executor "$bin/executor" --pending tests/golden-pending.txt
    say "golden suite, twice with a cache"
    python3 "$golden/run.py" --executor "$bin/executor" --pending tests/golden-pending.txt --cache-check
    say "golden suite, in a user namespace"
    python3 "$golden/run.py" --executor "$(realpath "$bin/executor") --sandbox=userns" --pending tests/golden-pending.txt
    say "golden suite, in place"
    tests/golden-in-place.sh "$bin" "$golden"
    tests/golden-in-place.sh "$bin" "$golden" --cases tests/golden-own
    say "our own golden cases, both ways"
    python3 "$golden/run.py" --executor "$bin/executor" --cases tests/golden-own
    python3 "$golden/run.py" --executor "$bin/executor" --cases tests/golden-own --cache-check
fi
say "all passed"
