#!/bin/bash
# What the processes of steps find and leave, and how builds end that do not end by themselves: in each sandbox.
# usage: processes.sh BINARIES; needs root, cc, podman, runc, docker-registry, busybox-static.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/containers.sh "$1"
wrong() { echo "$1" >&2; cat "$work/log" >&2; exit 1; }

cat >"$work/terminal.c" <<'C'
#include <pty.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int master;
    char text[64] = {0};
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    if (pid < 0) return 1;
    if (pid == 0) { printf("%s\n", isatty(0) && ttyname(0) ? "terminal" : "none"); return 0; }
    read(master, text, sizeof text - 1);
    fputs(text, stdout);
    return waitpid(pid, NULL, 0) != pid;
}
C
mkdir "$work/context/bin"
cc -static -O1 -o "$work/context/bin/terminal" "$work/terminal.c"
cat >"$work/context/Dockerfile" <<D
FROM $registry/base:1
COPY bin /bin/
RUN terminal | grep -q terminal
RUN test "\$(cat | wc -c)" = 0 && test -n "\$(hostname)" && echo x > /dev/shm/yadokari-test && rm /dev/shm/yadokari-test
RUN test "\$(ulimit -n)" -le 1048576 && test "\$(ulimit -c)" = 0
RUN test -s /etc/hosts && test -e /etc/resolv.conf
RUN sleep 4321 & (sleep 4321 &) ; (setsid sh -c 'sleep 4321 & sleep 4321' > /dev/null 2>&1 &) ; for i in 1 2 3 4 5; do (true &); done
RUN ! grep -l '432[1]' /proc/[0-9]*/cmdline 2>/dev/null && ! grep -h '^State:.*zombie' /proc/[0-9]*/status 2>/dev/null
D
printf 'FROM %s/base:1\nRUN exit 42\n' "$registry" >"$work/context/Dockerfile.code"
printf 'FROM %s/base:1\nRUN ulimit -t 1; while :; do :; done\n' "$registry" >"$work/context/Dockerfile.signal"
printf 'FROM %s/base:1\nRUN touch /started; echo started; sleep 4322 & setsid sleep 4322 & sleep 4322\n' "$registry" >"$work/context/Dockerfile.endless"
printf 'FROM %s/base:1\nRUN f() { f | f & f; }; f\n' "$registry" >"$work/context/Dockerfile.fork"
printf 'FROM %s/base:1\nRUN tail -c 1000000000 /dev/zero\n' "$registry" >"$work/context/Dockerfile.memory"
none_left() { # name
    for _ in $(seq 300); do ps -eo args | grep '^sleep 432[12]' >/dev/null || break; sleep 0.1; done
    ps -eo args | grep '^sleep 432[12]' && wrong "$1: a process of the step is left"
    grep "$work/t" /proc/mounts && wrong "$1: a mount is left"
    [ -z "$(ls "$work/t")" ] || wrong "$1: files are left: $(ls "$work/t")"
}
# The log of the build before said "started", too: it goes before the build begins.
endless() { # command that starts the executor
    : >"$work/log"
    TMPDIR=$work/t "$1" "$bin/executor" --context "$work/context" --no-push --cache=false --sandbox=$sandbox -f Dockerfile.endless >"$work/log" 2>&1 &
    executor=$!
    until_started
}
until_started() { for _ in $(seq 1200); do grep -q '] started' "$work/log" && return; sleep 0.05; done; wrong "the step did not start"; }
mkdir "$work/t"

for sandbox in overlay userns; do
    echo "-- $sandbox"
    build() { TMPDIR=$work/t "$bin/executor" --context "$work/context" --no-push --cache=false --sandbox=$sandbox "$@" >"$work/log" 2>&1; }
    build --tar-path "$work/image.tar" || wrong "$sandbox: processes"
    tar -xOf "$work/image.tar" --wildcards '*.tar.gz' | tar -tzi --ignore-zeros | grep -E '^(etc/(hosts|resolv.conf)|dev/.)' && wrong "mount points are in the image"
    build -f Dockerfile.code && wrong "no failure" || [ $? = 42 ] || wrong "$sandbox: exit code"
    build -f Dockerfile.signal && wrong "no failure" || [ $? = 255 ] || wrong "$sandbox: exit code of a signal"
    grep -q 'killed by signal 9' "$work/log" || wrong "$sandbox: the signal is not told"
    for signal in TERM INT; do
        endless setsid
        kill -s $signal $executor
        wait $executor && wrong "an interrupted build succeeded" || [ $? -lt 128 ] || [ $? = 130 ] || wrong "$sandbox: SIG$signal"
        none_left "$sandbox, SIG$signal"
    done
    endless env
    kill -s KILL $executor
    wait $executor && wrong "a killed build succeeded" || true
    build || wrong "$sandbox: the build after one that was killed"
    none_left "$sandbox, SIGKILL"
done

