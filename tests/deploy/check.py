#!/usr/bin/env python3
"""Checks every file of deploy/: it parses, it is what its schema says, its Pods have the Pod Security level that it states, and
the flags that it gives to our programs are flags that they have.

usage: check.py BINARIES, from the repository's root. Kubernetes schemas, Helm and the schemas of CI systems come with the packages
of requirements.txt; kubectl is for Kustomize. dialects.py knows Argo, Tekton and Groovy.
"""
import pathlib
import re
import shlex
import subprocess
import sys

import helm_python
import kubernetes_validate
import yaml

import dialects
from dialects import strings

BINARIES = pathlib.Path(sys.argv[1])
DEPLOY = pathlib.Path("deploy")
KUBERNETES = ["1.25.0", "1.37.0"]
PROGRAMS = {"executor", "warmer", "cache-server"}
CHECKED = {"files": 0, "manifests": 0, "command lines": 0}


def fail(place, text):
    sys.exit(f"{place}: {text}")


# Flags.

HELP = {}
# Programs and commands with arguments that are no flags.
TAKES_WORDS = set()


def described(program):
    """What `--help` says of a program, or of `a b`, a subcommand: its flags, each with whether it takes a value, and its subcommands."""
    if program not in HELP:
        name, *command = program.split()
        text = subprocess.run([BINARIES / name, *command, "--help"], capture_output=True, text=True, check=True).stdout
        known = {}
        # `-c, --context <CONTEXT>`; of booleans, which want `=`: `--cache[=<BOOL>]`.
        for short, long, value in re.findall(r"^\s+(?:(-\w), )?\s*(--[\w-]+)(?:\.\.\.)?(\[=<\w+>\]|\s?<[^>]+>)?", text, re.M):
            takes = {"": "nothing", "[": "maybe"}.get(value[:1], "value")
            for flag in filter(None, (short, long)):
                # A line of a description can begin with a flag's name, too.
                if known.get(flag, "nothing") == "nothing":
                    known[flag] = takes
        if re.search(r"^Arguments:$", text, re.M):
            TAKES_WORDS.add(program)
        commands = re.search(r"^Commands:\n(.*?)\n\n", text, re.M | re.S)
        HELP[program] = known, set(re.findall(r"^  (\w[\w-]*)", commands.group(1), re.M)) if commands else set()
    return HELP[program]


def check_arguments(place, program, arguments):
    """As the program reads them; what a pipeline puts in stays text."""
    CHECKED["command lines"] += 1
    rest = [str(argument) for argument in arguments]
    known, subcommands = described(program)
    while rest and rest[0] in subcommands:
        program = f"{program} {rest.pop(0)}"
        known, subcommands = described(program)
    while rest:
        word = rest.pop(0)
        # A whole word that a parameter of a task stands for.
        if re.fullmatch(r"\$\(params\.\w+\[\*\]\)", word) or word == "@":
            continue
        if not word.startswith("-"):
            if program in TAKES_WORDS:
                continue
            # The rest is another command's.
            if word in ("&", "&&", "|", ";", ">", "2>&1"):
                break
            fail(place, f"{program} takes no {word!r}")
        name, equals, _ = word.partition("=")
        if name not in known:
            fail(place, f"{program} has no flag {name}")
        if known[name] == "nothing" and equals:
            fail(place, f"{program} {name} takes no value")
        if known[name] == "value" and not equals:
            if not rest or rest[0].startswith("--"):
                fail(place, f"{program} {name} lacks its value")
            rest.pop(0)


