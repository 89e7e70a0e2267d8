#!/bin/bash
# The same build on two sandboxes must give the same image: overlay on this machine, and in place inside an ordinary
# podman container (default capabilities and seccomp) of deploy/image/Dockerfile's image, which our own executor builds.
# usage: in-place.sh BINARIES; needs root, podman, runc, docker-registry, busybox-static, skopeo.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/containers.sh "$1"
in_container() { # image, arguments
    "${podman[@]}" run --rm --net=host "${limits[@]}" \
        -v "$work/context:/workspace:ro" -v "$work/out:/out" --tls-verify=false "$@"
}

mkdir -p "$work/context/src" "$work/out"
chmod 777 "$work/out"
echo data >"$work/context/src/file"
cat >"$work/context/Dockerfile" <<D
FROM $registry/base:1 AS build
WORKDIR /src
COPY src .
RUN mkdir -p deep/er && echo one > deep/er/one && ln deep/er/one two && ln -s two three && chmod 4755 two
RUN rm -rf deep && mkdir deep && echo new > deep/file && mv three four && mkfifo pipe
RUN --mount=type=bind,source=src,target=/mnt --mount=type=tmpfs,target=/scratch cat /mnt/file > copied && touch /scratch/x
RUN --mount=type=secret,id=s test -z "\$(cat /run/secrets/s | grep -v hidden)" && echo ok > secret-seen
RUN <<SCRIPT
#!/bin/sh
echo by script > script
SCRIPT
FROM $registry/base:1
COPY --from=build /src /srv
COPY --chown=app src/file /home/app/
USER app
RUN id -un > /home/app/me || echo nowrite > /tmp/me
USER root
RUN rm /etc/group && sleep 0.1 && echo done > /done
CMD ["cat", "/done"]
D
echo hidden >"$work/out/secret"
echo "-- overlay"
"$bin/executor" --context "$work/context" --no-push --reproducible --secret "id=s,src=$work/out/secret" --cache=false \
    --sandbox=overlay --digest-file "$work/overlay" >"$work/overlay.log" 2>&1 || { cat "$work/overlay.log"; exit 1; }
echo "-- in place"
in_container "$registry/executor:1" --context /workspace --no-push --reproducible --secret id=s,src=/out/secret --cache=false \
    --sandbox=in-place --digest-file /out/digest >"$work/in-place.log" 2>&1 || { cat "$work/in-place.log"; exit 1; }
if [ "$(cat "$work/overlay")" != "$(cat "$work/out/digest")" ]; then
    echo "overlay gives $(cat "$work/overlay"), in place $(cat "$work/out/digest")" >&2
    exit 1
fi
echo "-- auto finds its way there (podman's seccomp profile allows user namespaces, Docker's does not), and the cache works"
for run in 1 2; do
    in_container "$registry/executor:1" --context /workspace --destination "$registry/app:1" --secret id=s,src=/out/secret --cache \
        --reproducible --digest-file "/out/auto$run" -v debug >"$work/cached$run.log" 2>&1 || { cat "$work/cached$run.log"; exit 1; }
done
grep -Eo 'sandbox (userns|in-place)[^;]*' "$work/cached1.log" || { cat "$work/cached1.log"; exit 1; }
grep -q ', 0 run,' "$work/cached2.log" || { cat "$work/cached2.log"; exit 1; }
[ "$(cat "$work/out/auto1" "$work/out/auto2")" = "$(cat "$work/overlay" "$work/overlay")" ] || { echo "auto gives another image" >&2; exit 1; }
echo "-- the pushed image runs"
[ "$("${podman[@]}" run --rm --net=host --tls-verify=false "${limits[@]}" "$registry/app:1")" = done ]
echo "-- what a build leaves alone, and what it does not"
mkdir "$work/shell" "$work/cache"
cp /bin/busybox "$work/shell/"
printf 'FROM %s/executor:1\nCOPY busybox /kaniko/\n' "$registry" >"$work/shell/Dockerfile"
"$bin/executor" -c "$work/shell" -d "$registry/shell:1" --cache=false >"$work/shell.log" 2>&1 || { cat "$work/shell.log"; exit 1; }
printf 'FROM %s/base:1 AS one\nRUN echo 1 > /one && echo x > /keep/by-step && test ! -e /gone && test -e /keep/kept\nFROM %s/base:1\nCOPY --from=one /one /two\nRUN test ! -e /one && test -e /two && test -e /keep/kept && mkdir -p /var/run && touch /var/run/x\n' \
    "$registry" "$registry" >"$work/context/Dockerfile.wipe"
echo cached >"$work/cache/file"
in_container -v "$work/cache:/cache" --entrypoint /kaniko/busybox "$registry/shell:1" sh -ec '
    b=/kaniko/busybox
    $b mkdir /keep /gone && $b touch /keep/kept /gone/file /kaniko/mine
    for mode in full redo time; do
        /kaniko/executor -f /workspace/Dockerfile.wipe --no-push --cache=false --sandbox=in-place --ignore-path=/keep --snapshot-mode=$mode --tar-path=/out/$mode.tar
    done
    $b test -e /two
    /kaniko/executor -f /workspace/Dockerfile.wipe --no-push --cache=false --sandbox=in-place --ignore-path=/keep --cleanup
    $b test ! -e /two && $b test ! -e /bin && $b test -e /keep/kept && $b test -e /kaniko/mine
    $b grep -q cached /cache/file && $b test -e /workspace/Dockerfile.wipe && $b test -s /etc/hosts' >"$work/wipe.log" 2>&1 || { cat "$work/wipe.log"; exit 1; }
