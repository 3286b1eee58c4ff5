"""Every pod that an object leads to, wherever its template lies."""

from collections.abc import Iterator
from typing import Any

Pod = dict[str, Any]


def pods(value: Any) -> Iterator[Pod]:
    """Yield pod specs: mappings with containers; Argo Events writes `container` for its own."""
    if isinstance(value, dict):
        if value.get("kind") in ("EventSource", "Sensor"):
            template = value["spec"]["template"]
            # which image it is, and whether it gets a token, it decides itself
            container = {"image": "argo-events:set-by-it", **template["container"]}
            yield {**template, "containers": [container]}
        if value.get("kind") != "PipelineVersion":  # Kubeflow makes those pods
            if isinstance(value.get("containers"), list):
                yield value
            for inner in value.values():
                yield from pods(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pods(inner)


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield what has to be there before the pod can start, as kind and name."""
    yield "ServiceAccount", pod["serviceAccountName"]
    for volume in pod.get("volumes", ()):
        for source in (volume, *volume.get("projected", {}).get("sources", ())):
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
            if "persistentVolumeClaim" in source:
                yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]
    for container in pod["containers"]:
        sources = [*container.get("envFrom", ())]
        sources += [entry.get("valueFrom", {}) for entry in container.get("env", ())]
        for source in sources:
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                named = source.get(f"{key}Ref") or source.get(f"{key}KeyRef")
                if named:
                    yield kind, named["name"]


def breaches(pod: Pod) -> list[str]:
    """Return what Pod Security `restricted` (v1.34) has against a pod, as far as ours can err."""
    found = []
    whole = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            found.append(name)
    for volume in pod.get("volumes", ()):
        kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"}
        kinds |= {"persistentVolumeClaim", "projected", "secret"}
        if not volume.keys() - {"name"} <= kinds:
            found.append(f"volume {volume['name']}")
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        own = container.get("securityContext", {})
        either = {**whole, **own}
        if either.get("runAsNonRoot") is not True or either.get("runAsUser") == 0:
            found.append("runs as root")
        if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append("seccompProfile")
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append("privileges")
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()) or capabilities.get("add"):
            found.append("capabilities")
        if any(port.get("hostPort") for port in container.get("ports", ())):
            found.append("hostPort")
    return found
