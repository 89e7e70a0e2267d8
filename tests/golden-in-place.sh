#!/bin/bash
# The golden suite in place: every build in an ordinary podman container of its own (default capabilities and seccomp) of
# deploy/image/Dockerfile's image. What cannot pass there stands in tests/golden-in-place-pending.txt, with the reason.
# usage: golden-in-place.sh BINARIES GOLDEN [RUN.PY FLAG ...]; needs root, podman, runc, docker-registry, git, and what run.py needs.
set -euo pipefail
cd "$(dirname "$0")/.."
# Cases use /tmp and /var/tmp; what is mounted there would be seen.
export TMPDIR=/media
source tests/support/containers.sh "$1"
golden=$(realpath "$2")
shift 2

mkdir "$work/tmp"
# What run.py takes for the executor. It gets the variables of the case, and none of the rest.
env | cut -d= -f1 | sort >"$work/env"
cat >"$work/executor" <<E
#!/bin/bash
variables=()
for name in \$(compgen -e); do grep -qx "\$name" "$work/env" || variables+=(--env "\$name"); done
exec ${podman[*]} run --rm --net=host --pull=never ${limits[*]} \\
    -v "$work/tmp:$work/tmp" -w "\$PWD" "\${variables[@]}" \\
    "$registry/executor:1" --sandbox=in-place --ignore-var-run=false "\$@"
E
chmod 755 "$work/executor"
"${podman[@]}" pull -q --tls-verify=false "$registry/executor:1" >/dev/null
GOLDEN_REGISTRY=$registry TMPDIR=$work/tmp python3 "$golden/run.py" --executor "$work/executor" --jobs 1 --pending tests/golden-in-place-pending.txt "$@"
