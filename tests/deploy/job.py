#!/usr/bin/env python3
"""The script of a job of deploy/gitlab-ci.yml, as GitLab's runner hands it to the shell: every line shown, then run.

usage: job.py FILE JOB
"""
import shlex
import sys

import yaml

with open(sys.argv[1]) as file:
    job = yaml.safe_load(file)[sys.argv[2]]
print("set -eo pipefail")
for line in job.get("before_script", []) + job["script"]:
    print(f"echo {shlex.quote('$ ' + line)}")
    print(f": | eval {shlex.quote(line)}")
print("exit 0")
