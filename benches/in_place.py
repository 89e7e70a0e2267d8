#!/usr/bin/env python3
"""Cold builds of the contexts of shared/bench in place beside the same builds on an overlay, in the same run.

usage: in_place.py --bin DIR --make-contexts PATH --rootfs DIR [--only NAME]... [--runs N]

DIR holds the static `executor` and `warmer` (target/x86_64-unknown-linux-musl/release). Both sides build in podman
containers from an image that our own executor makes, and push: in place with Docker's capabilities, on an overlay with
CAP_SYS_ADMIN and a tmpfs at /tmp. Seconds are those that the executor says it took, medians of the runs. Needs root and
from Debian: docker-registry podman runc.
"""
import argparse, os, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from steps import Bench, took

CONTEXTS = ["chain", "big", "files", "context", "stages", "service"]
WANTED = 2
SIDES = {"overlay": ["--cap-add", "SYS_ADMIN", "--tmpfs", "/tmp:exec"], "in-place": []}


class InPlace(Bench):
    def make(self):
        super().make()
        self.contexts = os.path.join(self.work, "contexts")
        environment = {**os.environ, "BASE": f"{self.address}/rootfs:1"}
        subprocess.run(["bash", self.args.make_contexts, self.contexts], check=True, env=environment)
        self.count = 0

    def cold(self, name, sandbox):
        self.count += 1
        return took(self.podman + ["run", "--rm", "--net=host", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=10000:10000",
                                   "--tls-verify=false", "-v", f"{self.contexts}/{name}:/workspace:ro", *SIDES[sandbox],
                                   f"{self.address}/executor:1", f"--sandbox={sandbox}", "--cache", "--cache-repo",
                                   f"{self.address}/{name}{self.count}/cache", "-d", f"{self.address}/{name}{self.count}:1"])

    def compare(self, name):
        times = {side: [] for side in SIDES}
        for _ in range(self.args.runs):
            for side in SIDES:
                times[side].append(self.cold(name, side))
        overlay, in_place = (statistics.median(times[side]) for side in SIDES)
        print(f"{name:8} overlay {overlay:7.2f} s   in place {in_place:7.2f} s   {in_place / overlay:5.2f} x  (wanted: {WANTED} x)",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--make-contexts", required=True)
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    args.files, args.steps = 0, 1
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as work:
        os.environ["TMPDIR"] = work
        bench = InPlace(args, work)
        try:
            bench.make()
            for name in args.only or CONTEXTS:
                bench.compare(name)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
