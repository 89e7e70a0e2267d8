#!/usr/bin/env python3
"""Builds successive versions of real projects as a pipeline does: every commit on a runner that has nothing but the cache
repository. Prints steps run, bytes pulled and wall time, beside buildah whose layers are still on its disk.

usage: histories.py --executor PATH --base-maker PATH (--versions DIR | --service PATH --rootfs DIR) [--runs N] [--no-buildah]

VERSIONS has a folder per project (`crate`, `npm`, `pypi`), in it a folder per version, unpacked as the package client leaves
it (`cargo vendor`, `npm pack`, `pip download` of the wheel). BASE-MAKER is `base.py` of the golden suite. The oracle carries
out the commands on the host and counts the steps of which nobody has seen what they read; every file of the image is
compared with the version's own. SERVICE is `make_contexts.sh`: one file of its context `service` is changed per commit, on a
Debian tree (debootstrap --variant=minbase). Needs root and from Debian: docker-registry buildah skopeo busybox-static.
"""
import argparse, glob, hashlib, io, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tarfile, tempfile
import threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare import registry

PROJECTS = {
    "crate": {"manifest": "Cargo.toml", "sources": "src", "static": ["README.md", "LICENSE-APACHE", "LICENSE-MIT"], "kind": "rs", "comment": "//"},
    "npm": {"manifest": "package.json", "sources": "lib", "static": ["Readme.md", "LICENSE"], "kind": "js", "comment": "//"},
    "pypi": {"manifest": "METADATA", "sources": "flask", "static": ["LICENSE.txt"], "kind": "py", "comment": "#"},
}
DEPENDENCIES = "busybox grep -i -A9 -e depend -e requires-dist {manifest} | busybox grep -iv version"
PROGRAM = "busybox find src -type f -name '*.{kind}' | busybox sort | busybox xargs busybox grep -hv '^ *{comment}'"
DOCKERFILE = """FROM {base} AS tools
RUN mkdir /tool && busybox seq 1 1500000 > /tool/data
FROM tools AS deps
WORKDIR /src
COPY {manifest} ./
RUN mkdir /deps && %s > /deps/list; busybox seq 1 200000 > /deps/data
FROM tools AS build
WORKDIR /src
COPY --from=deps /deps /deps
COPY {sources} src
RUN %s > /app.bin
FROM {base} AS static
COPY {files} /static/
FROM {base}
COPY --from=static /static /usr/share/app/
COPY --from=build /app.bin /usr/local/bin/app
CMD ["/usr/local/bin/app"]
""" % (DEPENDENCIES, PROGRAM)


class Counter:
    """Passes connections on to a registry and counts what comes back."""

    def __init__(self, port):
        self.port, self.bytes = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.port))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, target, counts):
        try:
            while data := source.recv(1 << 20):
                if counts:
                    self.bytes += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def tree_hash(*paths):
    digest = hashlib.sha256()
    for path in paths:
        for root, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                file = os.path.join(root, name)
                digest.update(f"{os.path.relpath(file, path)} {os.stat(file).st_mode:o}\0".encode() + open(file, "rb").read())
        if os.path.isfile(path):
            digest.update(f"{os.path.basename(path)} {os.stat(path).st_mode:o}\0".encode() + open(path, "rb").read())
    return digest.hexdigest()