echo "-- a shell where a step failed"
cat >"$work/shell.py" <<'P'
import os, pty, select, sys, time
steps = [b"cat /made; echo A=$A\n", b"sleep 100\n", b"\x03", b"echo after $?\n", b"exit\n"]
expected = [b"A=b", b"sleep 100", b"^C", b"after 130", b""]
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
output, sent, start = b"", 0, time.time()
while time.time() - start < 60:
    if select.select([terminal], [], [], 0.5)[0]:
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break
    elif b"# " in output and sent < len(steps) and (sent == 0 or expected[sent - 1] in output):
        os.write(terminal, steps[sent])
        sent += 1
else:
    os.kill(process, 15)
code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
text = output.decode("utf-8", "replace")
sys.exit(0 if code == 3 and "A=b" in text and "after 130" in text and "exit code: 3" in text else text)
P
printf 'FROM %s/base:1\nENV A=b\nRUN echo before > /made; echo its last words; exit 3\n' "$registry" >"$work/context/Dockerfile.shell"
for sandbox in overlay userns; do
    python3 "$work/shell.py" "$bin/executor" --context "$work/context" --no-push --cache=false --sandbox=$sandbox -f Dockerfile.shell --on-failure=shell
done
"${podman[@]}" pull -q --tls-verify=false "$registry/executor:1" >/dev/null
python3 "$work/shell.py" "$(command -v podman)" "${podman[@]:1}" run -it --rm --net=host "${limits[@]}" -v "$work/context:/workspace:ro" \
    "$registry/executor:1" --context /workspace --no-push --cache=false --sandbox=in-place -f Dockerfile.shell --on-failure=shell
build --on-failure=shell -f Dockerfile.shell </dev/null && wrong "a shell without a terminal" || [ $? = 2 ] || wrong "a shell without a terminal"
build -f Dockerfile.shell && wrong "no failure"
tail -n 3 "$work/log" | grep "^3 > RUN echo before" >/dev/null && tail -n 1 "$work/log" | grep -x "  its last words" >/dev/null || wrong "the error does not show line and output"

echo "-- a full disk"
mkdir "$work/small"
mount -t tmpfs -o size=12m tmpfs "$work/small"
printf 'FROM %s/base:1\nRUN head -c 7000000 /dev/urandom > /random\n' "$registry" >"$work/context/Dockerfile.full"
full=0
TMPDIR=$work/small "$bin/executor" --context "$work/context" --no-push --cache=false -f Dockerfile.full --cache-dir "$work/small/cache" >"$work/log" 2>&1 || full=$?
left=$(ls "$work/small")
umount "$work/small"
[ $full = 1 ] && grep -q 'No space left on device' "$work/log" || wrong "a full disk"
[ -z "$left" ] || wrong "a full disk: $left is left"

echo "-- in place"
printf 'FROM %s/executor:1\nCOPY busybox /kaniko/\n' "$registry" >"$work/base/Dockerfile.shell"
cp /bin/busybox "$work/base/"
"$bin/executor" -c "$work/base" -f Dockerfile.shell -d "$registry/shell:1" --cache=false >"$work/log" 2>&1 || wrong "image"
container() { "${podman[@]}" run --rm --net=host "${limits[@]}" --tls-verify=false -v "$work/context:/workspace:ro" "$@" >"$work/log" 2>&1; }
flags=(--context /workspace --no-push --cache=false --sandbox=in-place)
container "$registry/executor:1" "${flags[@]}" || wrong "in place: processes"
container "$registry/executor:1" "${flags[@]}" -f Dockerfile.code && wrong "no failure" || [ $? = 42 ] || wrong "in place: exit code"
container "$registry/executor:1" "${flags[@]}" -f Dockerfile.signal && wrong "no failure" || [ $? = 255 ] || wrong "in place: exit code of a signal"
for signal in TERM INT; do
    : >"$work/log"
    container --name endless "$registry/executor:1" "${flags[@]}" -f Dockerfile.endless &
    executor=$!
    until_started
    "${podman[@]}" kill -s $signal endless >/dev/null
    wait $executor && wrong "an interrupted build succeeded" || [ $? -lt 128 ] || [ $? = 130 ] || wrong "in place: SIG$signal"
    none_left "in place, SIG$signal"
done
echo "-- in place, killed, and another build after it"
container --entrypoint /kaniko/busybox "$registry/shell:1" sh -c "
    /kaniko/executor ${flags[*]} -f Dockerfile.endless & executor=\$!
    until [ -e /started ]; do /kaniko/busybox sleep 0.1; done
    kill -9 \$executor
    wait \$executor
    /kaniko/executor ${flags[*]} && /kaniko/busybox ls /kaniko" || wrong "in place: the build after one that was killed"
tail -n 2 "$work/log" | grep yadokari- >/dev/null && wrong "in place: the killed build left its files"
echo "-- in place, a step that forks without end, and one that fills the memory"
container --pids-limit 100 "$registry/executor:1" "${flags[@]}" -f Dockerfile.fork && wrong "no failure"
grep -q 'did not complete successfully' "$work/log" || wrong "in place: a step that forks without end"
container --memory 256m --memory-swap 256m "$registry/executor:1" "${flags[@]}" -f Dockerfile.memory && wrong "no failure"
grep -q 'killed by signal 9; out of memory' "$work/log" || wrong "in place: a step that fills the memory"
echo "processes are as they should be"
