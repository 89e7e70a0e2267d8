#!/usr/bin/env python3
"""Unchanged rebuilds of the shared/bench contexts, on a fresh runner, near the registry and with latency.

usage: latency.py --executor PATH --make-contexts PATH --rootfs DIR [--only NAME]... [--delay MS] [--runs N] [--more] [--kind KIND]... [--work DIR]

Each context is built once with an empty cache repository. Then it is rebuilt from fresh local state:
  same        the image is at its destination already
  tag         to a new tag of the same repository, as a pipeline does that tags by commit
  repository  to a repository that has nothing of it
  store       as `same`, with the local state of the build before: the stat cache, local records
  changed     (with --more) with a line added to one file of the context (`service`: a source file), to the same tag
  cold        (with --more) into an empty cache repository and an empty destination
Times are wall seconds of the whole process, medians of the runs: `direct` straight to the registry, `delayed` through a
proxy that adds DELAY to every request; connections stay open on both sides. `requests` and `deep` are what the proxy saw:
the longest chain of requests of which each began after the one before had ended. Wanted: at most 5 deep, and delayed at
most 6 x DELAY + what the same build takes through the proxy without delay (`proxied`). Needs root and docker-registry.
"""
import argparse, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare import registry


class Delay:
    """A reverse proxy: a thread per connection, each with a connection of its own to the registry."""

    def __init__(self, upstream):
        host, port = upstream.split(":")
        self.upstream, self.delay, self.lock = (host, int(port)), 0, threading.Lock()
        self.reset()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.requests, self.deepest, self.log = 0, 0, []

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(self.upstream) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asks, answers = client.makefile("rb"), server.makefile("rb")
            try:
                while True:
                    self.exchange(client, server, asks, answers)
            except (ConnectionError, EOFError):
                pass

    def exchange(self, client, server, asks, answers):
        head, fields = read_head(asks)
        method, target = head.split(b" ", 2)[:2]
        with self.lock:
            self.requests += 1
            depth = self.deepest + 1
        time.sleep(self.delay)
        server.sendall(head)
        pipe_body(asks, server, fields, b"")
        head, fields = read_head(answers)
        with self.lock:
            self.deepest = max(self.deepest, depth)
            self.log.append(f"{depth} {method.decode()} {target.decode()[:120]} {head.split(b' ', 2)[1].decode()}")
        client.sendall(head)
        pipe_body(answers, client, fields, method if int(head.split(b" ", 2)[1]) not in (204, 304) else b"HEAD")


def read_head(stream):
    lines, fields = [], {}
    while True:
        line = stream.readline()
        if not line:
            raise EOFError
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines), fields
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()


def pipe_body(source, sink, fields, method):
    if method == b"HEAD":
        return
    if fields.get(b"transfer-encoding") == b"chunked":
        while True:
            size = source.readline()
            sink.sendall(size + source.read(int(size, 16) + 2))
            if int(size, 16) == 0:
                return
    left = int(fields.get(b"content-length", 0))
    while left:
        block = source.read1(min(left, 1 << 18))
        if not block:
            raise EOFError
        sink.sendall(block)
        left -= len(block)


def changing(context):
    """A source file, the first in the order of names."""
    found = [os.path.join(d, f) for d, _, files in os.walk(context) for f in files if f.endswith((".c", ".txt"))]
    return min(found, default=None)


