"""KFP's local runner with each step in its image, and without the race in its DockerRunner.

KFP 2.17 lets the engine remove a container as soon as it ends. If that happens before its exit
code was read, KFP takes the step for successful (4 of 15 failing steps on a busy engine). Here a
container stays until its code has been read.
"""

import os
from pathlib import Path
from typing import Any

from kfp import local

__all__ = ["make_runner"]

# What a pod of the pipeline gets: no root, no capabilities, a read-only image.
_RESTRICTED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777,exec", "/scratch": "mode=1777"},
    "network_mode": "host",
    "shm_size": "1g",
}
_PASSED_ON = ("SODA_", "HF_", "AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "OMP_NUM_THREADS")


def make_runner(root: Path) -> Any:
    """Return a runner for `kfp.local.init`.

    Args:
        root: the folder that every container sees under its own path, as do the folders of
            SODA_VOLUMES (separated by ':'); the images' user writes there.
    """
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = _run
    root.mkdir(parents=True, exist_ok=True)
    return local.DockerRunner(user=f"{os.getuid()}:{os.getgid()}", **_RESTRICTED)


def _run(client: Any, image: str, command: list[str], volumes: dict[str, Any], **how: Any) -> int:
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        client.images.pull(image)
    for folder in filter(None, os.environ.get("SODA_VOLUMES", "").split(":")):
        volumes[folder] = {"bind": folder, "mode": "rw"}
    passed = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    how["environment"] = {**passed, **how.get("environment", {})}
    container = client.containers.run(
        image, command, detach=True, stdout=True, stderr=True, volumes=volumes, **how
    )
    try:
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="", flush=True)
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
