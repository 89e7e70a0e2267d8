#!/bin/bash
# The images of deploy/image, and the ways that pipelines use them, in podman containers: what lies where, the shell of
# debug, the job of deploy/gitlab-ci.yml line by line, credentials as Pods have them.
# usage: images.sh BINARIES [ARM64_BINARIES]; needs root, podman, runc, docker-registry, busybox-static, skopeo, perl, git, openssl, and for
# the other architecture qemu-user-static and file. Amazon's S3 is moto.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/python.sh
source tests/support/containers.sh "$1"
wrong() { echo "$1" >&2; cat "$work/log" >&2; exit 1; }
python3 tests/support/seccomp.py "$work/seccomp.json"
# As Docker and Kubernetes start containers: default capabilities, and no user namespaces.
container() { "${podman[@]}" run --rm --net=host "${limits[@]}" --tls-verify=false --security-opt seccomp="$work/seccomp.json" "$@" >"$work/log" 2>&1; }
has() { # image, what `skopeo inspect --config` has to say for a jq-like path in Python
    skopeo inspect --tls-verify=false --config "docker://$registry/$1" | "$python" -c "import json, sys; it = json.load(sys.stdin)['config']; assert $2, it" || wrong "$1: $2"
}

echo "-- all images"
architectures=(amd64="$bin")
[ -z "${2-}" ] || architectures+=(arm64="$2")
deploy/image/build.sh "$registry" 1 "${architectures[@]}" >"$work/log" 2>&1 || wrong "no images"
environment="{'HOME=/root', 'SSL_CERT_DIR=/kaniko/ssl/certs', 'DOCKER_CONFIG=/kaniko/.docker/'} <= set(it['Env'])"
has executor:1 "$environment and it['Entrypoint'] == ['/kaniko/executor'] and it['WorkingDir'] == '/workspace' and not it.get('User')"
has executor:1-debug "$environment and 'PATH=/usr/local/bin:/kaniko:/busybox' in it['Env'] and '/busybox' in it['Volumes'] and not it.get('User')"
has warmer:1 "$environment and it['Entrypoint'] == ['/kaniko/warmer']"
has cache-server:1 "it['User'] == '65532:65532' and it['Entrypoint'] == ['/usr/local/bin/cache-server']"
container "$registry/executor:1" version || wrong "executor"
container "$registry/warmer:1" --version || wrong "warmer"
container --add-host=registry.local:127.0.0.1 -v "$work/base:/workspace:ro" "$registry/executor:1" -d "registry.local:${registry##*:}/local:1" ||
    wrong "a registry of the local network that has no certificate"
container --entrypoint '' --user 1000 "$registry/executor:1-debug" sh -ec 'mkdir -p /kaniko/.docker && echo "{}" > /kaniko/.docker/config.json' ||
    wrong "who is not root cannot log in"
container --entrypoint '' "$registry/executor:1-debug" /busybox/sh -ec '
    test -x /kaniko/executor && test -x /kaniko/warmer && test -d /kaniko/.docker && test -d /cache && test "$PWD" = /workspace
    test "$(stat -c %a /tmp /root /kaniko /kaniko/.docker)" = "1777
700
1777
1777" && test "$(id -u)" = 0 && test "$HOME" = /root && sh -c "sleep 0" && /bin/sh -c true
    grep -q "BEGIN CERTIFICATE" /kaniko/ssl/certs/ca-certificates.crt' || wrong "debug"

echo "-- cache-server: nobody in particular, without capabilities, on a file system that cannot be written"
"${podman[@]}" run -d --name cache-server --net=host "${limits[@]}" --tls-verify=false --read-only --volume /data --cap-drop=ALL --security-opt no-new-privileges \
    "$registry/cache-server:1" serve --listen 127.0.0.1:0 --data /data >"$work/log" 2>&1 || wrong "cache-server"
for _ in $(seq 600); do
    address=$("${podman[@]}" logs cache-server 2>/dev/null | sed -n 's#^listening on http://##p')
    [ -n "$address" ] && break
    sleep 0.1
done
curl -fsS "http://$address/readyz" >/dev/null || { "${podman[@]}" logs cache-server >"$work/log" 2>&1; wrong "cache-server is not ready"; }
skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$registry/base:1" "docker://$address/base:1"
"${podman[@]}" rm -f -t 5 cache-server >/dev/null