def check_script(place, text):
    """Every line of a shell script that starts one of our programs."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        if not re.search(r"/kaniko/|yadokari/|^\s*(executor|warmer|cache-server)\s", line):
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            fail(place, f"{line}: {error}")
        for number, word in enumerate(words):
            program = re.sub(r":[\w.-]+$", "", word).rsplit("/", 1)[-1]
            is_ours = re.fullmatch(r"/kaniko/\w+|.*yadokari/[\w-]+(:[\w.-]+)?|executor|warmer|cache-server", word)
            if is_ours and program in PROGRAMS:
                check_arguments(place, program, words[number + 1:])
                break


# Pods.


def pods(manifest):
    """The specifications of the Pods that a manifest makes, whatever kind it is."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "Pod":
        yield spec
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield spec["template"]["spec"]
    elif kind == "CronJob":
        yield spec["jobTemplate"]["spec"]["template"]["spec"]
    elif kind == "Task":
        yield {"containers": spec["steps"], "volumes": spec.get("volumes", [])}
    elif kind == "Workflow":
        containers = [template["container"] for template in spec["templates"]]
        yield {"containers": containers, "volumes": spec.get("volumes", [])}


DEFAULT_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
}


def level(pod):
    """Kubernetes, "Pod Security Standards": what these files can use of it."""
    whole = pod.get("securityContext", {})
    containers = pod.get("initContainers", []) + pod["containers"]
    each = [container.get("securityContext", {}) for container in containers]
    added = {name for context in each for name in context.get("capabilities", {}).get("add", [])}
    hosts = any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    on_host = any("hostPath" in volume for volume in pod.get("volumes", []))
    if hosts or on_host or any(context.get("privileged") for context in each) or added - DEFAULT_CAPABILITIES:
        return "privileged"
    restricted = all(
        context.get("runAsNonRoot", whole.get("runAsNonRoot"))
        and context.get("allowPrivilegeEscalation") is False
        and "ALL" in context.get("capabilities", {}).get("drop", [])
        and context.get("seccompProfile", whole.get("seccompProfile", {})).get("type") == "RuntimeDefault"
        for context in each
    )
    return "restricted" if restricted and added <= {"NET_BIND_SERVICE"} else "baseline"


def check_pod(place, pod, stated):
    if stated and level(pod) != stated:
        fail(place, f"states the Pod Security level {stated}, and is {level(pod)}")
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    if not volumes <= mounted:
        fail(place, f"volumes that nobody mounts: {volumes - mounted}")
    for container in pod["containers"]:
        program = re.sub(r":[\w.-]+$", "", container["image"]).rsplit("/", 1)[-1]
        if container["image"] == "$(params.BUILDER_IMAGE)":
            program = "executor"
        command = container.get("command", [])
        if program in PROGRAMS and (not command or command[0].rsplit("/", 1)[-1] == program):
            check_arguments(place, program, command[1:] + container.get("args", []))


def check_manifest(place, manifest, stated=None):
    CHECKED["manifests"] += 1
    if manifest["apiVersion"].split("/")[0] not in ("tekton.dev", "argoproj.io"):
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fail(place, f"{manifest['kind']} {manifest['metadata'].get('name')}: {error.message} (Kubernetes {version})")
    for pod in pods(manifest):
        check_pod(place, pod, stated)


def check_manifests(place, text, stated=None):
    manifests = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    for manifest in manifests:
        check_manifest(place, manifest, stated)
    return manifests


def stated_level(text):
    found = re.search(r"Pod Security level: (\w+)", text)
    return found and found.group(1)


# Files.


