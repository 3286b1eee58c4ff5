"""Code that a model wrote runs in a container without network, rights or much of anything."""

import functools
import secrets
from typing import Any

from soda.errors import ConfigError

__all__ = ["Sandbox", "open_sandbox"]

_IMAGE = "python:3.11-slim"
_LIMITS: dict[str, Any] = {
    "network_mode": "none",
    "read_only": True,
    "tmpfs": {"/tmp": "size=16m,mode=1777"},
    "user": "65534:65534",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "256m",
    "memswap_limit": "256m",
    "pids_limit": 32,
    "nano_cpus": 1_000_000_000,
    "working_dir": "/tmp",
}
_LONGEST = 100_000  # bytes of code; the kernel takes one argument of 128 KiB


class Sandbox:
    """Containers of one engine: docker's, or any that answers as docker does (DOCKER_HOST)."""

    def __init__(self, engine: Any):
        self._engine = engine

    def passes(self, code: str, tests: str, seconds: float) -> bool | None:
        """Say whether tests pass after code; code that ends, hangs or floods has failed.

        Args:
            seconds: for all of it, the container's start included.
        """
        from docker.types import LogConfig
        from requests import exceptions

        passed = secrets.token_hex(16)  # so that code which ends early has not passed
        program = f"{code}\n\n{tests}\n\nprint('\\n{passed}')\n"
        if len(program.encode(errors="replace")) > _LONGEST:
            return None
        container = self._engine.containers.run(
            _IMAGE,
            ["python", "-I", "-c", program],
            detach=True,
            log_config=LogConfig(type="json-file", config={"max-size": "64k", "max-file": "1"}),
            **_LIMITS,
        )
        try:
            container.wait(timeout=seconds)
            return bool(
                container.logs(stdout=True, stderr=False, tail=1).decode().strip() == passed
            )
        except (exceptions.ConnectionError, exceptions.ReadTimeout):
            return False
        finally:
            container.remove(force=True)


@functools.cache
def open_sandbox() -> Sandbox:
    """Return the sandbox of this process.

    Raises:
        ConfigError: no engine answers, or it has no image with Python; code never runs outside a
            container.
    """
    what = "checks of kind 'code': expected a container engine"
    try:
        import docker
    except ImportError as error:
        raise ConfigError(f"{what} and soda-distill[containers] installed") from error
    try:
        engine = docker.from_env()
        engine.ping()
        engine.images.get(_IMAGE)
    except docker.errors.ImageNotFound as error:
        raise ConfigError(f"{what} that has {_IMAGE}: docker pull {_IMAGE}") from error
    except docker.errors.DockerException as error:
        raise ConfigError(f"{what} (DOCKER_HOST), found none: {error}") from error
    return Sandbox(engine)
