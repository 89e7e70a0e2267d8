#!/bin/bash
# Installs Azurite, an Azure Blob service for tests, below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
# Later versions bring three times as much with them, and the last ones want a newer Node.js than Debian's.
version=3.33.0
[ -e "$target/azurite/$version" ] && exit 0
rm -rf "$target/azurite"
mkdir -p "$target/azurite"
npm install --prefix "$target/azurite" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error --silent "azurite@$version"
touch "$target/azurite/$version"
