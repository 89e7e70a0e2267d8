#!/usr/bin/env python3
"""Warms an image into an empty cache directory, beside `skopeo copy docker://… oci:…` in the same run, and prints ratios.

usage: warm.py --warmer PATH [--layers N] [--layer-mb N] [--runs N] [--work DIR]

The image has LAYERS gzip layers of LAYER_MB (compressed) each, of files that compress to about a half. Times are wall
seconds, medians of the runs, which take turns:
  image     from the start of the warmer until the image has its name in index.json, when executors can use it
  whole     until the warmer ends: with the tables of contents, which follow
  again     a second run, when nothing has changed; also with 20 images
  sha256    `sha256sum` over the same blobs, one after the other: a bound
  curl      the same blobs into files, side by side, not verified: another bound
CPU is of the process, not of the registry; memory is its peak RSS. Needs from Debian: docker-registry skopeo curl. WORK should be a tmpfs.
"""
import argparse, concurrent.futures, gzip, hashlib, io, json, os, random, shutil, signal, statistics, subprocess, sys, tarfile, tempfile, time
import urllib.request
from compare import registry


def timed(command, log, watch=None):
    """Wall and CPU seconds, peak RSS in MB, and when `watch()` became true."""
    seen = None
    with open(log, "w") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        while watch and seen is None and process.poll() is None:
            if watch():
                seen = time.perf_counter() - start
            else:
                time.sleep(0.002)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        sys.stdout.write(open(log).read()[-3000:])
        sys.exit(f"failed: {' '.join(command)}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, seen or wall


def layer(number, megabytes):
    """A gzip tar of files of 64 KiB, half of them noise: about `megabytes` when compressed."""
    noise, plain = random.Random(number), io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for index in range(megabytes * 16 * 10 // 11):
            content = noise.randbytes(1 << 16) + (b"%d line of text\n" % index) * 4096
            member = tarfile.TarInfo(f"layer{number}/{index // 100}/{index}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    raw = plain.getvalue()
    return hashlib.sha256(raw).hexdigest(), gzip.compress(raw, 1, mtime=0)


def upload(address, repository, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    post = urllib.request.Request(f"http://{address}/v2/{repository}/blobs/uploads/", data=b"", method="POST")
    location = urllib.request.urlopen(post).headers["Location"]
    put = urllib.request.Request(f"{location}&digest={digest}", data=data, method="PUT",
                                 headers={"Content-Type": "application/octet-stream"})
    urllib.request.urlopen(put)
    return {"digest": digest, "size": len(data)}


def push(address, repository, layers, tags):
    blobs, diff_ids = [], []
    for diff_id, data in layers:
        blob = upload(address, repository, data)
        blobs.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob})
        diff_ids.append(f"sha256:{diff_id}")
    for tag in tags:
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"tag": tag}},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        config = {"mediaType": "application/vnd.oci.image.config.v1+json",
                  **upload(address, repository, json.dumps(config).encode())}
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": blobs}
        urllib.request.urlopen(urllib.request.Request(
            f"http://{address}/v2/{repository}/manifests/{tag}", data=json.dumps(manifest).encode(), method="PUT",
            headers={"Content-Type": media_type}))
    return blobs


def make(address, layers, megabytes):
    layers = [layer(number, megabytes) for number in range(layers)]
    return push(address, "big", layers, ["1"] + [f"t{n}" for n in range(20)])


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.process, self.address = registry(work)
        self.log = f"{work}/log"

    def make(self):
        # In another process: a child's peak RSS is at least what this one has when it forks.
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            self.blobs = pool.submit(make, self.address, self.args.layers, self.args.layer_mb).result()
        self.bytes = sum(blob["size"] for blob in self.blobs)
        print(f"image of {len(self.blobs)} layers, {self.bytes / 1e6:.0f} MB compressed", flush=True)

    def warm(self, cache, tags=("1",)):
        images = [argument for tag in tags for argument in ("-i", f"{self.address}/big:{tag}")]
        index = f"{cache}/index.json"
        named = lambda: os.path.exists(index) and "big:1" in open(index).read()
        return timed([self.args.warmer, "--custom-platform", "linux/amd64", "-c", cache, *images], self.log, named)

    def skopeo(self, target):
        return timed(["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false",
                      f"docker://{self.address}/big:1", f"oci:{target}:1"], self.log)

    def bounds(self, target):
        os.makedirs(target)
        command = ["curl", "-s", "-Z"]
        for number, blob in enumerate(self.blobs):
            command += ["-o", f"{target}/{number}", f"http://{self.address}/v2/big/blobs/{blob['digest']}"]
        curl = timed(command, self.log)
        files = [f"{target}/{number}" for number in range(len(self.blobs))]
        return curl, timed(["sha256sum", *files], self.log)

    def run(self):
        rows = {name: [] for name in ("skopeo", "image", "whole", "again", "again 20", "curl", "sha256")}
        many = [f"t{n}" for n in range(20)]
        for run in range(self.args.runs):
            place = lambda name: f"{self.work}/{name}{run}"
            rows["skopeo"].append(self.skopeo(place("skopeo"))[:3])
            wall, cpu, rss, seen = self.warm(place("cache"))
            rows["whole"].append((wall, cpu, rss))
            rows["image"].append((seen, 0, rss))
            rows["again"].append(self.warm(place("cache"))[:3])
            self.warm(place("cache"), many)
            rows["again 20"].append(self.warm(place("cache"), many)[:3])
            curl, sha256 = self.bounds(place("curl"))
            rows["curl"].append(curl[:3])
            rows["sha256"].append(sha256[:3])
            for name in ("skopeo", "cache", "curl"):
                shutil.rmtree(place(name))
        median = {kind: [statistics.median(column) for column in zip(*values)] for kind, values in rows.items()}
        reference = median["skopeo"][0]
        for kind, (wall, cpu, rss) in median.items():
            least = min(row[0] for row in rows[kind])
            print(f"{kind:9} {wall:8.3f} s (least {least:.3f})  {wall / reference:6.3f} x skopeo  "
                  f"{cpu:6.3f} s CPU  {rss:6.1f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warmer", required=True)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--layer-mb", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", help="default: a temporary folder in /dev/shm")
    args = parser.parse_args()
    args.warmer = os.path.abspath(args.warmer)
    with tempfile.TemporaryDirectory(dir=args.work or "/dev/shm", ignore_cleanup_errors=True) as work:
        bench = Bench(args, work)
        try:
            bench.make()
            bench.run()
        finally:
            bench.process.send_signal(signal.SIGTERM)
            bench.process.wait()


if __name__ == "__main__":
    main()
