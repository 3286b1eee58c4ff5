"""What a run's pods ask for, as a person writes it and as Kubeflow's driver wants it: as text.

KFP's driver takes the number of GPUs, CPUs and memory from texts: of a number it sets nothing, of
an empty text it fails. So what a person left out, or cleared in the form, has its default here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import Field, field_validator

from soda.config import Config

__all__ = ["CpuPods", "GpuPods", "Texts", "texts_of"]


class _Pods(Config):
    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check raw values; what is empty has its default.

        Raises:
            ConfigError: a key is unknown, or its value cannot be.
        """
        return super().parse({key: each for key, each in values.items() if each not in (None, "")})


class CpuPods(_Pods):
    """The pods without a GPU."""

    cpu: str = Field("2", description="CPUs")
    memory: str = Field("8Gi", description="memory")

    @classmethod
    def stage(cls) -> str:
        """Return the parameter's name, for messages."""
        return "pods"

    @field_validator("cpu", "memory", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return f"{value:g}" if isinstance(value, int | float) else value


class GpuPods(CpuPods):
    """The pods with GPUs."""

    type: str = Field("nvidia.com/gpu", description="resource name of the GPUs")
    count: int = Field(1, ge=1, description="GPUs for training, a process each; other steps: one")
    cpu: str = Field("8", description="CPUs")
    memory: str = Field("64Gi", description="memory")
    node_selector: dict[str, str] = Field({}, description="labels of the nodes")
    tolerations: list[dict[str, Any]] = Field(
        [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        description="taints that are tolerated",
    )
    affinity: dict[str, Any] = Field({}, description="node affinity, as Kubernetes writes it")
    autoscaled: bool = Field(False, description="nodes come only when they are asked for")

    @classmethod
    def stage(cls) -> str:
        """Return the parameter's name, for messages."""
        return "gpus"

    @field_validator("count", mode="before")
    @classmethod
    def _as_number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


class Texts(NamedTuple):
    """What the driver reads."""

    cpu: str
    memory: str
    gpu_type: str
    gpu_count: str
    gpu_cpu: str
    gpu_memory: str
    gpu_node_selector: dict[str, str]
    gpu_tolerations: list[dict[str, Any]]
    gpu_affinity: dict[str, Any]


def texts_of(pods: CpuPods, gpus: GpuPods) -> Texts:
    """Return what the driver reads: no number where it wants a text, and no empty text."""
    return Texts(
        pods.cpu,
        pods.memory,
        gpus.type,
        str(gpus.count),
        gpus.cpu,
        gpus.memory,
        gpus.node_selector,
        gpus.tolerations,
        gpus.affinity,
    )
