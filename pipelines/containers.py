"""KFP's local runner with each step in its image, and without the race in its DockerRunner.

KFP 2.17 lets the engine remove a container as soon as it ends. If that happens before its exit
code was read, KFP takes the step for successful (4 of 15 failing steps on a busy engine). Here a
container stays until its code has been read.
"""

import functools
import os
from pathlib import Path
from typing import Any

from kfp import local

from soda.errors import ConfigError
from soda.storage import Place

from .placement import SCRATCH, UID

__all__ = ["make_runner"]

# What a pod of the pipeline gets: no root, no capabilities, a read-only image.
_RESTRICTED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777,exec", SCRATCH: "mode=1777"},
    "network_mode": "host",
    "shm_size": "1g",
}
_PASSED_ON = ("SODA_", "HF_", "AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "OMP_NUM_THREADS")


def make_runner(root: Path, store: str) -> Any:
    """Return a runner for `kfp.local.init`.

    Args:
        root: where KFP puts what the steps make.
        store: the run's store. If it is a folder, every container sees it under its own path, as
            it does `root` and the folders of SODA_VOLUMES (separated by ':').

    Raises:
        ConfigError: no Docker engine answers.
    """
    try:
        import docker
        from kfp.local import docker_task_handler

        docker.from_env().ping()
    except ImportError as error:
        raise ConfigError("--containers: expected soda-distill[containers] installed") from error
    except docker.errors.DockerException as error:
        raise ConfigError(f"--containers: expected a Docker engine, found none: {error}") from error
    folders = [folder for folder in os.environ.get("SODA_VOLUMES", "").split(":") if folder]
    folders += [] if Place.of(store).remote else [store]
    docker_task_handler.run_docker_container = functools.partial(_run, folders)
    user = os.getuid(), os.getgid()
    for folder in [str(root), *folders]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if user[0] == 0:  # nobody is root in there: the folders go to the images' user
            os.chown(folder, UID, UID)
    user = user if user[0] else (UID, UID)
    return local.DockerRunner(user=f"{user[0]}:{user[1]}", **_RESTRICTED)


def _run(
    folders: list[str],
    client: Any,
    image: str,
    command: list[str],
    volumes: dict[str, Any],
    **how: Any,
) -> int:
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        print(f"containers: pulling {image}")
        client.images.pull(image)
    volumes = volumes | {folder: {"bind": folder, "mode": "rw"} for folder in folders}
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