class Bench:
    def __init__(self, args, work):
        self.args, self.work, self.count = args, work, 0
        self.process, self.address = registry(work)
        self.proxy = Delay(self.address)

    def make(self):
        context = f"{self.work}/base"
        os.makedirs(context)
        subprocess.run(["tar", "--numeric-owner", "-C", self.args.rootfs, "-cf", f"{context}/rootfs.tar", "."], check=True)
        with open(f"{context}/Dockerfile", "w") as f:
            f.write("FROM scratch\nADD rootfs.tar /\nCMD [\"/bin/bash\"]\n")
        self.execute(self.address, context, f"{context}/Dockerfile", "debian:bookworm", "base/cache")
        self.contexts = f"{self.work}/contexts"
        subprocess.run(["bash", self.args.make_contexts, self.contexts], check=True, env={**os.environ, "BASE": "BASE"})
        # 200 steps, beyond the shared contexts.
        os.makedirs(f"{self.contexts}/steps")
        with open(f"{self.contexts}/steps/Dockerfile", "w") as f:
            f.write("FROM BASE\n" + "".join(f"RUN echo {n} > /srv/f\n" for n in range(200)))

    def execute(self, address, context, dockerfile, image, cache, state=None):
        """Wall and CPU seconds."""
        self.count += 1
        kept = state or f"{self.work}/state{self.count}"
        command = [self.args.executor, "-c", context, "-f", dockerfile, "-d", f"{address}/{image}", "--cache",
                   "--cache-repo", f"{address}/{cache}", "--cache-dir", kept, "--verbosity=debug"]
        with open(f"{self.work}/log", "w") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
        if status:
            sys.exit(f"failed: {' '.join(command)}\n{open(log.name).read()[-3000:]}")
        if not state:
            shutil.rmtree(kept, ignore_errors=True)
        return wall, usage.ru_utime + usage.ru_stime

    def dockerfile(self, name, address):
        path = f"{self.work}/{name}.{address.split(':')[1]}"
        if not os.path.exists(path):
            text = open(f"{self.contexts}/{name}/Dockerfile").read().replace("BASE", f"{address}/debian:bookworm")
            with open(path, "w") as f:
                f.write(text)
        return path

    def rebuild(self, name, kind, address):
        self.count += 1
        image = {"tag": f"{name}:{self.count}", "repository": f"{name}/{self.count}:1",
                 "cold": f"{name}/{self.count}:1"}.get(kind, f"{name}:1")
        state = f"{self.work}/{name}-state" if kind == "store" else None
        context = f"{self.contexts}/{name}"
        if kind == "changed":
            with open(changing(context), "a") as f:
                f.write(f"{self.count}\n")
        cache = f"{name}/{self.count}/cache" if kind == "cold" else f"{name}/cache"
        return self.execute(address, context, self.dockerfile(name, address), image, cache, state)

    def bench(self, name):
        self.execute(self.address, f"{self.contexts}/{name}", self.dockerfile(name, self.address), f"{name}:1",
                     f"{name}/cache", f"{self.work}/{name}-state")
        more = ("changed", "cold") if changing(f"{self.contexts}/{name}") else ("cold",)
        for kind in ("same", "tag", "repository", "store") + (more if self.args.more else ()):
            if self.args.kind and kind not in self.args.kind:
                continue
            direct = [self.rebuild(name, kind, self.address) for _ in range(self.args.runs)]
            self.proxy.delay = 0
            proxied = [self.rebuild(name, kind, self.proxy.address) for _ in range(self.args.runs)]
            self.proxy.delay = self.args.delay / 1000
            delayed = []
            for _ in range(self.args.runs):
                self.proxy.reset()
                delayed.append(self.rebuild(name, kind, self.proxy.address))
            self.report(name, kind, direct, proxied, delayed)
        shutil.rmtree(f"{self.work}/{name}-state", ignore_errors=True)

    def report(self, name, kind, direct, proxied, delayed):
        wall = lambda rows: statistics.median(row[0] for row in rows)
        bound = 6 * self.args.delay / 1000 + wall(proxied)
        verdict = "" if kind in ("changed", "cold") or wall(delayed) <= bound and self.proxy.deepest <= 5 else "  OVER"
        print(f"{name:8} {kind:10} direct {wall(direct) * 1000:6.1f} ms (least {min(direct)[0] * 1000:6.1f}, "
              f"{statistics.median(row[1] for row in direct) * 1000:6.1f} CPU)  proxied {wall(proxied) * 1000:6.1f}  "
              f"delayed {wall(delayed) * 1000:6.1f} (wanted {bound * 1000:6.1f})  {self.proxy.requests:3} requests, "
              f"{self.proxy.deepest} deep{verdict}", flush=True)
        if self.args.verbose:
            print("\n".join(self.proxy.log))
            print("".join(line for line in open(f"{self.work}/log") if "request" in line), end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", required=True)
    parser.add_argument("--make-contexts", required=True)
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--delay", type=float, default=50, help="milliseconds added to each request")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--more", action="store_true", help="also changed and cold builds")
    parser.add_argument("--kind", action="append", help="only these kinds of rebuilds")
    parser.add_argument("--verbose", action="store_true", help="list the requests of the last run")
    parser.add_argument("--work", help="default: a temporary folder in /dev/shm")
    args = parser.parse_args()
    args.executor = os.path.abspath(args.executor)
    with tempfile.TemporaryDirectory(dir=args.work or "/dev/shm", ignore_cleanup_errors=True) as work:
        os.environ["TMPDIR"] = work
        bench = Bench(args, work)
        try:
            bench.make()
            for name in args.only or ["chain", "big", "files", "context", "stages", "service", "steps"]:
                bench.bench(name)
        finally:
            bench.process.send_signal(signal.SIGTERM)
            bench.process.wait()


if __name__ == "__main__":
    main()