class Bench:
    def __init__(self, args, work):
        self.args, self.work, self.count = args, work, 0
        self.process, self.direct = registry(work)
        self.counter = Counter(int(self.direct.rpartition(":")[2]))
        store = f"{work}/buildah"
        self.buildah_store = ["--root", f"{store}/root", "--runroot", f"{store}/run", "--storage-driver", "overlay"]

    def executor(self, context, dockerfile, name):
        """Steps run, bytes pulled, wall seconds; on a runner that has nothing."""
        self.count += 1
        state, before = f"{self.work}/state{self.count}", self.counter.bytes
        command = [self.args.executor, "-c", context, "-f", dockerfile, "-d", f"{self.counter.address}/{name}:1", "--cache=true",
                   "--cache-repo", f"{self.counter.address}/{name}/cache", "--cache-dir", state]
        start = time.perf_counter()
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wall = time.perf_counter() - start
        shutil.rmtree(state, ignore_errors=True)
        if result.returncode:
            sys.exit(result.stdout[-3000:])
        ran = int(re.search(r"steps? cached, (\d+) run", result.stdout).group(1))
        return ran, self.counter.bytes - before, wall

    def buildah(self, context, dockerfile, name):
        start = time.perf_counter()
        command = ["buildah", *self.buildah_store, "bud", "--layers", "--isolation", "chroot", "--tls-verify=false", "-t", name, "-f",
                   dockerfile, context]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            sys.exit(result.stdout[-3000:])
        subprocess.run(["buildah", *self.buildah_store, "push", "--tls-verify=false", name, f"docker://{self.direct}/{name}-buildah:1"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - start
        steps = re.split(r"(?m)^(?:\[\d+/\d+\] )?STEP \d+/\d+: ", result.stdout)[1:]
        made = [step for step in steps if re.match(r"(RUN|COPY|ADD|WORKDIR)", step)]
        return sum("Using cache" not in step for step in made), wall

    def close(self):
        subprocess.run(["buildah", *self.buildah_store, "rmi", "-a", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", f"{self.work}/buildah/root/overlay"], stderr=subprocess.DEVNULL)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def files(self, name):
        """All files of the image's layers above the base."""
        found = {}
        with tempfile.TemporaryDirectory(dir=self.work) as out:
            subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.direct}/{name}:1", f"dir:{out}"], check=True)
            manifest = json.load(open(f"{out}/manifest.json"))
            for layer in manifest["layers"]:
                with tarfile.open(f"{out}/{layer['digest'].split(':')[1]}") as archive:
                    found.update({member.name: archive.extractfile(member).read() for member in archive if member.isfile()})
        return found


class History:
    """One project: its oracle, and its row of builds."""

    def __init__(self, bench, name, base):
        self.bench, self.name, self.base, self.project = bench, name, base, PROJECTS[name]
        self.known, self.rows = set(), []

    def context(self, version):
        """The version as a context; what a wheel has under its version's name gets a fixed one."""
        context = f"{self.bench.work}/context"
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(version, context)
        for folder in glob.glob(f"{context}/*.dist-info"):
            found = [path for path in glob.glob(f"{folder}/**", recursive=True) if os.path.basename(path).upper().startswith("LICENSE")]
            shutil.copy(f"{folder}/METADATA", f"{context}/METADATA")
            shutil.copy([path for path in found if os.path.isfile(path)][0], f"{context}/LICENSE.txt")
            shutil.rmtree(folder)
        return context

    def shell(self, command, context):
        return subprocess.run(["busybox", "sh", "-c", command.format(**self.project)], cwd=context, stdout=subprocess.PIPE).stdout

    def oracle(self, context):
        """What each step reads, and the files that the image must have."""
        project = self.project
        links = f"{context}/src"
        made = not os.path.exists(links) and os.symlink(project["sources"], links)
        program = self.shell(PROGRAM.replace("find src", "find src/"), context).replace(b"", b"")
        if made is None:
            os.remove(links)
        listed = hashlib.sha256(self.shell(DEPENDENCIES, context)).hexdigest()
        manifest, sources = tree_hash(f"{context}/{project['manifest']}"), tree_hash(f"{context}/{project['sources']}")
        static = tree_hash(*(f"{context}/{name}" for name in project["static"]))
        reads = ["tools", "workdir", f"manifest {manifest}", f"deps {manifest}", f"copy of deps {listed}", f"sources {sources}",
                 f"build {listed} {sources}", f"static {static}", f"copy of static {static}",
                 f"program {hashlib.sha256(program).hexdigest()}"]
        files = {f"usr/share/app/{name}": open(f"{context}/{name}", "rb").read() for name in project["static"]}
        return reads, {**files, "usr/local/bin/app": program}

    def commit(self, version):
        bench, context = self.bench, self.context(version)
        dockerfile = f"{bench.work}/Dockerfile"
        with open(dockerfile, "w") as f:
            f.write(DOCKERFILE.format(base=self.base.replace(bench.direct, bench.counter.address), files=" ".join(self.project["static"]), **self.project))
        reads, files = self.oracle(context)
        least = len(set(reads) - self.known)
        self.known |= set(reads)
        ours = bench.executor(context, dockerfile, self.name)
        found = bench.files(self.name)
        stale = [name for name, content in files.items() if found.get(name) != content]
        again = bench.executor(context, dockerfile, self.name)
        with open(dockerfile, "w") as f:
            f.write(DOCKERFILE.format(base=self.base, files=" ".join(self.project["static"]), **self.project))
        theirs = (0, 0) if bench.args.no_buildah else bench.buildah(context, dockerfile, self.name)
        self.rows.append((least, ours, again, theirs, len(stale)))
        print(f"{self.name:6} {os.path.basename(version):9} least {least:2}  ours {ours[0]:2} steps {ours[1] / 1e6:7.3f} MB {ours[2]:6.3f} s   "
              f"again {again[0]} steps {again[1] / 1e6:6.3f} MB {again[2]:6.3f} s   buildah {theirs[0]:2} steps {theirs[1]:6.3f} s   stale {stale}", flush=True)

    def summary(self):
        rows = self.rows[1:]
        if not rows:
            return
        median = lambda values: statistics.median(values)
        print(f"{self.name}: {len(rows)} commits after the first: least {sum(r[0] for r in rows)} steps, ours {sum(r[1][0] for r in rows)}, "
              f"buildah {sum(r[3][0] for r in rows)}; more than the least in {sum(r[1][0] > r[0] for r in rows)} commits; median "
              f"{median([r[1][2] for r in rows]):.3f} s (buildah {median([r[3][1] for r in rows]):.3f} s), "
              f"{median([r[1][1] for r in rows]) / 1e6:.3f} MB pulled; again: median {median([r[2][2] for r in rows]):.3f} s, most "
              f"{max(r[2][1] for r in rows) / 1e6:.3f} MB, {sum(r[2][0] for r in rows)} steps; stale files: {sum(r[4] for r in self.rows)}", flush=True)


def version_key(path):
    return [int(part) for part in re.findall(r"\d+", os.path.basename(path))]


def histories(bench, args):
    subprocess.run([sys.executable, args.base_maker, bench.direct], check=True, stdout=subprocess.DEVNULL)
    for name in PROJECTS:
        history = History(bench, name, f"{bench.direct}/golden/base:1")
        for version in sorted(glob.glob(f"{args.versions}/{name}/*"), key=version_key):
            history.commit(version)
        history.summary()


def service(bench, args):
    """One changed source file per commit."""
    base = f"{bench.direct}/debian:bookworm"
    folder = f"{bench.work}/base"
    os.makedirs(folder)
    subprocess.run(["tar", "--numeric-owner", "-C", args.rootfs, "-cf", f"{folder}/rootfs.tar", "."], check=True)
    with open(f"{folder}/Dockerfile", "w") as f:
        f.write("FROM scratch\nADD rootfs.tar /\n")
    subprocess.run([args.executor, "-c", folder, "-d", base], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    contexts = f"{bench.work}/contexts"
    text = open(args.service).read().replace("# context: COPY", "mk() { mkdir -p \"$out/$1\"; cat > \"$out/$1/Dockerfile\"; }\n# context: COPY")
    script = f"{bench.work}/make.sh"
    # Of the contexts only this one: the others are large.
    head, tail = text.split("# chain:")[0], text[text.index("# service:"):]
    with open(script, "w") as f:
        f.write(head + tail)
    for address, folder in ((bench.counter.address, "ours"), (bench.direct, "theirs")):
        subprocess.run(["bash", script, f"{contexts}/{folder}"], check=True, env={**os.environ, "BASE": f"{address}/debian:bookworm"})
    rows = []
    for commit in range(args.runs + 1):
        for folder in ("ours", "theirs"):
            with open(f"{contexts}/{folder}/service/src/7.c", "a") as f:
                f.write(f"changed {commit}\n")
        path = f"{contexts}/ours/service"
        ours = bench.executor(path, f"{path}/Dockerfile", "service")
        path = f"{contexts}/theirs/service"
        theirs = (0, 0) if args.no_buildah else bench.buildah(path, f"{path}/Dockerfile", "service")
        rows.append((ours, theirs))
        print(f"service {commit}: ours {ours[0]} steps {ours[1] / 1e6:.3f} MB {ours[2]:.3f} s, buildah {theirs[0]} steps {theirs[1]:.3f} s", flush=True)
    ours, theirs = [row[0][2] for row in rows[1:]], [row[1][1] for row in rows[1:]]
    print(f"service, one changed file: ours {statistics.median(ours):.3f} s, buildah with its layers {statistics.median(theirs):.3f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", required=True)
    parser.add_argument("--base-maker")
    parser.add_argument("--versions")
    parser.add_argument("--service")
    parser.add_argument("--rootfs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-buildah", action="store_true")
    args = parser.parse_args()
    args.executor = os.path.abspath(args.executor)
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as work:
        os.environ["TMPDIR"] = work
        bench = Bench(args, work)
        try:
            if args.versions:
                histories(bench, args)
            if args.service:
                service(bench, args)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
