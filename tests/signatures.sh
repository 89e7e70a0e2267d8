#!/bin/bash
# Signs an image with the executor and has others check it: sigstore's models and securesystemslib, when pip can fetch them.
# signatures.sh DIRECTORY_OF_BINARIES [PYTHON_PACKAGES]
set -euo pipefail
bin=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'kill "$registry" 2>/dev/null || true; rm -rf "$work"' EXIT
packages=${2:-$work/python}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$work/config.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/data}}
http: {addr: '127.0.0.1:$port'}
YAML
docker-registry serve "$work/config.yml" >/dev/null 2>&1 &
registry=$!
if [ ! -d "$packages" ] && ! python3 -m pip install --quiet --target "$packages" 'securesystemslib[crypto]' sigstore-models 2>"$work/pip"; then
    echo "not checked by others: pip cannot install securesystemslib and sigstore-models"
    exit 0
fi
export COSIGN_PASSWORD=secret YADOKARI_SIGN_KEY=$work/cosign.key DOCKER_CONFIG=/nonexistent
"$bin/executor" generate-key-pair --output-key-prefix "$work/cosign"
printf 'FROM scratch\nCOPY a /\n' > "$work/Dockerfile"
echo a > "$work/a"
"$bin/executor" -c "$work" -d "127.0.0.1:$port/app:1"
"$bin/executor" verify "127.0.0.1:$port/app:1" --key "$work/cosign.pub"
PYTHONPATH=$packages python3 "$here/attest/independent.py" "127.0.0.1:$port/app:1" "$work/cosign.pub"
