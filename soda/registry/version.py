"""One registered version, and every other registry that may be told of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from soda.registry.hub import push_to_hub
from soda.registry.kubeflow import register_version
from soda.registry.mlflow import register_in_mlflow
from soda.storage import Place

__all__ = ["PUBLISHERS", "Publisher", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it lies in the registry."""

    name: str
    number: int
    place: Place  # model/, report/, README.md, lineage.json, provenance.json
    folder: Path  # the model, on this machine
    card: str
    lineage: Mapping[str, Any]
    champion: bool


class Publisher(Protocol):
    """Tells one other registry of a version; a second time is no change."""

    def __call__(self, address: str, version: Version) -> str:
        """Register it there, and return its id or address there.

        Raises:
            RegistryError: a refusal, no answer, or another model has the version.
        """


def _kubeflow(address: str, version: Version) -> str:
    return register_version(
        address,
        name=version.name,
        version=str(version.number),
        uri=str(version.place / "model"),
        lineage=version.lineage,
        author="soda",
    )


def _mlflow(address: str, version: Version) -> str:
    return register_in_mlflow(
        address,
        name=version.name,
        version=version.number,
        uri=str(version.place / "model"),
        lineage=version.lineage,
        card=version.card,
        champion=version.champion,
    )


def _hub(address: str, version: Version) -> str:
    return push_to_hub(
        address,
        folder=version.folder,
        version=version.number,
        card=version.card,
        lineage=version.lineage,
    )


# By the key of register's config that holds the address.
PUBLISHERS: dict[str, Publisher] = {
    "model_registry": _kubeflow,
    "mlflow": _mlflow,
    "hub": _hub,
}