def builtin(schema, *paths):
    checked = subprocess.run([pathlib.Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", schema, *paths],
                             capture_output=True, text=True)
    if checked.returncode:
        sys.exit(checked.stdout + checked.stderr)
    CHECKED["files"] += len(paths)


def pipelines():
    builtin("vendor.gitlab-ci", DEPLOY / "gitlab-ci.yml")
    builtin("vendor.github-actions", DEPLOY / "github/action.yml")
    builtin("vendor.github-workflows", DEPLOY / "github/workflow.yml")
    builtin("vendor.cloudbuild", DEPLOY / "cloudbuild.yaml")
    for path in ("gitlab-ci.yml", "github/workflow.yml"):
        for text in strings(yaml.safe_load((DEPLOY / path).read_text())):
            check_script(path, text)
    for step in yaml.safe_load((DEPLOY / "cloudbuild.yaml").read_text())["steps"]:
        check_arguments("cloudbuild.yaml", "executor", step["args"])


def github_action():
    """The script of the action is run, with a docker that prints what it was asked for."""
    action = yaml.safe_load((DEPLOY / "github/action.yml").read_text())
    step = action["runs"]["steps"][0]
    given = {"tags": "registry.example/a:1\nregistry.example/a:2\n", "build-args": "A=1 2", "target": "app", "cache-repository": "r/cache",
             "extra-args": "--verbosity=debug"}
    inputs = {name: given.get(name, value.get("default", "")) for name, value in action["inputs"].items()}
    environment = {name: inputs[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value).group(1)] for name, value in step["env"].items()}
    fake = 'docker() { printf "%s\\n" "$@" >&2; : > "$output/digest"; }\n'
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", fake + step["run"]], capture_output=True, text=True,
                         env={"PATH": "/usr/bin:/bin", "HOME": "/root", "GITHUB_WORKSPACE": "/w", "GITHUB_OUTPUT": "/dev/null", **environment})
    words = ran.stderr.splitlines()
    if ran.returncode or inputs["executor"] not in words:
        fail("github/action.yml", ran.stderr)
    arguments = words[words.index(inputs["executor"]) + 1:]
    for expected in ("--destination=registry.example/a:2", "--build-arg=A=1 2", "--cache=true", "--verbosity=debug"):
        if expected not in arguments:
            fail("github/action.yml", f"{expected} is not among {arguments}")
    check_arguments("github/action.yml", "executor", arguments)


def manifests():
    folders = ("kubernetes", "tekton", "argo")
    for path in sorted(path for folder in folders for path in (DEPLOY / folder).glob("*.yaml")):
        text = path.read_text()
        if not stated_level(text):
            fail(path, "states no Pod Security level")
        check_manifests(path, text, stated_level(text))
        CHECKED["files"] += 1


def holds(path, faults_of, mistakes):
    """A file is without fault, and with each of these mistakes (a text, and what stands in its place) it is not."""
    text = path.read_text()
    if faults := faults_of(text):
        fail(path, "; ".join(faults))
    for right, wrong in mistakes:
        if right not in text or not faults_of(text.replace(right, wrong, 1)):
            fail(path, f"{wrong!r} in the place of {right!r} is not noticed")


def argo():
    holds(DEPLOY / "argo/workflow.yaml", lambda text: dialects.argo(yaml.safe_load(text)), [
        ("entrypoint: build", "entrypoint: built"), ("valueFrom:", "valuefrom:"), ("mountPath:", "mountpath:"), ("git:", "gti:"),
        ("{{workflow.parameters.image}}", "{{workflow.parameters.name}}"), ("container:", "contaner:"),
    ])


def tekton():
    holds(DEPLOY / "tekton/task.yaml", lambda text: dialects.tekton(yaml.safe_load(text), KUBERNETES[-1]), [
        ("$(params.IMAGE)", "$(params.IMAGES)"), ("workingDir:", "workdir:"), ("type: array", "type: string"), ("mountPath:", "path:"),
        ("$(results.IMAGE_DIGEST.path)", "digest"), ("  steps:", "  step:"), ("runAsUser: 0", "runAsUser: root"),
    ])


def jenkins():
    holds(DEPLOY / "jenkins/Jenkinsfile", dialects.groovy, [
        ("checkout scm", "checkout scm)"), ("container('kaniko') {", "container('kaniko' {"), ("podTemplate(yaml:", "podTemplate(yaml"),
    ])
    text = (DEPLOY / "jenkins/Jenkinsfile").read_text()
    pod, script = re.findall(r"'''(.*?)'''", text, re.S)
    check_manifest("Jenkinsfile", {"metadata": {"name": "agent"}, **yaml.safe_load(pod)}, stated_level(text))
    check_script("Jenkinsfile", script)
    CHECKED["files"] += 1


