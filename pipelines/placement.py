"""What a step's pod asks of the cluster: the only place that knows it."""

from dataclasses import dataclass
from typing import Any

from kfp import kubernetes

__all__ = ["SCRATCH", "UID", "VOLUME", "Placement"]

VOLUME = "/var/soda"
SCRATCH = "/scratch"
UID = 10001  # the images' user
# The last is counted from the first try's start, and KFP's own is an hour: a training that failed
# after that was given up, and one that was tried again before it was ended then.
_RETRY = {"backoff_duration": "60s", "backoff_factor": 2.0, "backoff_max_duration": "2592000s"}


@dataclass(frozen=True, slots=True)
class Placement:
    """The run's parameters that say where pods run and what they may use.

    Args:
        volume: mount the claim `store_claim` at /var/soda.
    """

    volume: bool
    store_claim: Any
    store_secret: Any
    pull_secret: Any
    cpu_request: Any
    cpu_memory: Any
    gpu_type: Any
    gpu_cpu: Any
    gpu_memory: Any
    gpu_node_selector: Any
    gpu_tolerations: Any
    gpu_affinity: Any

    def on_cpu(self, task: Any) -> Any:
        """Place a step that needs no GPU."""
        task.set_cpu_request(self.cpu_request).set_cpu_limit(self.cpu_request)
        task.set_memory_request(self.cpu_memory).set_memory_limit(self.cpu_memory)
        # kfp 2.17 forgets what settings read when a task is inside a group
        task.register_pipeline_channels([self.cpu_request, self.cpu_memory])
        return self._everywhere(task)

    def on_gpu(self, task: Any, count: Any) -> Any:
        """Place a step that needs GPUs."""
        task.set_accelerator_type(self.gpu_type).set_accelerator_limit(count)
        task.set_cpu_request(self.gpu_cpu).set_cpu_limit(self.gpu_cpu)
        task.set_memory_request(self.gpu_memory).set_memory_limit(self.gpu_memory)
        reads = [self.gpu_type, self.gpu_cpu, self.gpu_memory]
        task.register_pipeline_channels(reads + [count] * (not isinstance(count, int)))
        kubernetes.add_node_selector_json(task, self.gpu_node_selector)
        kubernetes.add_toleration_json(task, self.gpu_tolerations)
        kubernetes.add_node_affinity_json(task, self.gpu_affinity)
        # workers of PyTorch hand tensors over there, and a pod's own is 64 MiB
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="8Gi")
        return self._everywhere(task)

    def _everywhere(self, task: Any) -> Any:
        task.set_retry(3, **_RETRY)
        # what the run's steps leave for its last one: soda/run_state.py
        kubernetes.use_field_path_as_env(task, "SODA_RUN_ID", "metadata.labels['pipeline/runid']")
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "soda")
        kubernetes.set_security_context(
            task, run_as_user=UID, run_as_group=UID, run_as_non_root=True
        )
        kubernetes.set_image_pull_secrets(task, [self.pull_secret])
        # the images' file system is read-only
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH)
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        if self.volume:
            kubernetes.mount_pvc(task, pvc_name=self.store_claim, mount_path=VOLUME)
        # for stores without workload identity; absent Secrets and ConfigMaps are fine
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        kubernetes.use_secret_as_env(
            task, self.store_secret, {key: key for key in keys}, optional=True
        )
        places = ("AWS_ENDPOINT_URL", "AWS_REGION")
        kubernetes.use_config_map_as_env(
            task, "soda-store", {key: key for key in places}, optional=True
        )
        return task
