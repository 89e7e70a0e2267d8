#!/bin/bash
# Builds the executor's image with the executor itself: deploy/build.sh BINARIES [EXECUTOR FLAG ...]
# BINARIES is a folder with static `executor` and `warmer`, such as target/x86_64-unknown-linux-musl/release.
set -euo pipefail
binaries=$1
shift
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$binaries/executor" "$binaries/warmer" "$context/"
"$binaries/executor" --context "$context" --dockerfile "$(dirname "$0")/Dockerfile" --cache=false "$@"
