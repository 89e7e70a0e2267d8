#!/bin/bash
# A RUN step tries to get at the executor's credentials: environment, descriptors, memory and files, in each sandbox.
# usage: credentials.sh BINARIES; needs root, cc, podman, runc, docker-registry, busybox-static.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/containers.sh "$1"

echo 's3cret-from-a-file' >"$work/context/marker"
printf '{"auths": {"registry.invalid": {"username": "u", "password": "s3cret-from-a-file"}}}' >"$work/config.json"
cat >"$work/attach.c" <<'C'
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
int main(int argc, char **argv) {
    pid_t pid = atoi(argv[1]);
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)strtoul(argv[2], 0, 16), 1};
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 || process_vm_readv(pid, &here, 1, &there, 1, 0) == 1) puts("s3cret by ptrace");
    return 0;
}
C
mkdir -p "$work/context/bin"
cc -static -O1 -o "$work/context/bin/attach" "$work/attach.c"
# What it must not find is put together here, for its own command line is in /proc too.
cat >"$work/context/bin/snoop" <<'D'
#!/bin/sh
marker=s3"cret"
own=$$
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    grep -qs "^PPid:[[:space:]]*$own$" "$process/status" && continue
    [ "$pid" = "$own" ] || [ "$pid" = "$PPID" ] && continue
    tr '\0' '\n' <"$process/environ" | grep "$marker" && echo "environment of $pid"
    for descriptor in "$process"/fd/*; do [ -f "$descriptor" ] && grep "$marker" "$descriptor"; done
    for path in $(cat "$work" /tmp/paths); do grep -H "$marker" "$process/root$path" "$process/cwd$path"; done
    attach "$pid" "$(head -n 1 "$process/maps" | cut -d- -f1)"
done 2>/dev/null
for path in $(cat /tmp/paths); do grep -rH "$marker" "$path" 2>/dev/null; done
ln /kaniko/.docker/config.json /stolen 2>/dev/null
mv /kaniko/.docker/config.json /tmp/stolen 2>/dev/null
grep -H "$marker" /stolen* /tmp/stolen* 2>/dev/null
true
D
sed -i 's/"\$work" //' "$work/context/bin/snoop"
chmod 755 "$work/context/bin/snoop"
cat >"$work/context/Dockerfile" <<D
FROM $registry/base:1
COPY bin /bin/
RUN echo /kaniko/.docker /kaniko/key.json > /tmp/paths; snoop > /found; cat /found; ! grep . /found
RUN grep -l s3"cret" /stolen* /tmp/stolen* 2>/dev/null; snoop > /found; cat /found; ! grep . /found
USER app
RUN snoop > /tmp/found2; cat /tmp/found2; ! grep . /tmp/found2
USER root
RUN test ! -e /usr/new && mkdir -p /usr/new/er && echo x > /usr/new/er/f && cat /usr/new/er/f && mv /usr/new/er/f /tmp/f && ln /tmp/f /usr/g && cat /usr/g
D
export SECRET_TOKEN=s3cret-environment
flags=(--context "$work/context" --no-push --cache=false)

refused() { # name, log: the snooping step must have found nothing
    if grep -q 's3cret' "$2"; then echo "$1: a step could read a secret" >&2; cat "$2" >&2; exit 1; fi
}
for sandbox in overlay userns; do
    echo "-- $sandbox"
    DOCKER_CONFIG=$work "$bin/executor" "${flags[@]}" --sandbox=$sandbox >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    refused $sandbox "$work/log"
done

echo "-- in place, a file of the container's own"
printf 'FROM %s/executor:1\nCOPY config.json /kaniko/.docker/\n' "$registry" >"$work/Dockerfile.own"
"$bin/executor" -c "$work" -f "$work/Dockerfile.own" -d "$registry/own:1" --cache=false >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
build() { "${podman[@]}" run --net=host "${limits[@]}" --tls-verify=false --env SECRET_TOKEN -v "$work/context:/workspace:ro" "$@" --context /workspace --no-push --cache=false --sandbox=in-place >"$work/log" 2>&1; }
build --name own "$registry/own:1" || { cat "$work/log"; exit 1; }
refused "a file of the container's own" "$work/log"
"${podman[@]}" cp own:/kaniko/.docker/config.json "$work/after.json"
cmp "$work/config.json" "$work/after.json" || { echo "the file is not back after the build" >&2; exit 1; }
"${podman[@]}" rm own >/dev/null
mkdir "$work/docker"
cp "$work/config.json" "$work/docker/"
mounted=(--rm -v "$work/docker:/kaniko/.docker:ro")
echo "-- in place, nothing hidden: what is looked for can be found, and there is a warning"
if build "${mounted[@]}" "$registry/executor:1"; then echo "the step found nothing: this test proves nothing" >&2; exit 1; fi
grep -q 'can read credentials: /kaniko/.docker/config.json' "$work/log" || { cat "$work/log"; exit 1; }
grep -q 's3cret-environment\|ptrace' "$work/log" && { cat "$work/log"; exit 1; }
echo "-- in place, hidden by Landlock"
build "${mounted[@]}" "$registry/executor:1" --hide-credentials=strict || { cat "$work/log"; exit 1; }
refused Landlock "$work/log"
echo "-- in place, hidden by mounts"
build "${mounted[@]}" --cap-add SYS_ADMIN "$registry/executor:1" || { cat "$work/log"; exit 1; }
refused mounts "$work/log"
grep -q WARN "$work/log" && { cat "$work/log"; exit 1; }
echo "no step could read a credential"
