"""Writes Docker's and containerd's seccomp profile, made from podman's: what makes namespaces and mounts needs CAP_SYS_ADMIN.

usage: seccomp.py FILE
"""
import json
import sys

profile = json.load(open("/usr/share/containers/seccomp.json"))
namespaces = ["unshare", "setns", "mount", "umount", "umount2", "pivot_root", "fsopen", "fsmount", "fsconfig", "fspick", "move_mount", "open_tree", "mount_setattr", "clone3"]
for rule in profile["syscalls"]:
    if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("includes"):
        rule["names"] = [name for name in rule["names"] if name not in namespaces + ["clone"]]
clone = {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}
profile["syscalls"] += [clone, {"names": namespaces + ["clone"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]
json.dump(profile, open(sys.argv[1], "w"))
