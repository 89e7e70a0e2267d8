#!/bin/bash
# Builds one Dockerfile in podman containers under several profiles; the image must be the same everywhere, and the sandbox
# the expected one.
# usage: profiles.sh BINARIES; needs root, podman, runc, docker-registry, busybox-static.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/containers.sh "$1"
wrong() { echo "$1" >&2; cat "$work/log" >&2; exit 1; }
mkdir "$work/out"
chmod 777 "$work/out" "$work"

python3 tests/support/seccomp.py "$work/seccomp.json"

mkdir "$work/context/src"
echo data >"$work/context/src/file"
cat >"$work/context/Dockerfile" <<D
FROM $registry/base:1 AS build
WORKDIR /src
COPY src .
RUN mkdir -p deep/er && echo one > deep/er/one && ln deep/er/one two && ln -s two three
FROM $registry/base:1
COPY --from=build /src /srv
RUN rm /etc/group && echo done > /done
CMD ["cat", "/done"]
D
printf 'FROM %s/base:1\nWORKDIR /src\nCOPY src .\nADD src/file /added\nCMD ["cat", "/added"]\n' "$registry" >"$work/context/Dockerfile.copy"
expected() { # Dockerfile
    "$bin/executor" --context "$work/context" -f "$1" --no-push --reproducible --cache=false --digest-file "$work/expected" >"$work/log" 2>&1 || wrong "on this machine"
    cat "$work/expected"
}
whole=$(expected Dockerfile)
copies=$(expected Dockerfile.copy)
container() { # podman's flags, then -- and the executor's
    local profile=()
    while [ "$1" != -- ]; do profile+=("$1"); shift; done
    shift
    rm -f "$work"/out/*
    "${podman[@]}" run --rm --net=host "${limits[@]}" --tls-verify=false -v "$work/context:/workspace:ro" -v "$work/out:/out" \
        "${profile[@]}" "$registry/executor:1" "$@" >"$work/log" 2>&1
}
flags=(--context /workspace --no-push --reproducible --cache=false --digest-file /out/digest --tar-path /out/image.tar -v debug)
builds() { # name, sandbox, podman's flags
    echo "-- $1"
    container "${@:3}" -- "${flags[@]}" || wrong "$1: no image"
    grep -q "sandbox $2:" "$work/log" || wrong "$1: not $2"
    [ "$(cat "$work/out/digest")" = "$whole" ] || wrong "$1: another image"
    tar -tf "$work/out/image.tar" | grep manifest.json >/dev/null || wrong "$1: no archive"
    container "${@:3}" -- doctor --json || wrong "$1: doctor sees a problem"
    grep -q "\"sandbox\": \"$2\"" "$work/log" || wrong "$1: doctor says something else"
}
docker=(--security-opt "seccomp=$work/seccomp.json")
builds "Docker's default" in-place "${docker[@]}"
builds "podman's default" userns
builds "CAP_SYS_ADMIN" overlay "${docker[@]}" --cap-add SYS_ADMIN
builds "CAP_SYS_ADMIN, /tmp on a file system that can hold an overlay" overlay "${docker[@]}" --cap-add SYS_ADMIN --tmpfs /tmp
builds "root, no seccomp" userns --security-opt seccomp=unconfined
builds "root of a user namespace, with CAP_SYS_ADMIN in it" userns "${docker[@]}" --uidmap 0:100000:65536 --gidmap 0:100000:65536 --cap-add SYS_ADMIN

# With one id, files cannot have the owners that they should have: the image is made, and may be another.
echo "-- not root, user namespaces allowed"
container --user 1000:1000 --tmpfs /tmp -- "${flags[@]}" || wrong "not root, user namespaces allowed: no image"
grep -q 'sandbox userns:' "$work/log" || wrong "not root, user namespaces allowed: not userns"

echo "-- not root, read-only, no capabilities"
restricted=("${docker[@]}" --user 1000:1000 --read-only --cap-drop ALL --security-opt no-new-privileges)
container "${restricted[@]}" -- "${flags[@]}" -f Dockerfile.copy || wrong "restricted: COPY and ADD"
[ "$(cat "$work/out/digest")" = "$copies" ] || wrong "restricted: another image"
container "${restricted[@]}" -- "${flags[@]}" && wrong "restricted: RUN succeeded"
grep -q 'RUN is not possible here' "$work/log" && grep -q 'CAP_SYS_ADMIN is missing' "$work/log" || wrong "restricted: the error is not clear"
container "${restricted[@]}" -- doctor && wrong "restricted: doctor sees no problem"
grep -q 'runAsUser: 0' "$work/log" || wrong "restricted: doctor has no advice"
echo "the same image under every profile: $whole"
