#!/usr/bin/env python3
"""Builds the contexts of shared/bench with our executor and with buildah, in the same run, and prints ratios.

usage: compare.py --executor PATH --make-contexts PATH --rootfs DIR [--only NAME]... [--runs N] [--work DIR]

Per context: a cold build with push (empty state, empty cache repository), and an unchanged rebuild with fresh local state
where only the cache repository remembers; beside it `buildah bud --layers` with push from an empty storage. Needs root
and from Debian: docker-registry buildah runc skopeo. ROOTFS is a Debian tree (debootstrap --variant=minbase). WORK should
be a tmpfs or a fresh file system. Times are wall seconds, medians of the runs; memory is the peak RSS of the largest process.
"""
import argparse, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request


# Context: at most this part of buildah's time, cold, and this many MB.
TARGETS = {"chain": (0.15, 48), "big": (0.40, 80), "files": (0.30, 64), "context": (0.25, 64), "stages": (0.60, 64),
           "service": (0.35, 64)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def registry(work):
    port = free_port()
    conf = os.path.join(work, "registry.yml")
    with open(conf, "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
                f"http: {{addr: '127.0.0.1:{port}'}}\n")
    process = subprocess.Popen(["docker-registry", "serve", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1)
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    sys.exit("docker-registry does not start")


def timed(command, log):
    """Wall seconds and peak RSS in MB of the largest process."""
    with open(log, "w") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        sys.stdout.write(open(log).read()[-3000:])
        sys.exit(f"failed: {' '.join(command)}")
    return wall, usage.ru_maxrss / 1000


class Bench:
    def __init__(self, args, work):
        self.args, self.work, self.count = args, work, 0
        self.process, self.address = registry(work)
        self.base = f"{self.address}/debian:bookworm"

    def make(self):
        context = os.path.join(self.work, "base")
        os.makedirs(context)
        subprocess.run(["tar", "--numeric-owner", "-C", self.args.rootfs, "-cf", f"{context}/rootfs.tar", "."], check=True)
        with open(f"{context}/Dockerfile", "w") as f:
            f.write("FROM scratch\nADD rootfs.tar /\nCMD [\"/bin/bash\"]\n")
        timed([self.args.executor, "-c", context, "-d", self.base], f"{self.work}/log")
        self.contexts = os.path.join(self.work, "contexts")
        subprocess.run(["bash", self.args.make_contexts, self.contexts], check=True, env={**os.environ, "BASE": self.base})

    def executor(self, context, name, cache):
        self.count += 1
        state = f"{self.work}/state{self.count}"
        command = [self.args.executor, "-c", context, "-d", f"{self.address}/{name}:1", "--cache", "--cache-repo",
                   f"{self.address}/{cache}", "--cache-dir", state]
        result = timed(command, f"{self.work}/executor.log")
        shutil.rmtree(state)
        return result

    def buildah(self, context, name):
        self.count += 1
        root = f"{self.work}/buildah{self.count}"
        store = ["--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "overlay"]
        script = (f"buildah {' '.join(store)} bud --layers {self.args.buildah_flags} --tls-verify=false -t {name} {context} && "
                  f"buildah {' '.join(store)} push --tls-verify=false {name} docker://{self.address}/{name}-buildah{self.count}:1")
        result = timed(["sh", "-c", script], f"{self.work}/buildah.log")
        subprocess.run(["buildah", *store, "rmi", "-a", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", f"{root}/root/overlay"], stderr=subprocess.DEVNULL)
        shutil.rmtree(root, ignore_errors=True)
        return result

    def compare(self, name):
        context = os.path.join(self.contexts, name)
        rows = {"cold": [], "rebuild": [], "buildah": []}
        for run in range(self.args.runs):
            fresh = f"{name}{run}"
            rows["cold"].append(self.executor(context, fresh, f"{fresh}/cache"))
            rows["rebuild"].append(self.executor(context, fresh, f"{fresh}/cache"))
            rows["buildah"].append(self.buildah(context, fresh))
        median = {kind: [statistics.median(column) for column in zip(*values)] for kind, values in rows.items()}
        reference = median["buildah"][0]
        for kind, (wall, rss) in median.items():
            target = "  (wanted: %.2f x, %d MB)" % TARGETS[name] if kind == "cold" and name in TARGETS else ""
            print(f"{name:10} {kind:8} {wall:8.3f} s  {wall / reference:6.3f} x buildah  {rss:7.0f} MB{target}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", required=True)
    parser.add_argument("--make-contexts", required=True)
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", help="default: a temporary folder in /dev/shm")
    parser.add_argument("--buildah-flags", default="--isolation chroot", help="how buildah runs steps (default: its fastest)")
    args = parser.parse_args()
    args.executor = os.path.abspath(args.executor)
    with tempfile.TemporaryDirectory(dir=args.work or "/dev/shm", ignore_cleanup_errors=True) as work:
        # Overlay storage and throw-away state on the same file system as everything else.
        os.environ["TMPDIR"] = work
        bench = Bench(args, work)
        try:
            bench.make()
            for name in args.only or ["chain", "big", "files", "context", "stages", "service"]:
                bench.compare(name)
        finally:
            bench.process.send_signal(signal.SIGTERM)
            bench.process.wait()


if __name__ == "__main__":
    main()
