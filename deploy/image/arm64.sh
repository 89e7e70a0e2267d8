#!/bin/bash
# Static programs for arm64, from any machine: Zig is the C compiler and the linker (PyPI's ziglang and cargo-zigbuild, in a
# virtual environment below target/tools). Leaves target/aarch64-unknown-linux-musl/release.
# usage: arm64.sh [CARGO FLAG ...]; without flags, --release
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
tools=$PWD/target/tools/zig
if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check cargo-zigbuild==0.24.0 ziglang==0.17.1
fi
target=aarch64-unknown-linux-musl
rustup target list --installed | grep -x "$target" >/dev/null || rustup target add "$target"
PATH=$tools/bin:$PATH cargo zigbuild --workspace --bins --locked --target "$target" "${@:---release}"
