#!/bin/bash
# The same build on two sandboxes must give the same image: overlay on this machine, and in place inside an ordinary
# podman container (default capabilities and seccomp) of deploy/Dockerfile's image, which our own executor builds.
# usage: in-place.sh BINARIES; needs root, podman, runc, docker-registry, busybox-static, skopeo.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
registry=127.0.0.1:$port
cat >"$work/registry.yml" <<Y
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: '$registry'}
Y
docker-registry serve "$work/registry.yml" >/dev/null 2>&1 &
server=$!
podman=(podman --root "$work/podman" --runroot "$work/run" --cgroup-manager=cgroupfs --runtime runc)
trap '"${podman[@]}" rmi -af >/dev/null 2>&1 || true; kill $server; umount "$work"/podman/overlay 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do curl -fsS "http://$registry/v2/" >/dev/null 2>&1 && break; sleep 0.1; done
in_container() { # image, arguments
    "${podman[@]}" run --rm --net=host --ulimit nofile=20000:20000 --ulimit nproc=10000:10000 \
        -v "$work/context:/workspace:ro" -v "$work/out:/out" --tls-verify=false "$@"
}

echo "-- image of the executor, built by the executor"
deploy/build.sh "$bin" --destination "$registry/yadokari:1" >"$work/deploy.log" 2>&1 || { cat "$work/deploy.log"; exit 1; }

echo "-- base image"
mkdir -p "$work/base/root"/{bin,etc,tmp,dev,proc,sys,run,var,root}
cp /bin/busybox "$work/base/root/bin/"
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "$work/base/root/bin/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n' >"$work/base/root/etc/passwd"
printf 'root:x:0:\napp:x:1000:\n' >"$work/base/root/etc/group"
printf 'FROM scratch\nCOPY root /\nENV PATH=/bin\n' >"$work/base/Dockerfile"
"$bin/executor" -c "$work/base" -d "$registry/base:1" >/dev/null 2>&1

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
in_container "$registry/yadokari:1" --context /workspace --no-push --reproducible --secret id=s,src=/out/secret --cache=false \
    --sandbox=in-place --digest-file /out/digest >"$work/in-place.log" 2>&1 || { cat "$work/in-place.log"; exit 1; }
if [ "$(cat "$work/overlay")" != "$(cat "$work/out/digest")" ]; then
    echo "overlay gives $(cat "$work/overlay"), in place $(cat "$work/out/digest")" >&2
    exit 1
fi
echo "-- auto finds its way there (podman's seccomp profile allows user namespaces, Docker's does not), and the cache works"
for run in 1 2; do
    in_container "$registry/yadokari:1" --context /workspace --destination "$registry/app:1" --secret id=s,src=/out/secret --cache \
        --reproducible --digest-file "/out/auto$run" -v debug >"$work/cached$run.log" 2>&1 || { cat "$work/cached$run.log"; exit 1; }
done
grep -Eo 'sandbox (userns|in-place)[^;]*' "$work/cached1.log" || { cat "$work/cached1.log"; exit 1; }
grep -q ', 0 run,' "$work/cached2.log" || { cat "$work/cached2.log"; exit 1; }
[ "$(cat "$work/out/auto1" "$work/out/auto2")" = "$(cat "$work/overlay" "$work/overlay")" ] || { echo "auto gives another image" >&2; exit 1; }
echo "-- the pushed image runs"
[ "$("${podman[@]}" run --rm --net=host --tls-verify=false --ulimit nofile=20000:20000 --ulimit nproc=10000:10000 "$registry/app:1")" = done ]
echo "in place equals overlay: $(cat "$work/overlay")"
