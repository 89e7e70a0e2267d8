#!/usr/bin/env python3
"""What a RUN that does nothing costs, on overlay and in place, with a base of 30,000 files.

usage: steps.py --bin DIR --rootfs DIR [--files N] [--steps N] [--runs N]

DIR holds the static `executor` and `warmer` (target/x86_64-unknown-linux-musl/release). The same Dockerfile is built with
one RUN and with 1 + N; the difference over N is the cost of a step, process start included. In place, the builds run in
podman containers with default capabilities and seccomp, from an image that our own executor makes. Needs root and from
Debian: docker-registry podman runc. Medians of the runs.
"""
import argparse, os, re, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare import registry

SECONDS = re.compile(rb"run, ([0-9.]+) (m?s) in all")


def took(command):
    """Seconds that the executor itself says it took."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = SECONDS.search(done.stdout)
    if done.returncode or not found:
        sys.exit(f"failed: {' '.join(command)}\n{done.stdout[-3000:].decode(errors='replace')}")
    return float(found[1]) / (1000 if found[2] == b"ms" else 1)


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.process, self.address = registry(work)
        self.podman = ["podman", "--root", f"{work}/podman", "--runroot", f"{work}/run", "--cgroup-manager=cgroupfs",
                       "--runtime", "runc"]

    def build(self, context, name):
        command = [f"{self.args.bin}/executor", "-c", context, "-d", f"{self.address}/{name}:1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def context(self, name, dockerfile):
        context = f"{self.work}/{name}"
        os.makedirs(context, exist_ok=True)
        with open(f"{context}/Dockerfile", "w") as f:
            f.write(dockerfile)
        return context

    def make(self):
        base = self.context("base", 'FROM scratch\nADD rootfs.tar /\n')
        subprocess.run(["tar", "--numeric-owner", "-C", self.args.rootfs, "-cf", f"{base}/rootfs.tar", "."], check=True)
        self.build(base, "rootfs")
        have = sum(len(files) + len(directories) for _, directories, files in os.walk(self.args.rootfs))
        missing = max(0, self.args.files - have)
        make = f"mkdir /srv/many && cd /srv/many && for n in $(seq {missing}); do echo $n > $n; done"
        self.build(self.context("many", f"FROM {self.address}/rootfs:1\nRUN {make}\n"), "many")
        deploy = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "deploy", "image", "build.sh")
        subprocess.run([deploy, "--only", "executor", self.address, "1", f"amd64={self.args.bin}"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for steps in (1, 1 + self.args.steps):
            runs = "".join(f"RUN : {n}\n" for n in range(steps))
            self.context(f"steps{steps}", f"FROM {self.address}/many:1\n{runs}")

    def overlay(self, steps):
        return took([f"{self.args.bin}/executor", "-c", f"{self.work}/steps{steps}", "--no-push", "--sandbox=overlay"])

    def in_place(self, steps):
        return took(self.podman + ["run", "--rm", "--net=host", "--ulimit", "nofile=20000:20000", "--ulimit",
                                   "nproc=10000:10000", "--tls-verify=false", "-v", f"{self.work}/steps{steps}:/workspace:ro",
                                   f"{self.address}/executor:1", "--no-push", "--sandbox=in-place"])

    def close(self):
        subprocess.run(self.podman + ["rmi", "-af"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", f"{self.work}/podman/overlay"], stderr=subprocess.DEVNULL)
        self.process.terminate()
        self.process.wait()

    def measure(self, name, build, wanted):
        more = self.args.steps
        costs = [(build(1 + more) - build(1)) / more * 1000 for _ in range(self.args.runs)]
        print(f"{name:9} {statistics.median(costs):7.1f} ms a step  (wanted: {wanted} ms)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--files", type=int, default=30000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as work:
        os.environ["TMPDIR"] = work
        bench = Bench(args, work)
        try:
            bench.make()
            bench.measure("overlay", bench.overlay, 25)
            bench.measure("in place", bench.in_place, 80)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
