"""What a step's pod asks of the cluster: the only place that knows it."""

from dataclasses import dataclass
from typing import Any

from kfp import kubernetes
from pydantic import Field

from soda.config import Config

__all__ = ["SCRATCH", "UID", "VOLUME", "Placement", "Secrets"]

VOLUME = "/var/soda"
SCRATCH = "/scratch"
UID = 10001  # the images' user
# The last is counted from the first try's start, and KFP's own is an hour: a training that failed
# after that was given up, and one that was tried again before it was ended then.
_RETRY = {"backoff_duration": "60s", "backoff_factor": 2.0, "backoff_max_duration": "2592000s"}


class Secrets(Config):
    """The names of the namespace's Secrets; one that is not there is left out."""

    teacher: str = Field("soda-teacher", min_length=1, description="api_key: the teacher's API key")
    judge: str = Field("soda-judge", min_length=1, description="api_key: the judge's API key")
    hub: str = Field("soda-hub", min_length=1, description="token: of the Hugging Face hub")
    notify: str = Field("soda-notify", min_length=1, description="url: a webhook")
    model_registry: str = Field(
        "soda-model-registry", min_length=1, description="token: of Kubeflow's Model Registry"
    )
    store: str = Field(
        "soda-store", min_length=1, description="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )
    pull: str = Field("soda-registry", min_length=1, description="for pulling the images")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pods run and what they may use.

    Secrets and the claim are fixed when a pipeline is compiled: KFP's driver fails where such a
    name is empty, in the notification's pod too, so no parameter of a run may hold one.

    Args:
        secrets: their names.
        claim: a PersistentVolumeClaim to mount at /var/soda; "": none.
        asked: the preflight's outputs, which say what pods ask for; None for pods that are there
            before it, or whatever became of it.
    """

    secrets: Secrets
    claim: str
    asked: Any = None

    def on_cpu(self, task: Any) -> Any:
        """Place a step that needs no GPU."""
        cpu, memory = self._resources("cpu", "memory") if self.asked else ("1", "4Gi")
        self._limit(task, cpu, memory)
        return self._everywhere(task)

    def on_gpu(self, task: Any, count: Any = None) -> Any:
        """Place a step that needs GPUs: so many, or one."""
        kind, cpu, memory = self._resources("gpu_type", "gpu_cpu", "gpu_memory")
        task.set_accelerator_type(kind).set_accelerator_limit(count or "1")
        self._limit(task, cpu, memory)
        task.register_pipeline_channels([kind, *([count] if count else [])])
        kubernetes.add_node_selector_json(task, self.asked["gpu_node_selector"])
        kubernetes.add_toleration_json(task, self.asked["gpu_tolerations"])
        kubernetes.add_node_affinity_json(task, self.asked["gpu_affinity"])
        # workers of PyTorch hand tensors over there, and a pod's own is 64 MiB
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="8Gi")
        return self._everywhere(task)

    def _resources(self, *names: str) -> list[Any]:
        return [self.asked[name] for name in names]

    def _limit(self, task: Any, cpu: Any, memory: Any) -> None:
        task.set_cpu_request(cpu).set_cpu_limit(cpu)
        task.set_memory_request(memory).set_memory_limit(memory)
        if self.asked:  # kfp 2.17 forgets what settings read when a task is inside a group
            task.register_pipeline_channels([cpu, memory])

    def _everywhere(self, task: Any) -> Any:
        task.set_retry(3, **_RETRY)
        # what the run's steps leave for its last one: soda/run_state.py
        kubernetes.use_field_path_as_env(task, "SODA_RUN_ID", "metadata.labels['pipeline/runid']")
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "soda")
        kubernetes.set_security_context(
            task, run_as_user=UID, run_as_group=UID, run_as_non_root=True
        )
        kubernetes.set_image_pull_secrets(task, [self.secrets.pull])
        # the images' file system is read-only
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH)
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        if self.claim:
            kubernetes.mount_pvc(task, pvc_name=self.claim, mount_path=VOLUME)
        # for stores without workload identity; absent Secrets and ConfigMaps are fine
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        self.secret(task, self.secrets.store, {key: key for key in keys})
        places = ("AWS_ENDPOINT_URL", "AWS_REGION")
        kubernetes.use_config_map_as_env(
            task, "soda-store", {key: key for key in places}, optional=True
        )
        return task

    def secret(self, task: Any, name: str, keys: dict[str, str]) -> Any:
        """Let a step see keys of a Secret as environment variables, if it is there."""
        return kubernetes.use_secret_as_env(task, name, keys, optional=True)
