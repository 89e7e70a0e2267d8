#!/bin/bash
# Debian's git with all libraries that it needs, at home in /kaniko, for images that have nothing else: contexts and ADD from
# repositories over http and https. It brings its own loader, so that it works whatever lies in the image that is being built.
# usage: git.sh ARCHITECTURE DIRECTORY
# Leaves DIRECTORY/git and DIRECTORY/git-core. Needs apt-get and dpkg-deb (packages are fetched with lists of their own), and readelf.
set -euo pipefail
architecture=$1 out=$(realpath -m "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Packages of an architecture with all that they depend on, unpacked below a folder.
unpacked() { # architecture, folder, package ...
    local state=$work/state-$1
    mkdir -p "$state"/{lists,cache/archives}/partial "$2"
    : >"$state/status"
    local apt=(apt-get -qq -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User=root -o Dir::State="$state"
        -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache")
    "${apt[@]}" update >&2
    "${apt[@]}" --no-install-recommends --download-only --yes install "${@:3}" >/dev/null
    for package in "$state"/cache/archives/*.deb; do dpkg-deb -x "$package" "$2"; done
    rm -rf "$state"
}
unpacked "$architecture" root git
patchelf=$(command -v patchelf || true)
if [ -z "$patchelf" ]; then
    unpacked "$(dpkg --print-architecture)" tools patchelf
    patchelf=$work/tools/usr/bin/patchelf
fi

rm -rf "$out/git" "$out/git-core"
mkdir -p "$out/git-core/lib"
# Everything but the transports is in git itself.
install -m 755 root/usr/bin/git "$out/git"
install -m 755 root/usr/lib/git-core/git-remote-http "$out/git-core/git-remote-http"
ln -s git-remote-http "$out/git-core/git-remote-https"

needed() { LC_ALL=C readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
library() { # name: with all that it needs
    local file
    [ ! -e "$out/git-core/lib/$1" ] || return 0
    file=$(find root -path '*-linux-gnu/*' -name "$1" | head -n 1)
    [ -n "$file" ] || { echo "git.sh: no library $1" >&2; exit 1; }
    cp -L "$file" "$out/git-core/lib/$1"
    chmod 755 "$out/git-core/lib/$1"
    libraries "$file"
}
libraries() { local name; for name in $(needed "$1"); do library "$name"; done; }
for program in "$out/git" "$out/git-core/git-remote-http"; do
    loader=$(LC_ALL=C readelf -l "$program" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
    library "$(basename "$loader")"
    libraries "$program"
    "$patchelf" --set-interpreter "/kaniko/git-core/lib/$(basename "$loader")" --force-rpath --set-rpath /kaniko/git-core/lib "$program"
done
