#!/bin/bash
# Builds the binaries, makes a Debian base image, starts the cache-server on loopback as the registry, builds GNU hello
# from its source package twice (the second time with an empty local state), and runs the result.
#
# Needs: Debian or Ubuntu, a Rust toolchain, root or sudo. No Docker, no account. It installs what it is missing.
# Leaves everything below target/quickstart; nothing keeps running.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/target/quickstart
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

say "what is missing on this machine"
missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v debootstrap >/dev/null || missing+=(debootstrap)
command -v curl >/dev/null || missing+=(curl)
if [ ${#missing[@]} -gt 0 ]; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi
echo "installed: ${missing[*]:-nothing}"

say "binaries"
cargo build --release --workspace --bins
bin=$PWD/target/release
mkdir -p "$work"

say "base image: debootstrap"
. /etc/os-release
mirror=$(apt-cache policy base-files | grep -oE 'https?://[^ ]+' | head -n 1)
if [ ! -s "$work/base/rootfs.tar" ]; then
    as_root rm -rf "$work/rootfs"
    as_root debootstrap --variant=minbase "$VERSION_CODENAME" "$work/rootfs" "$mirror" >"$work/debootstrap.log" ||
        { tail -n 5 "$work/debootstrap.log"; exit 1; }
    mkdir -p "$work/base"
    as_root tar --numeric-owner --xattrs -C "$work/rootfs" -cf "$work/base/rootfs.tar" .
    printf 'FROM scratch\nADD rootfs.tar /\nCMD ["/bin/bash"]\n' >"$work/base/Dockerfile"
fi

say "registry: cache-server on loopback"
rm -f "$work/cache-server.log"
"$bin/cache-server" serve --listen 127.0.0.1:0 --data "$work/registry" >"$work/cache-server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do
    registry=$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/cache-server.log" | head -n 1 || true)
    [ -n "$registry" ] && curl -fsS "http://$registry/v2/" >/dev/null && break
    sleep 0.1
done
echo "listening on $registry"
as_root "$bin/executor" --context "$work/base" --destination "$registry/debian:base" --cache=false

build() { # local state directory
    as_root "$bin/executor" --context examples/hello --dockerfile examples/hello/Dockerfile \
        --build-arg "BASE=$registry/debian:base" --destination "$registry/hello:latest" \
        --cache=true --cache-repo "$registry/hello/cache" --cache-dir "$1" --digest-file "$work/digest"
}

say "first build: every step runs"
as_root rm -rf "$work/state1" "$work/state2"
start=$(date +%s.%N)
build "$work/state1"
first=$(echo "$(date +%s.%N) $start" | awk '{printf "%.2f", $1 - $2}')
digest=$(cat "$work/digest")

say "second build: empty local state, only the registry remembers"
start=$(date +%s.%N)
build "$work/state2" 2>&1 | tee "$work/second.log"
second=$(echo "$(date +%s.%N) $start" | awk '{printf "%.3f", $1 - $2}')
[ "$(cat "$work/digest")" = "$digest" ] || { echo "the rebuild gave another image" >&2; exit 1; }

say "the result runs"
as_root rm -rf "$work/run" && mkdir -p "$work/run"
printf 'FROM %s/hello:latest\nRUN /usr/local/bin/hello\n' "$registry" >"$work/run/Dockerfile"
as_root "$bin/executor" --context "$work/run" --no-push 2>&1 | tee "$work/run.log"
grep -q "Hello from Yadokari" "$work/run.log"

hits=$(grep -c 'cached (' "$work/second.log" || true)
say "first build ${first} s, second ${second} s with ${hits} steps from the cache, same digest $digest"