echo "-- a registry that asks who we are"
password=s3cret-of-the-registry
hash() { perl -e 'print crypt($ARGV[0], "\$2b\$05\$abcdefghijklmnopqrstuu")' "$1"; }
for user in pipeline AWS oauth2accesstoken; do echo "$user:$(hash $password)"; done >"$work/htpasswd"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
closed=127.0.0.1:$(free_port)
cat >"$work/closed.yml" <<Y
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/closed}}
http: {addr: '$closed'}
auth: {htpasswd: {realm: closed, path: $work/htpasswd}}
Y
docker-registry serve "$work/closed.yml" >/dev/null 2>&1 &
others=($!)
trap 'kill "${others[@]}" 2>/dev/null || true; leave' EXIT
for _ in $(seq 600); do [ "$(curl -s -o /dev/null -w '%{http_code}' "http://$closed/v2/" || true)" = 401 ] && break; sleep 0.1; done
pushed() { # repository:tag of the closed registry: is it there, and does it run?
    "${podman[@]}" pull -q --tls-verify=false --creds "pipeline:$password" "$closed/$1" >>"$work/log" 2>&1 || wrong "$1 is not there"
    "${podman[@]}" run --rm --net=host --pull=never "${limits[@]}" "$closed/$1" >"$work/ran" 2>>"$work/log" || wrong "$1 does not run"
    [ "$(cat "$work/ran")" = made ] || wrong "$1 is another image"
}
mkdir -p "$work/builds/group/app"
cat >"$work/builds/group/app/Dockerfile" <<D
FROM $registry/base:1 AS build
RUN mkdir /out && echo made > /out/made
FROM $registry/base:1
COPY --from=build /out /srv
RUN test -s /srv/made
CMD ["sh", "-c", "test ! -e /busybox && cat /srv/made"]
D
cp "$work/builds/group/app/Dockerfile" "$work/context/"

echo "-- the job of deploy/gitlab-ci.yml, line by line"
# How the runner looks for a shell, and how it talks to it.
detect='if [ -x /usr/local/bin/bash ]; then
	exec /usr/local/bin/bash
elif [ -x /usr/bin/bash ]; then
	exec /usr/bin/bash
elif [ -x /bin/bash ]; then
	exec /bin/bash
elif [ -x /usr/local/bin/sh ]; then
	exec /usr/local/bin/sh
elif [ -x /usr/bin/sh ]; then
	exec /usr/bin/sh
elif [ -x /bin/sh ]; then
	exec /bin/sh
elif [ -x /busybox/sh ]; then
	exec /busybox/sh
else
	echo shell not found
	exit 1
fi'
runs_job() { # name of the job
    "$python" tests/deploy/job.py deploy/gitlab-ci.yml "$1" | container -i --entrypoint '' -v "$work/builds:/builds" -w /builds/group/app \
        -e CI_PROJECT_DIR=/builds/group/app -e CI_REGISTRY="$closed" -e CI_REGISTRY_IMAGE="$closed/group/app" -e CI_REGISTRY_USER=pipeline \
        -e CI_REGISTRY_PASSWORD=$password -e CI_COMMIT_TAG=v1 -e CI_COMMIT_REF_SLUG=main -e CI_COMMIT_SHORT_SHA=0123abcd \
        "$registry/executor:1-debug" sh -c "$detect" || wrong "job $1"
    ! grep -v '^\$ ' "$work/log" | grep $password >/dev/null || wrong "job $1 shows the password"
}
runs_job build
pushed group/app:v1
runs_job build-cached
pushed group/app:0123abcd
[ "$(curl -fsS -u "pipeline:$password" -o /dev/null -w '%{http_code}' "http://$closed/v2/group/app/cache-main/tags/list")" = 200 ] || wrong "nothing was cached"
grep -Eq '^sha256:[0-9a-f]{64}$' "$work/builds/group/app/digest" || wrong "no digest"
runs_job warm
[ -d "$work/builds/group/app/.base-images/blobs" ] || wrong "no base images"
rm -rf "$work/builds/group/app/.base-images"

echo "-- regcred, projected at /kaniko/.docker/config.json"
# As the kubelet projects a secret: a link to a folder that a link names.
mkdir -p "$work/regcred/..2026_11_21"
entry=$(printf 'pipeline:%s' $password | base64 -w0)
printf '{"auths": {"https://index.docker.io/v1/": {"username": "hub", "password": "of-the-hub", "auth": "%s"}, "%s": {"auth": "%s"}}}' \
    "$(printf 'hub:of-the-hub' | base64 -w0)" "$closed" "$entry" >"$work/regcred/..2026_11_21/config.json"
ln -s ..2026_11_21 "$work/regcred/..data"
ln -s ..data/config.json "$work/regcred/config.json"
pod() { container -v "$work/context:/workspace:ro" "$@"; }
pod -v "$work/regcred:/kaniko/.docker:ro" "$registry/executor:1" --context=dir:///workspace --dockerfile=Dockerfile --destination="$closed/pod:1" || wrong "regcred"
pushed pod:1
pod -v "$work/regcred:/kaniko/.docker:ro" "$registry/executor:1" doctor --json || wrong "doctor"
grep -A1 '"server": "https://index.docker.io/v1/"\|"server": "docker.io"' "$work/log" | grep '"kind"' >/dev/null || wrong "Docker Hub's entry is not seen"
pod "$registry/executor:1" --destination="$closed/nobody:1" && wrong "without credentials" || grep -qi 'unauthorized\|401\|credential' "$work/log" || wrong "another error"

echo "-- Amazon: a secret at /root/.aws"
tar -C "$work/context" -zcf "$work/context.tar.gz" .
"$python" tests/deploy/clouds.py "$closed" $password "$work/context.tar.gz" >"$work/clouds" &
others+=($!)
for _ in $(seq 600); do [ -s "$work/clouds" ] && break; sleep 0.1; done
cloud=http://127.0.0.1:$(cat "$work/clouds")
ecr=123456789012.dkr.ecr.eu-west-1.amazonaws.com
mkdir "$work/aws" "$work/ecr"
printf '[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s3cret\n' >"$work/aws/credentials"
printf '{"credsStore": "ecr-login"}' >"$work/ecr/config.json"
pod -v "$work/aws:/root/.aws:ro" -v "$work/ecr:/kaniko/.docker:ro" -e HTTP_PROXY="$cloud" -e NO_PROXY=127.0.0.1 -e AWS_ENDPOINT_URL_ECR="$cloud" \
    "$registry/executor:1" --destination="$ecr/app:1" --insecure-registry="$ecr" || wrong "ECR"
pushed app:1

echo "-- Google: a key that GOOGLE_APPLICATION_CREDENTIALS names"
mkdir "$work/google"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/google/key.pem" 2>/dev/null
python3 - "$work/google" "$cloud" <<'P'
import json, sys
key = open(f"{sys.argv[1]}/key.pem").read()
json.dump({"type": "service_account", "client_email": "builder@project.iam.gserviceaccount.com", "private_key_id": "1", "private_key": key,
           "token_uri": f"{sys.argv[2]}/token"}, open(f"{sys.argv[1]}/kaniko-secret.json", "w"))
P
google=europe-docker.pkg.dev
pod -v "$work/google:/secret:ro" -e GOOGLE_APPLICATION_CREDENTIALS=/secret/kaniko-secret.json -e HTTP_PROXY="$cloud" -e NO_PROXY=127.0.0.1 \
    "$registry/executor:1" --destination="$google/project/app:1" --insecure-registry="$google" || wrong "Google"
pushed project/app:1

echo "-- contexts in buckets: the Pods of deploy/kubernetes, argument by argument"
cache-server/tests/moto.sh
"${CARGO_TARGET_DIR:-target}/moto/bin/moto_server" -H 127.0.0.1 -p 0 >/dev/null 2>"$work/moto" &
others+=($!)
for _ in $(seq 600); do grep -q 'Running on' "$work/moto" && break; sleep 0.1; done
s3=$(sed -n 's/.*Running on \(http:[^ ]*\).*/\1/p' "$work/moto")
signature='Authorization: AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20200101/us-east-1/s3/aws4_request'
curl -fsS -X PUT -H "$signature" "$s3/contexts" >/dev/null
curl -fsS -T "$work/context.tar.gz" -H "$signature" "$s3/contexts/app/context.tar.gz" >/dev/null
cp -r "$work/regcred" "$work/example"
sed -i "s#$closed#registry.example#" "$work/example/..2026_11_21/config.json"
runs_pod() { # file, then what the cluster of its user has: volumes, where the bucket is
    mapfile -t arguments < <("$python" tests/deploy/pod.py "deploy/kubernetes/$1" args)
    mapfile -t variables < <("$python" tests/deploy/pod.py "deploy/kubernetes/$1" env)
    [ ${#arguments[@]} -ge 3 ] || wrong "$1 has no arguments"
    container "${variables[@]}" -e HTTP_PROXY="$cloud" -e NO_PROXY=127.0.0.1 "${@:2}" "$registry/executor:1" "${arguments[@]}" \
        --insecure-registry=registry.example --insecure-registry="$google" || wrong "$1"
}
runs_pod build-s3.yaml -v "$work/example:/kaniko/.docker:ro" -v "$work/aws:/root/.aws:ro" -e S3_ENDPOINT="$s3" -e S3_FORCE_PATH_STYLE=true
pushed team/app:1
runs_pod build-gcs.yaml -v "$work/google:/secret:ro" -e STORAGE_EMULATOR_HOST="$cloud"
pushed project/app/app:1

echo "-- contexts in repositories: the git of the image, which trusts what is mounted at /kaniko/ssl/certs"
mkdir "$work/git" "$work/tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$work/tls/key.pem" -out "$work/tls/certificate.pem" 2>/dev/null
"$python" tests/deploy/git_server.py "$work/git" "$work/tls/certificate.pem" "$work/tls/key.pem" $password >"$work/git.port" 2>"$work/git.log" &
others+=($!)
for _ in $(seq 600); do [ -s "$work/git.port" ] && break; sleep 0.1; done
repositories=localhost:$(cat "$work/git.port")
repository() { # name, then commands that fill it
    git init -q -b main "$work/$1" && (cd "$work/$1" && eval "$2" && git add . &&
        git -c user.name=a -c user.email=a@example.org commit -qm first) && git clone -q --bare "$work/$1" "$work/git/$1.git"
    git -C "$work/git/$1.git" config uploadpack.allowAnySHA1InWant true
}
repository part 'echo part > part'
repository app 'mkdir service && cp "$work/context/Dockerfile" service/ && echo "RUN cat /added/part /inner/part" >> service/Dockerfile &&
    sed -i "/^CMD/i ADD https://$repositories/part.git /added\nCOPY module /inner" service/Dockerfile &&
    git -c http.sslVerify=false -c "http.extraHeader=Authorization: Basic $(printf %s: $password | base64 -w0)" submodule --quiet add "https://$repositories/part.git" service/module'
from_git() { # more arguments
    container -v "$work/tls/certificate.pem:/kaniko/ssl/certs/additional.pem:ro" -e GIT_TOKEN=$password -e GIT_AUTH="Basic $(printf %s: $password | base64 -w0)" \
        "$registry/executor:1" --context="git://$repositories/app.git#refs/heads/main" --context-sub-path=service --git=recurse-submodules=true \
        --secret=id=GIT_AUTH_HEADER,env=GIT_AUTH --destination="$registry/from-git:1" "$@"
}
from_git || wrong "a repository"
grep -c '^\[.*\] part$' "$work/log" | grep -qx 2 || wrong "the files of the repositories are not there"
! grep -q $password "$work/log" || wrong "the token is shown"

if [ -n "${2-}" ]; then
    echo "-- arm64"
    file "$2/executor" | grep 'ARM aarch64.*static' >/dev/null || { file "$2/executor"; exit 1; }
    for image in executor:1 executor:1-debug warmer:1 cache-server:1; do
        skopeo inspect --tls-verify=false --raw "docker://$registry/$image" | "$python" -c '
import json, sys
index = json.load(sys.stdin)
assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"], index' || wrong "$image is no index"
    done
    for program in executor warmer cache-server; do qemu-aarch64-static "$2/$program" --version >"$work/log" || wrong "$program"; done
    printf 'FROM scratch\nCOPY Dockerfile /\n' >"$work/context/Dockerfile"
    qemu-aarch64-static "$2/executor" --context "$work/context" --destination "$registry/from-arm64:1" --cache=false --sandbox=none \
        >"$work/log" 2>&1 || wrong "arm64 builds nothing"
    skopeo inspect --tls-verify=false --config --raw "docker://$registry/from-arm64:1" | grep '"architecture":"arm64"' >/dev/null || wrong "from-arm64"
fi
echo "images work"
