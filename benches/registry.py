#!/usr/bin/env python3
"""Serves the same content from our cache-server and from docker-registry, in the same run, and prints ratios.

usage: registry.py --cache-server PATH [--runs N] [--seconds S] [--connections C] [--only NAME]... [--work DIR]

manifests: GETs of one manifest by tag; blobs: GETs of a blob of 1 MiB; upload, download: 1 GiB in one request each. The two
servers take turns, so that whatever else the machine does hits both; figures are medians of the runs. "CPU s" is what the
server's process used for it: it says what bounds a figure when others use the machine. Needs from Debian:
docker-registry wrk curl. WORK should be a tmpfs. Client and servers share the machine, so figures in a row are of one machine
and say little alone; the ratios are what counts.
"""
import argparse, hashlib, json, os, re, socket, statistics, subprocess, sys, tempfile, time, urllib.request

MIB, GIB = 1 << 20, 1 << 30
OCI = "application/vnd.oci.image."


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, name, command, address, output):
        self.name, self.address = name, address
        self.process = subprocess.Popen(command, stdout=output, stderr=output)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{address}/v2/", timeout=1)
                return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{name} does not start")

    def rss(self):
        """Peak resident memory in MB."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) / 1000

    def cpu(self):
        """Seconds of CPU time so far, of the process and for it in the kernel."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, method, path, body=None, kind=None):
        url = path if path.startswith("http") else f"http://{self.address}{path}"
        request = urllib.request.Request(url, data=body, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request) as response:
            return response.headers

    def session(self, digest):
        location = self.send("POST", "/v2/bench/blobs/uploads/", b"")["Location"]
        location = location if location.startswith("http") else f"http://{self.address}{location}"
        return f"{location}{'&' if '?' in location else '?'}digest={digest}"

    def push(self, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.send("PUT", self.session(digest), content, "application/octet-stream")
        return digest

    def prepare(self, blob):
        config, layer = b"{}", b"layer"
        parts = [(f"{OCI}config.v1+json", config), (f"{OCI}layer.v1.tar", layer)]
        descriptors = [{"mediaType": kind, "digest": self.push(part), "size": len(part)} for kind, part in parts]
        manifest = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": descriptors[0],
                    "layers": descriptors[1:], "annotations": {"padding": "x" * 1000}}
        self.send("PUT", "/v2/bench/manifests/v1", json.dumps(manifest).encode(), manifest["mediaType"])
        self.blob = f"http://{self.address}/v2/bench/blobs/{self.push(blob)}"
        self.manifest = f"http://{self.address}/v2/bench/manifests/v1"

    def stop(self):
        self.process.terminate()
        self.process.wait()


def load(url, args):
    """Requests per second, and the 99th percentile of the latency in ms."""
    command = ["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s", "--latency", "--timeout", "60s",
               "-H", f"Accept: {OCI}manifest.v1+json", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{url}: {text}")
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    return rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def curl(*arguments):
    """GB per second of a GiB."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total}", *arguments]
    return GIB / float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e9


def upload(server, path, digest):
    return curl("--upload-file", path, "--header", "Content-Type: application/octet-stream", "--header", "Expect:",
                server.session(digest))


def measure(servers, args, work):
    results = {}

    def note(what, server, value):
        results.setdefault(what, {}).setdefault(server.name, []).append(value)

    wanted = args.only or ["manifests", "blobs", "upload", "download"]
    for run in range(args.runs):
        path, digest = big_file(work, run) if {"upload", "download"} & set(wanted) else (None, None)
        for server in servers:
            for what in {"manifests", "blobs"} & set(wanted):
                rate, p99 = load(server.manifest if what == "manifests" else server.blob, args)
                note(f"{what}/s", server, rate)
                note(f"{what} p99 ms", server, p99)
            if path:
                before = server.cpu()
                note("upload GB/s", server, upload(server, path, digest))
                between = server.cpu()
                note("upload CPU s", server, between - before)
                note("download GB/s", server, curl(f"http://{server.address}/v2/bench/blobs/{digest}"))
                note("download CPU s", server, server.cpu() - between)
    for server in servers:
        note("peak RSS MB", server, server.rss())
    return results


def big_file(work, seed):
    """A GiB that no run had before, and its digest."""
    path, hasher = os.path.join(work, "big"), hashlib.sha256()
    block = os.urandom(MIB)
    with open(path, "wb") as f:
        for index in range(GIB // MIB):
            piece = index.to_bytes(8, "big") + seed.to_bytes(8, "big") + block[16:]
            hasher.update(piece)
            f.write(piece)
    return path, "sha256:" + hasher.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache-server", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--only", action="append", choices=["manifests", "blobs", "upload", "download"])
    parser.add_argument("--work", default="/dev/shm")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        ours, theirs = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        config = os.path.join(work, "registry.yml")
        with open(config, "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                    f"storage: {{filesystem: {{rootdirectory: {work}/theirs}}}}\nhttp: {{addr: '{theirs}'}}\n")
        command = [args.cache_server, "serve", "--listen", ours, "--data", f"{work}/ours", "--log=error"]
        with open(os.path.join(work, "log"), "w") as log:
            servers = [Server("cache-server", command, ours, log),
                       Server("docker-registry", ["docker-registry", "serve", config], theirs, log)]
            try:
                blob = os.urandom(MIB)
                for server in servers:
                    server.prepare(blob)
                report(measure(servers, args, work))
            finally:
                for server in servers:
                    server.stop()


def report(results):
    print(f"load {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
    print(f"{'':16} {'cache-server':>14} {'docker-registry':>16} {'ratio':>8}")
    for what, values in results.items():
        ours, theirs = (statistics.median(values[name]) for name in ("cache-server", "docker-registry"))
        print(f"{what:16} {ours:14.2f} {theirs:16.2f} {ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
