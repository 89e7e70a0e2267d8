"""What a workflow of Argo, a task of Tekton and a Jenkinsfile have to be beyond YAML and balanced brackets. Each function gives the
faults that it finds, in words.

Argo: the models of hera, which are generated from Argo's own schema. Tekton: what is Kubernetes' own in it, by the schema of Kubernetes;
its own fields, by the names in its CustomResourceDefinition (tektoncd/pipeline, config/300-crds/300-task.yaml, v1), which no package of
PyPI or npm has. Jenkins: the grammar of Groovy; what the steps mean only Jenkins and its plugins know.
"""
import re

import kubernetes_validate
import tree_sitter
import tree_sitter_groovy
from hera.workflows.models import Workflow


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from strings(below)
    elif isinstance(value, list):
        for below in value:
            yield from strings(below)


def lost(given, kept, place=""):
    """What of a document a model did not take over: it has no such field, or understood something else."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            yield from lost(value, kept[name], f"{place}.{name}") if name in kept else [f"there is no field {place}.{name}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept)):
            yield from lost(one, other, f"{place}[{number}]")
    elif given != kept:
        yield f"{place}: {given!r} is taken as {kept!r}"


def argo(workflow):
    try:
        model = Workflow.model_validate(workflow)
    except ValueError as error:
        return [str(error)]
    faults = list(lost(workflow, model.model_dump(by_alias=True, exclude_none=True, mode="json")))
    spec = workflow["spec"]
    parameters = {parameter["name"] for parameter in spec.get("arguments", {}).get("parameters", [])}
    named = {name for text in strings(spec) for name in re.findall(r"\{\{workflow\.parameters\.([\w-]+)\}\}", text)}
    if parameters != named:
        faults.append(f"parameters {sorted(parameters)}, of which the templates name {sorted(named)}")
    if spec.get("entrypoint") not in {template["name"] for template in spec["templates"]}:
        faults.append(f"no template is called {spec.get('entrypoint')!r}")
    return faults


TASK = {
    "params": {"name", "type", "description", "properties", "default", "enum"},
    "workspaces": {"name", "description", "mountPath", "readOnly", "optional"},
    "results": {"name", "type", "properties", "description", "value"},
}
TASK_REST = {"description", "displayName", "sidecars", "stepTemplate", "steps", "volumes"}
# What a step has beside the fields of a container.
STEP = {"displayName", "onError", "params", "ref", "results", "script", "stderrConfig", "stdoutConfig", "timeout", "when", "workspaces"}
TYPES = {"string": str, "array": list, "object": dict}


def container(step):
    renamed = {"computeResources": "resources"}
    return {"name": "unnamed", **{renamed.get(name, name): value for name, value in step.items() if name not in STEP}}


def tekton(task, kubernetes):
    """`kubernetes` is the version whose schema counts."""
    spec, faults = task["spec"], []
    if unknown := spec.keys() - TASK.keys() - TASK_REST:
        faults.append(f"a task has no {sorted(unknown)}")
    for kind, fields in TASK.items():
        for declared in spec.get(kind, []):
            if declared.keys() - fields or "name" not in declared:
                faults.append(f"{kind}: {sorted(declared)}, where {sorted(fields)} may be, and a name has to")
    for parameter in spec.get("params", []):
        expected = TYPES.get(parameter.get("type", "string"))
        if expected is None or not isinstance(parameter.get("default", expected()), expected):
            faults.append(f"parameter {parameter.get('name')}: its type, or that of its default")
    pod = {"containers": [container(step) for step in spec.get("steps", [])], "volumes": spec.get("volumes", [])}
    try:
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "steps"}, "spec": pod}, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as error:
        faults.append(f"steps: {error.message}")
    return faults + list(unmatched_names(spec))


def unmatched_names(spec):
    """What steps name and nobody declares, and what is declared for nothing."""
    named = {kind: set() for kind in TASK}
    for text in strings({name: value for name, value in spec.items() if name not in TASK}):
        for kind, name in re.findall(r"\$\((params|workspaces|results)\.([\w-]+)", text):
            named[kind].add(name)
    for kind, names in named.items():
        declared = spec.get(kind, [])
        known = {one.get("name") for one in declared}
        # Those are there for whoever looks at the path.
        needed = {one.get("name") for one in declared if "mountPath" not in one}
        if not names <= known or not needed <= names:
            yield f"{kind}: declared are {sorted(known, key=str)}, named are {sorted(names)}"


def groovy(text):
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_groovy.language())).parse(text.encode())
    return list(broken(tree.root_node))


def broken(node):
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: this is no Groovy"
    else:
        for child in node.children:
            yield from broken(child)
