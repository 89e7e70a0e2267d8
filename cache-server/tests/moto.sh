#!/bin/bash
# Installs moto, an S3 service for tests, below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
[ -x "$target/moto/bin/moto_server" ] && exit 0
python3 -m venv "$target/moto"
"$target/moto/bin/pip" install --quiet 'moto[server]==5.2.5'