def kustomize():
    for base in sorted((DEPLOY / "kustomize").iterdir()):
        built = subprocess.run(["kubectl", "kustomize", base], capture_output=True, text=True)
        if built.returncode:
            fail(base, built.stderr)
        stated = stated_level((base / "kustomization.yaml").read_text())
        found = check_manifests(base, built.stdout, stated)
        images = re.findall(r"image: (\S+)", built.stdout)
        if not stated or not images or not all(image.startswith("registry.example/yadokari/") for image in images):
            fail(base, f"images {images}, level {stated}")
        CHECKED["files"] += len(found)


def helm():
    path = DEPLOY / "helm/yadokari"
    linted = helm_python.lint(path, strict=True)
    if linted["errors"] or any(message["severity"] > 1 for message in linted["messages"]):
        fail(path, linted)
    chart = helm_python.Chart.load(path)
    server = {"enabled": False}
    warmer = {"images": ["debian:12", "node:22"], "registrySecret": "regcred"}
    for values, kinds, expected in (
        ({}, {"StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget"}, "restricted"),
        ({"cacheServer": {"tlsSecret": "tls", "tokensSecret": "tokens", "anonymous": "none", "extraArgs": ["--mirror=hub=https://registry-1.docker.io"],
                          "networkPolicy": {"namespaceLabels": {"ci": "true"}}, "nodeSelector": {"disk": "fast"}},
          "imagePullSecrets": [{"name": "pull"}]}, {"StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget"}, "restricted"),
        ({"cacheServer": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}}}, {"StatefulSet", "Service"}, "restricted"),
        ({"cacheServer": server, "warmer": {"kind": "cronJob", **warmer}}, {"CronJob", "PersistentVolumeClaim"}, "baseline"),
        ({"cacheServer": server, "warmer": {"kind": "daemonSet", **warmer}}, {"DaemonSet", "PersistentVolumeClaim"}, "baseline"),
        ({"cacheServer": server, "warmer": {"kind": "cronJob", "cache": {"existingClaim": "mine"}, **warmer}}, {"CronJob"}, "baseline"),
        ({"cacheServer": server, "warmer": {"kind": "daemonSet", "cache": {"hostPath": "/var/lib/cache"}, **warmer}}, {"DaemonSet"}, "privileged"),
    ):
        rendered = chart.render(values, name="it", namespace="builds")
        found = [manifest for name, text in rendered.items() if name.endswith(".yaml") for manifest in check_manifests(name, text, expected)]
        if {manifest["kind"] for manifest in found} != kinds:
            fail(path, f"{values}: {[manifest['kind'] for manifest in found]}")
    for values in ({"warmer": {"kind": "daemonSet"}}, {"warmer": {"kind": "other"}}, {"cacheServer": {"anonymous": "all"}}):
        try:
            chart.render(values, name="it", namespace="builds")
        except helm_python.HelmError:
            continue
        fail(path, f"{values} should be refused")
    CHECKED["files"] += 1


def documents():
    """Command lines and manifests in the documentation."""
    for path in [DEPLOY / "README.md", pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md"))]:
        for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", path.read_text(), re.S | re.M):
            check_script(path, block.replace("…", "@").replace("$ ", ""))
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.S | re.M):
            for manifest in yaml.safe_load_all(block):
                if "apiVersion" in manifest:
                    check_manifest(path, manifest)


if __name__ == "__main__":
    every = {path for path in DEPLOY.rglob("*") if path.suffix in (".yml", ".yaml") and "templates" not in path.parts}
    for path in every:
        list(yaml.safe_load_all(path.read_text()))
    for check in (pipelines, github_action, manifests, argo, tekton, jenkins, kustomize, helm, documents):
        check()
    print(", ".join(f"{count} {what}" for what, count in CHECKED.items()) + f": all of deploy/ is valid ({len(every)} YAML files)")
