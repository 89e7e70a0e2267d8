# Sourced by test scripts, from the repository's root, with the folder of the binaries: a registry, podman, a base image and
# the executor's own image. Gives bin, work, registry, podman, limits, and an empty folder work/context.
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
limits=(--ulimit nofile=20000:20000 --ulimit nproc=10000:10000)
leave() {
    "${podman[@]}" rm -af >/dev/null 2>&1 || true
    "${podman[@]}" rmi -af >/dev/null 2>&1 || true
    kill $server 2>/dev/null || true
    umount "$work"/podman/overlay 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT
for _ in $(seq 600); do curl -fsS "http://$registry/v2/" >/dev/null 2>&1 && break; sleep 0.1; done

echo "-- image of the executor, built by the executor"
deploy/image/build.sh --only executor "$registry" 1 amd64="$bin" >"$work/deploy.log" 2>&1 || { cat "$work/deploy.log"; exit 1; }

echo "-- base image"
mkdir -p "$work/base/root"/{bin,etc,tmp,dev,proc,sys,run,var,root,usr} "$work/context"
chmod 1777 "$work/base/root/tmp"
cp /bin/busybox "$work/base/root/bin/"
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "$work/base/root/bin/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n' >"$work/base/root/etc/passwd"
printf 'root:x:0:\napp:x:1000:\n' >"$work/base/root/etc/group"
printf 'FROM scratch\nCOPY root /\nENV PATH=/bin\n' >"$work/base/Dockerfile"
"$bin/executor" -c "$work/base" -d "$registry/base:1" >"$work/base.log" 2>&1 || { cat "$work/base.log"; exit 1; }
