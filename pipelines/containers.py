"""KFP's local runner with each step in its image, and without the race in its DockerRunner.

KFP 2.17 lets the engine remove a container as soon as it ends. If that happens before its exit
code was read, KFP takes the step for successful (4 of 15 failing steps on a busy engine). Here a
container stays until its code has been read.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import local

from soda.errors import ConfigError
from soda.storage import Place

from .placement import SCRATCH, UID

__all__ = ["environment_of", "function_in", "make_runner", "secrets_of"]

# What a pod of the pipeline gets: no root, no capabilities, a read-only image.
_RESTRICTED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777,exec", SCRATCH: "mode=1777"},
    "network_mode": "host",
    "shm_size": "1g",
}
# Settings, which every step may see; a secret goes to the steps whose spec asks for it.
_SETTINGS = (
    *("SODA_ACCELERATE", "SODA_PROGRESS_SECONDS", "SODA_STORE", "SODA_TEACHER_BASE_URL"),
    *("SODA_TEACHER_MODEL", "HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION", "STORAGE_EMULATOR_HOST"),
)
# What goes with a secret of the spec; on a cluster the pod's own identity takes its place.
_WITH = {"AWS_ACCESS_KEY_ID": ("AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS")}
_HERE_ONLY = {"snapshot": {"SODA_STUDENT_API_KEY"}}  # a pipeline's student is no endpoint


def secrets_of(documents: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the secret variables that each step of a compiled pipeline asks for.

    Args:
        documents: the spec, and what it says for Kubernetes.

    Returns: by the name of the step's function.
    """
    if not documents:
        return {}
    spec, *platforms = documents
    executors = spec["deploymentSpec"]["executors"]
    found: dict[str, set[str]] = {}
    for platform in platforms:
        deployment = platform["platforms"]["kubernetes"]["deploymentSpec"]
        for name, asks in deployment["executors"].items():
            container = executors.get(name, {}).get("container", {})
            function = function_in([*container.get("command", []), *container.get("args", [])])
            names = found.setdefault(function, set())
            for secret in asks.get("secretAsEnv", []):
                for key in secret["keyToEnv"]:
                    names |= {key["envVar"], *_WITH.get(key["envVar"], ())}
    return found


def function_in(command: Sequence[str]) -> str:
    """Return the name of the function that a step's command runs; "" for another command."""
    flag = "--function_to_execute"
    place = command.index(flag) + 1 if flag in command else len(command)
    return command[place] if place < len(command) else ""


def environment_of(function: str, secrets: Mapping[str, set[str]]) -> dict[str, str]:
    """Return what a step sees of this process's environment: settings, and its own secrets."""
    wanted = {*_SETTINGS, *secrets.get(function, ()), *_HERE_ONLY.get(function, ())}
    return {name: os.environ[name] for name in sorted(wanted) if name in os.environ}


def make_runner(root: Path, store: str, secrets: Mapping[str, set[str]]) -> Any:
    """Return a runner for `kfp.local.init`.

    Args:
        root: where KFP puts what the steps make.
        store: the run's store. If it is a folder, every container sees it under its own path, as
            it does `root` and the folders of SODA_VOLUMES (separated by ':').
        secrets: which variables each step sees beside the settings; see `secrets_of`.

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
    docker_task_handler.run_docker_container = functools.partial(_run, folders, secrets)
    user = os.getuid(), os.getgid()
    for folder in [str(root), *folders]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if user[0] == 0:  # nobody is root in there: the folders go to the images' user
            os.chown(folder, UID, UID)
    user = user if user[0] else (UID, UID)
    return local.DockerRunner(user=f"{user[0]}:{user[1]}", **_RESTRICTED)


def _run(
    folders: list[str],
    secrets: Mapping[str, set[str]],
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
    passed = environment_of(function_in(command), secrets)
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
