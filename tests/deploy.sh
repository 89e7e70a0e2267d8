#!/bin/bash
# The files of deploy/ and the book of docs/: everything parses, renders, and names what there is.
# usage: deploy.sh BINARIES; needs python3 with venv, and kubectl.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/support/python.sh
"$python" tests/deploy/check.py "$1"
"$python" tests/deploy/book.py
