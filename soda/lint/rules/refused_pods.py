"""Rules about settings of a pod that Kubernetes refuses, or KFP drops."""

from collections.abc import Iterator
from typing import Any

from ..findings import Fault, Faults, Rule
from ..kubernetes import LABEL_VALUE, VOLUME_NAME, is_label_key, quantity
from ..spec import PARAMETER, Executor, Input, Spec, Task

__all__ = ["RULES"]

_MOUNTS = ["pvcMount", "secretAsVolume", "configMapAsVolume", "emptyDirMounts"]
_MOUNTS += ["genericEphemeralVolume"]
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
_OLD = {"cpuLimit": "", "memoryLimit": "G", "cpuRequest": "", "memoryRequest": "G"}


def _amount(executor: Executor, resource: str, kind: str) -> str:
    """Return what is asked for, as the backend reads it: the newer field before the older."""
    new, old = f"resource{resource.title()}{kind}", f"{resource}{kind}"
    if executor.resources.get(new):
        return str(executor.resources[new])
    value = executor.resources.get(old)
    return f"{value}{_OLD[old]}" if value else ""


def _bad_quantity(spec: Spec) -> Faults:
    """An amount is none that Kubernetes can read, or a request is above its limit.

    KFP's driver fails, or the pod is refused. kfp takes '100K' and '4gb' without a word; Kubernetes
    knows k, M, G, T and Ki, Mi, Gi, Ti.
    """
    for executor in spec.executors.values():
        place = executor.place.at("container", "resources")
        for resource in ("cpu", "memory"):
            amounts = {kind: _amount(executor, resource, kind) for kind in ("Request", "Limit")}
            worth = {k: quantity(a) for k, a in amounts.items() if a and "{{" not in a}
            for kind in (k for k, amount in worth.items() if amount is None):
                message = f"the {resource} {kind.lower()} '{amounts[kind]}' is no quantity"
                yield Fault(place, message)
            request, limit = worth.get("Request"), worth.get("Limit")
            if request is not None and limit is not None and request > limit:
                message = f"requests {amounts['Request']} of {resource}, and is limited to "
                yield Fault(place, f"{message}{amounts['Limit']}")
        for kind, field in (("genericEphemeralVolume", "size"), ("emptyDirMounts", "sizeLimit")):
            for each in executor.platform.get(kind, []):
                if each.get(field) and quantity(each[field]) is None:
                    yield Fault(executor.settings.at(kind), f"'{each[field]}' is no quantity")


def _lost_resource(spec: Spec) -> Faults:
    """KFP drops a resource that was asked for, or fails at it.

    An accelerator needs a type and a number; of a type that is no Kubernetes resource (it has no
    slash, as nvidia.com/gpu has), the pod is refused. A parameter that is a number is read as empty
    text: no accelerator, and a failure for cpu and memory. Declare it as a str.
    """
    for executor in spec.executors.values():
        place = executor.place.at("container", "resources")
        wanted = executor.resources.get("accelerator", {})
        count = str(wanted.get("resourceCount") or wanted.get("count") or "")
        kind = str(wanted.get("resourceType") or wanted.get("type") or "")
        if count not in ("", "0") and not kind:
            message = "KFP drops the accelerator: it has a number and no type"
            yield Fault(place, message, "call task.set_accelerator_type('nvidia.com/gpu')")
        if kind and not count:
            yield Fault(place, "KFP drops the accelerator: it has a type and no number")
        if kind and count not in ("", "0") and "/" not in kind and "{{" not in kind:
            yield Fault(place, f"Kubernetes has no resource '{kind}': its names hold a slash")
    for task, executor in spec.pods:
        for field, text in _texts(executor.resources):
            for name in PARAMETER.findall(text):
                if _is_number(spec, task, name):
                    message = f"{field} reads the number '{name}', which KFP takes as empty"
                    yield Fault(task.place, message, "declare the parameter as a str")


def _texts(resources: Any) -> Iterator[tuple[str, str]]:
    for field, value in resources.items():
        if isinstance(value, dict):
            yield from _texts(value)
        elif isinstance(value, str):
            yield field, value


def _is_number(spec: Spec, task: Task, name: str) -> bool:
    source = task.inputs.get(name, Input())
    around = spec.components[task.around]
    kind = around.parameters.get(source.around, {}).get("parameterType", "")
    if source.producer in around.tasks:
        made = spec.components.get(around.tasks[source.producer].component)
        kind = made.makes.get(source.output, "") if made else ""
    declared = spec.components[task.component].parameters.get(name, {}).get("parameterType")
    return str(kind).startswith("NUMBER") and declared != "STRING"


def _bad_toleration(spec: Spec) -> Faults:
    """Kubernetes refuses a pod with such a toleration.

    Its operator is Equal or Exists, and Exists takes no value; without a key it is Exists. Its
    effect is NoSchedule, PreferNoSchedule or NoExecute; only NoExecute takes seconds.
    """
    for executor in spec.executors.values():
        for index, each in enumerate(executor.platform.get("tolerations", [])):
            operator, effect = each.get("operator", ""), each.get("effect", "")
            place = executor.settings.at("tolerations", str(index))
            if "tolerationJson" in each:
                continue
            if operator not in ("", "Equal", "Exists", "Lt", "Gt"):
                yield Fault(place, f"expected the operator Equal or Exists, found '{operator}'")
            elif operator == "Exists" and each.get("value"):
                yield Fault(place, "a toleration with Exists takes no value")
            elif operator != "Exists" and not each.get("key"):
                yield Fault(place, "a toleration without a key needs the operator Exists")
            if effect not in _EFFECTS:
                yield Fault(place, f"expected an effect such as NoSchedule, found '{effect}'")
            elif "tolerationSeconds" in each and effect not in ("NoExecute", ""):
                yield Fault(place, "only the effect NoExecute takes seconds")


