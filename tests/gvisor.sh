#!/bin/bash
# Builds one Dockerfile inside gVisor (Debian's runsc, in a podman container): the image must be the one that this machine
# makes, and the sandbox in place.
# usage: gvisor.sh BINARIES; needs root, podman, runsc, docker-registry, busybox-static.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/containers.sh "$1"
wrong() { echo "$1" >&2; cat "$work/log" >&2; exit 1; }
mkdir "$work/out" "$work/context/src"
echo data >"$work/context/src/file"
cat >"$work/context/Dockerfile" <<D
FROM $registry/base:1 AS build
WORKDIR /src
COPY src .
RUN mkdir -p deep/er && echo one > deep/er/one && chmod 4711 deep/er/one && ln deep/er/one two && ln -s two three
RUN mv deep deeper && rm three && chown app file && (sleep 1000 &)
FROM $registry/base:1
COPY --from=build /src /srv
RUN rm /etc/group && echo done > /done && chown app /srv
USER app
RUN id -u > /srv/id
CMD ["cat", "/done"]
D
flags=(--context "$work/context" --no-push --reproducible --cache=false)
"$bin/executor" "${flags[@]}" --digest-file "$work/expected" >"$work/log" 2>&1 || wrong "on this machine"

gvisor=("${podman[@]}" --runtime runsc --runtime-flag platform=ptrace --runtime-flag network=host)
container() {
    "${gvisor[@]}" run --rm --net=host --security-opt seccomp=unconfined --tls-verify=false -v "$work/context:/workspace:ro" \
        -v "$work/out:/out" "$registry/executor:1" "$@" >"$work/log" 2>&1
}
echo "-- doctor"
container doctor || wrong "doctor sees a problem"
grep -q 'gVisor' "$work/log" || wrong "doctor does not know gVisor"
grep -q 'in-place' "$work/log" || wrong "doctor expects another sandbox"
echo "-- build"
container --context /workspace "${flags[@]:2}" --digest-file /out/digest -v debug || wrong "no image"
grep -q 'sandbox in-place:' "$work/log" || wrong "not in place"
[ "$(cat "$work/out/digest")" = "$(cat "$work/expected")" ] || wrong "another image"
echo "-- build and push, with a cache"
for build in first second; do
    container --context /workspace --cache --cache-repo "$registry/cache" --destination "$registry/app:1" --insecure || wrong "$build build failed"
done
grep -q 'missed:' "$work/log" && wrong "the second build ran steps"
echo "the same image: $(cat "$work/expected")"