for mode in full redo time; do
    for layer in $(tar -tf "$work/out/$mode.tar" | grep 'gz$'); do tar -xOf "$work/out/$mode.tar" "$layer" | tar -tz; done >"$work/names"
    grep -E '^(keep/|var/run/x|kaniko|cache|workspace)' "$work/names" && { echo "$mode: what was to be ignored is in the image" >&2; exit 1; }
    grep -qx two "$work/names" || { echo "$mode: a file is missing" >&2; exit 1; }
done
echo "-- --preserve-context brings back what --cleanup wipes; --materialize leaves the image's files"
printf 'FROM %s/base:1\nRUN echo made > /made && mkdir /cache && echo of-the-image > /cache/file\n' "$registry" >"$work/context/Dockerfile.plain"
in_container --entrypoint /kaniko/busybox "$registry/shell:1" sh -ec '
    b=/kaniko/busybox
    build() { /kaniko/executor -f /workspace/Dockerfile.plain --sandbox=in-place "$@"; }
    $b mkdir -p /mine/deep && echo kept > /mine/deep/file && $b ln -s deep/file /mine/link && $b chmod 4750 /mine/deep/file
    build --no-push --cleanup --preserve-context --tar-path=/out/plain.tar
    $b test ! -e /made && $b test "$($b cat /mine/link)" = kept && $b test "$($b stat -c %a /mine/deep/file)" = 4750
    $b test "$($b ls -A /cache | $b wc -l)" = 0 && $b test -z "$($b ls /kaniko | $b grep tmp)"
    build --cache -d '"$registry"'/plain:1 && $b touch /marker && $b rm /made
    build --cache -d '"$registry"'/plain:1 && $b test -e /marker && $b test ! -e /made
    build --cache -d '"$registry"'/plain:1 --materialize && $b test ! -e /marker && $b test -e /made' \
    >"$work/preserve.log" 2>&1 || { cat "$work/preserve.log"; exit 1; }
for layer in $(tar -tf "$work/out/plain.tar" | grep 'gz$'); do tar -xOf "$work/out/plain.tar" "$layer" | tar -tz; done | grep -x cache/file >/dev/null ||
    { echo "an empty /cache hides that of the image" >&2; exit 1; }
echo "-- a context in the container's own root, outputs beside it, twice; --cleanup leaves them, and where the job stands"
mkdir "$work/own"
cat >"$work/own/start" <<S
b=/kaniko/busybox
\$b mkdir -p /job/p/sub /elsewhere /root/.aws && echo key > /root/.aws/credentials && cd /job/p
echo data > sub/file && echo left-out > ignored && echo ignored > .dockerignore && \$b ln -s sub/file link
printf 'FROM $registry/base:1\\nRUN test ! -e /job/p/sub && test ! -e /root/.aws && mkdir -p /job/p && echo image > /job/p/link\\nCOPY . /c\\nRUN cat /c/sub/file /c/link && test ! -e /c/ignored\\n' > Dockerfile
S
in_container -v "$work/own:/own:ro" --entrypoint /kaniko/busybox "$registry/shell:1" sh -ec '
    . /own/start
    for run in 1 2; do
        /kaniko/executor -c . --no-push --cache=false --sandbox=in-place --digest-file=digest --tar-path=tar -v warn --reproducible
        cd /job/p && $b test "$($b cat sub/file ignored)" = "$(echo data; echo left-out)" && $b test -s tar && $b test -L link
        $b cp digest /out/own$run && echo old > digest && $b test "$($b cat /root/.aws/credentials)" = key
    done
    $b rm tar digest && $b mkdir /stand && cd /stand
    (cd / && /kaniko/executor -c /job/p --no-push --cache=false --sandbox=in-place --digest-file=/elsewhere/digest --tar-path=/tar -v warn --reproducible --cleanup)
    cd /stand && cd /job/p && $b test -s /tar && $b test -e ignored && $b test ! -e /bin && $b test ! -e /c && $b test ! -e /root
    $b cp /elsewhere/digest /out/own3 && $b test "$($b ls -A /kaniko | $b grep -c "^context-")" = 0' \
    >"$work/own.log" 2>&1 || { cat "$work/own.log"; exit 1; }
for run in 1 2 3; do grep -qE '^sha256:[0-9a-f]{64}$' "$work/out/own$run" || { echo "no digest" >&2; exit 1; }; done
[ "$(cat "$work/out/own1")" = "$(cat "$work/out/own3")" ] || { echo "--cleanup gives another image" >&2; exit 1; }
echo "in place equals overlay: $(cat "$work/overlay")"
