#!/usr/bin/env python3
"""What a Pod of deploy/kubernetes gives its one container, a line each: `-e` and the variables, or the arguments as they are.

usage: pod.py FILE env|args
"""
import sys

import yaml

with open(sys.argv[1]) as file:
    (container,) = next(document for document in yaml.safe_load_all(file) if document["kind"] == "Pod")["spec"]["containers"]
if sys.argv[2] == "args":
    lines = container["args"]
else:
    lines = [word for variable in container.get("env", []) for word in ("-e", f"{variable['name']}={variable['value']}")]
assert not any("\n" in str(line) for line in lines)
print("\n".join(lines))
