"""The pods that compiled pipelines ask for: valid, and fit for Pod Security `restricted`.

Kubeflow's backend makes them; here the same is done with what a spec says and with the settings
that kfp documents for every pod (`kfp.kubernetes.set_security_context`).
"""

import re

import kubernetes_validate
import pytest

from soda.kubernetes.resources import CpuPods, GpuPods, texts_of
from tests.manifests.pods import breaches
from tests.pipelines.test_compile import WAYS, compiled

EVERY_POD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pods_of(spec, platform):
    """Yield a Pod for every executor, with what preflight returns by default in it."""
    defaults = texts_of(CpuPods.parse({}), GpuPods.parse({}))._asdict()

    def value(text):
        names = re.findall(r"inputs\.parameters\['pipelinechannel--preflight-(\w+)'\]", str(text))
        return str(defaults[names[0]]) if names else str(text)

    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container, own = executor["container"], settings[name]
        limits = container["resources"]
        resources = {
            "cpu": value(limits["resourceCpuLimit"]),
            "memory": value(limits["resourceMemoryLimit"]),
        }
        if accelerator := limits.get("accelerator"):
            kind = value(accelerator["resourceType"])
            resources[kind] = value(accelerator["resourceCount"])
        volumes, mounts = [], []
        for each in own["emptyDirMounts"]:
            size = {key: each[key] for key in ("medium", "sizeLimit") if key in each}
            volumes.append({"name": each["volumeName"], "emptyDir": size})
            mounts.append({"name": each["volumeName"], "mountPath": each["mountPath"]})
        for each in own.get("pvcMount", []):
            volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": "soda-store"}})
            mounts.append({"name": "store", "mountPath": each["mountPath"]})
        context = {key: _number(each) for key, each in own["securityContext"].items()}
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": own["podMetadata"]["labels"]},
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "image": container["image"],
                        "command": container["command"],
                        "args": container["args"],
                        "resources": {"requests": resources, "limits": resources},
                        "securityContext": {**EVERY_POD, **context},
                        "volumeMounts": mounts,
                    }
                ],
                "volumes": volumes,
            },
        }


def _number(found):
    return int(found) if isinstance(found, str) else found


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_every_pod_is_valid_and_restricted(name, how):
    pods = list(pods_of(*compiled(name, **how)))
    assert len(pods) > 8
    for pod in pods:
        kubernetes_validate.validate(pod, "1.34", strict=True)
        assert breaches(pod["spec"]) == [], pod["metadata"]["name"]
        assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "soda"
        paths = {mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert {"/tmp", "/scratch"} <= paths


def test_pods_with_gpus_have_shared_memory_and_go_where_the_run_says():
    spec, platform = compiled()
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in pods_of(spec, platform):
        [container] = pod["spec"]["containers"]
        has_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        own = settings[pod["metadata"]["name"]]
        assert has_gpu == ("/dev/shm" in {each["mountPath"] for each in container["volumeMounts"]})
        assert has_gpu == bool(own.get("tolerations")) == bool(own.get("nodeSelector"))
