"""Checks the bundles beside an image with sigstore's models and securesystemslib's DSSE.

independent.py REGISTRY/REPOSITORY:TAG PUBLIC_KEY [PREDICATE_TYPE...]
"""

import base64
import json
import sys
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from sigstore_models.bundle.v1 import Bundle

ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


def get(url):
    return urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": ACCEPT}))


def referrers(base, digest):
    try:
        return json.load(get(f"{base}/referrers/{digest}"))["manifests"]
    except urllib.error.HTTPError:
        return json.load(get(f"{base}/manifests/{digest.replace(':', '-')}"))["manifests"]


def main(image, public, wanted):
    host, rest = image.split("/", 1)
    repository, tag = rest.rsplit(":", 1)
    base = f"http://{host}/v2/{repository}"
    digest = get(f"{base}/manifests/{tag}").headers["Docker-Content-Digest"]
    found = set()
    for entry in referrers(base, digest):
        manifest = json.load(get(f"{base}/manifests/{entry['digest']}"))
        assert manifest["subject"]["digest"] == digest
        raw = get(f"{base}/blobs/{manifest['layers'][0]['digest']}").read()
        bundle = Bundle.from_json(raw)
        hint = bundle.verification_material.public_key.hint
        with open(public) as file:
            key = SSlibKey.from_crypto(load_pem_public_key(file.read().encode()), keyid=hint)
        envelope = Envelope.from_dict(json.loads(raw)["dsseEnvelope"])
        assert list(envelope.verify([key], 1)) == [hint]
        statement = json.loads(envelope.payload)
        assert statement["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
        found.add(statement["predicateType"])
    missing = set(wanted) - found
    assert not missing, f"missing: {missing}, found: {found}"
    print(f"{image}: {', '.join(sorted(found))}")


main(sys.argv[1], sys.argv[2], sys.argv[3:] or ["https://sigstore.dev/cosign/sign/v1"])