def _bad_label(spec: Spec) -> Faults:
    """Kubernetes refuses a pod with such a label, annotation or node selector.

    A value has up to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or
    digit. A key is the same, perhaps after a domain and a slash. An annotation's value is free.
    """
    for executor in spec.executors.values():
        metadata = executor.platform.get("podMetadata", {})
        selector = executor.platform.get("nodeSelector", {})
        for said, tree, place in (
            ("label", metadata.get("labels", {}), executor.settings.at("podMetadata", "labels")),
            ("annotation", metadata.get("annotations", {}), executor.settings.at("podMetadata")),
            ("node selector", selector.get("labels", {}), executor.settings.at("nodeSelector")),
        ):
            for key, value in tree.items():
                if not is_label_key(key):
                    yield Fault(place, f"the {said} '{key}' has a key that Kubernetes refuses")
                elif (
                    said != "annotation" and not LABEL_VALUE.fullmatch(value) and "{{" not in value
                ):
                    yield Fault(place, f"the {said} '{key}' has the value '{value}'")


def _bad_mount(spec: Spec) -> Faults:
    """Two volumes are mounted at one path, or a volume's name is none: the pod is refused.

    KFP names a volume after its claim, Secret or ConfigMap; a volume's name has up to 63 lower-case
    letters, digits and hyphens, and no dots. To a claim that CreatePVC makes, KFP prepends 36
    characters: a suffix may have 27.
    """
    for executor in spec.executors.values():
        paths: dict[str, str] = {}
        for kind in _MOUNTS:
            for index, each in enumerate(executor.platform.get(kind, [])):
                place = executor.settings.at(kind, str(index))
                path = each.get("mountPath", "").rstrip("/") or "/"
                if path in paths:
                    yield Fault(place, f"{paths[path]} is mounted at '{path}' too")
                name = _volume(each)
                paths[path] = f"'{name}'" if name else "another volume"
                if name and not VOLUME_NAME.fullmatch(name):
                    yield Fault(place, f"'{name}' cannot be a volume's name")
    for task in spec.tasks:
        suffix = task.inputs.get("pvc_name_suffix", Input()).constant
        if spec.kind(task) == "volume" and isinstance(suffix, str) and len(suffix) > 27:
            yield Fault(task.place, f"the claim's name is too long: 36 characters and '{suffix}'")


def _volume(mount: dict[str, Any]) -> str:
    """Return the name that KFP gives a volume, or '' for one from a parameter or another task."""
    for field in ("secretNameParameter", "configMapNameParameter", "pvcNameParameter"):
        constant = mount.get(field, {}).get("runtimeValue", {}).get("constant")
        if field in mount:
            return constant if isinstance(constant, str) and "{{" not in constant else ""
    return str(
        mount.get("secretName")
        or mount.get("configMapName")
        or mount.get("constant")
        or mount.get("volumeName")
        or ""
    )


def _root_user(spec: Spec) -> Faults:
    """A pod asks to run as root (runAsUser: 0).

    Namespaces with the 'restricted' Pod Security Standard refuse it, and so does KFP with
    runAsNonRoot beside it, or where an administrator sets that.
    """
    for executor in spec.executors.values():
        context = executor.platform.get("securityContext", {})
        if str(context.get("runAsUser", "")) == "0":
            both = ", and not to run as root: KFP refuses the run" * bool(
                context.get("runAsNonRoot")
            )
            yield Fault(executor.settings.at("securityContext"), f"asks to run as root{both}")


RULES = (
    Rule(
        "bad-quantity",
        "error",
        "an amount is none that Kubernetes can read, or a request is above its limit",
        "write amounts such as 500m, 4Gi or 100M, and requests up to the limit",
        _bad_quantity,
        ("kfp",),
    ),
    Rule(
        "lost-resource",
        "error",
        "KFP drops a resource that was asked for, or fails at it",
        "call task.set_accelerator_type('nvidia.com/gpu').set_accelerator_limit(1)",
        _lost_resource,
        ("kfp",),
    ),
    Rule(
        "bad-toleration",
        "error",
        "Kubernetes refuses a pod with such a toleration",
        "call kubernetes.add_toleration(task, key, operator='Exists', effect='NoSchedule')",
        _bad_toleration,
        ("kfp",),
    ),
    Rule(
        "bad-label",
        "error",
        "Kubernetes refuses a pod with such a label, annotation or node selector",
        "use up to 63 letters, digits, '-', '_' and '.'; put other text into an annotation",
        _bad_label,
        ("kfp",),
    ),
    Rule(
        "bad-mount",
        "error",
        "two volumes are mounted at one path, or a volume's name is none: the pod is refused",
        "mount each volume at a path of its own; name Secrets and claims without dots",
        _bad_mount,
        ("kfp",),
    ),
    Rule(
        "root-user",
        "warning",
        "a pod asks to run as root: strict namespaces refuse it",
        "call kubernetes.set_security_context(task, run_as_user=1000, run_as_non_root=True)",
        _root_user,
        ("kfp",),
    ),
)
