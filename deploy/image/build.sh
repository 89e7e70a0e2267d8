#!/bin/bash
# Builds the images of this folder's Dockerfile with our own executor, an index each when there are several architectures:
#   PREFIX/executor:TAG  PREFIX/executor:TAG-debug  PREFIX/warmer:TAG  PREFIX/cache-server:TAG
#
# usage: build.sh [--only TARGET] PREFIX TAG ARCHITECTURE=BINARIES ... [-- EXECUTOR FLAG ...]
#   ARCHITECTURE  amd64 or arm64; that of this machine has to be among them
#   BINARIES      folder with static executor, warmer and cache-server: target/x86_64-unknown-linux-musl/release.
#                 A static busybox for the debug image is looked for there, then (this machine's architecture) on the PATH,
#                 then among Debian's packages (apt-get, with lists of its own).
#                 So is git, as git.sh leaves it there; else git.sh makes it of Debian's packages, at most once a day.
#   --only        one of executor, debug, warmer, cache-server
# CA_CERTIFICATES names the certificates that go into the images; default: /etc/ssl/certs/ca-certificates.crt.
# With SOURCE_DATE_EPOCH set, the same programs give the same images.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
die() { echo "build.sh: $*" >&2; exit 1; }
usage() { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }

targets=(executor debug warmer cache-server)
if [ "${1-}" = --only ]; then targets=("${2-}"); shift 2 || usage; fi
[ $# -ge 3 ] || usage
prefix=$1 tag=$2
shift 2
declare -A binaries
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [[ $1 == *=* ]] || usage
    binaries[${1%%=*}]=${1#*=}
    shift
done
[ "${1-}" != -- ] || shift
flags=("$@")

case $(uname -m) in
    x86_64) own=amd64 ;;
    aarch64) own=arm64 ;;
    *) die "no programs for $(uname -m)" ;;
esac
[ -n "${binaries[$own]-}" ] || die "the executor that builds has to run here: $own=BINARIES is missing"
executor=$(realpath "${binaries[$own]}")/executor
platforms=$(printf 'linux/%s\n' "${!binaries[@]}" | sort | paste -sd,)
needs() { [[ " ${targets[*]} " == *" $1 "* ]]; }

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -d -m 1777 "$context/root/tmp"
install -d -m 700 "$context/root/root"
install -d "$context"/root/{cache,etc,kaniko/ssl/certs} "$context/empty" "$context/shell"
# For git, which is Debian's: without it /etc/hosts does not count before the name server.
echo 'hosts: files dns' >"$context/root/etc/nsswitch.conf"
# As Kaniko's: who is not root, too, writes credentials there. Nobody removes what is another's.
install -d -m 1777 "$context"/root/kaniko{,/.docker}
install -m 644 "${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$context/root/kaniko/ssl/certs/ca-certificates.crt"
ln -s /busybox/sh "$context/shell/sh"

static_busybox() { # architecture, file: finds it and puts it there
    if [ -x "${binaries[$1]}/busybox" ]; then
        cp "${binaries[$1]}/busybox" "$2"
    elif [ "$1" = "$own" ] && [ -n "$(command -v busybox)" ]; then
        cp "$(command -v busybox)" "$2"
    else
        (cd "$(mktemp -d)" && trap 'rm -rf "$PWD"' EXIT && debian "$1" update && debian "$1" download busybox-static &&
            dpkg-deb -x ./*.deb . && cp bin/busybox "$2") || die "no static busybox for $1: put one into ${binaries[$1]}"
    fi
}
debian() { # architecture, command of apt-get: with lists in this folder, so that this machine's packages stay as they are
    mkdir -p lists/partial cache/archives/partial
    : >status
    apt-get -qq -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User=root -o Dir::State="$PWD" \
        -o Dir::State::status="$PWD/status" -o Dir::Cache="$PWD/cache" "${@:2}" >/dev/null
}
shell() { # architecture: busybox and a link for each of its programs
    install -d "$context/$1/busybox"
    static_busybox "$1" "$context/$1/busybox/busybox"
    # Both are of one version, and the other's cannot be asked here.
    for name in $(busybox --list); do
        [ "$name" = busybox ] || ln -s busybox "$context/$1/busybox/$name"
    done
}
git() { # architecture
    local made=${binaries[$1]} kept=$here/../../target/tools/git-$1
    if [ ! -x "$made/git" ] || [ ! -d "$made/git-core" ]; then
        made=$kept
        [ -n "$(find "$kept/complete" -mtime 0 2>/dev/null)" ] || { rm -rf "$kept" && "$here/git.sh" "$1" "$kept" && touch "$kept/complete"; } ||
            die "no git for $1: see git.sh"
    fi
    cp -a "$made/git" "$made/git-core" "$context/$1/"
}
for architecture in "${!binaries[@]}"; do
    install -d "$context/$architecture"
    for program in executor warmer cache-server; do
        # What only another image needs need not be there.
        [ "$program" = cache-server ] && ! needs cache-server && continue
        cp "${binaries[$architecture]}/$program" "$context/$architecture/" || die "no $program for $architecture"
    done
    if needs executor || needs debug; then git "$architecture"; fi
    if needs debug; then shell "$architecture"; fi
done

[ -z "${SOURCE_DATE_EPOCH-}" ] || flags+=(--rewrite-timestamp)
for target in "${targets[@]}"; do
    case $target in
        executor | warmer | cache-server) name=$prefix/$target:$tag ;;
        debug) name=$prefix/executor:$tag-debug ;;
        *) die "no image is called $target" ;;
    esac
    echo "$name ($platforms)"
    "$executor" --context "$context" --dockerfile "$here/Dockerfile" --target "$target" --platform "$platforms" \
        --destination "$name" --cache=false ${flags[@]+"${flags[@]}"}
done
