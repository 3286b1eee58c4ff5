"""What is declared in YAML for a run or a schedule -> what a cluster is sent."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from soda import __version__
from soda.config import Config, suggest
from soda.errors import ConfigError
from soda.kubernetes.resources import CpuPods, GpuPods
from soda.recipe import load_recipe
from soda.storage import BUCKETS, Place

from .compile import PIPELINES, compile_pipeline
from .distill.graph import Shards
from .distill.pipelines import Fixed
from .form import DEFAULTS
from .placement import Secrets

__all__ = ["PipelineRunConfig", "PreparedRun", "prepare_run"]

_TYPES: dict[str, tuple[type, ...]] = {
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int,),
    "STRING": (str,),
    "STRUCT": (dict,),
}


class PipelineRunConfig(Config):
    """What a run and a schedule have in common: a pipeline and its arguments."""

    pipeline: str = Field(description="which pipeline")
    recipe: str = Field(min_length=1, description="a recipe, relative to the file")
    parameters: dict[str, Any] = Field({}, description="the pipeline's other parameters")
    store: str = Field("", description="where answers, checkpoints and artifacts lie")
    volume: bool = Field(False, description="the store is a folder on a volume, not gs:// or s3://")
    claim: str = Field("soda-store", min_length=1, description="the volume's claim")
    nodes: bool = Field(False, description="train as a TrainJob on several nodes; needs a volume")
    teacher_shards: int = Field(1, ge=1, description="pods that share the teacher's prompts")
    snapshot_shards: int = Field(1, ge=1, description="pods that share the snapshot, a GPU each")
    secrets: dict[str, str] = Field({}, description="names of Secrets, where they are others")
    pipeline_root: str | None = Field(None, description="where Kubeflow puts artifacts")
    caching: bool = Field(True, description="false: every step runs, whatever ran before")

    @field_validator("pipeline")
    @classmethod
    def _known(cls, pipeline: str) -> str:
        if pipeline not in PIPELINES:
            raise ValueError(f"no pipeline '{pipeline}'; {suggest(pipeline, PIPELINES)}")
        return pipeline

    @model_validator(mode="after")
    def _store_fits(self) -> "PipelineRunConfig":
        if self.store and Place.of(self.store).remote == self.volume:
            expected = "a folder on the volume" if self.volume else f"{BUCKETS} as store"
            raise ValueError(f"expected {expected}, found '{self.store}'")
        return self


@dataclass(frozen=True)
class PreparedRun:
    """A compiled pipeline and the arguments of a run."""

    pipeline: str  # its name in the cluster
    version: str  # soda's version and the spec's digest: another spec is another version
    spec: str  # YAML
    parameters: Mapping[str, Any]
    images: tuple[str, ...] = ()  # that preflight will look up; none if the run says so


def prepare_run(work: PipelineRunConfig, path: Path) -> PreparedRun:
    """Compile the pipeline and check the arguments; nothing is sent anywhere.

    Args:
        work: what the file declares.
        path: the file: the recipe's name is relative to it, and messages name it.

    Raises:
        ConfigError: the recipe is wrong, or a parameter is unknown, missing or of another type.
    """
    where = f"{path}: pipeline '{work.pipeline}'"
    compiled = compile_pipeline(
        work.pipeline,
        load_recipe(path.parent / work.recipe),
        fixed=Fixed(work.volume, work.nodes, work.claim, Secrets.parse(work.secrets)),
        shards=Shards(work.teacher_shards, work.snapshot_shards),
        defaults=_defaults(work, where),
    )
    documents = list(compiled.documents)
    if not work.caching:
        _turn_caching_off(documents[0])
    declared = documents[0]["root"]["inputDefinitions"]["parameters"]
    parameters = {"recipe": dict(compiled.recipe), **_defaults(work, where)}
    _check(parameters, declared, where)
    return PreparedRun(
        pipeline=documents[0]["pipelineInfo"]["name"],
        version=_version(documents),
        spec=yaml.dump_all(documents, Dumper=yaml.CSafeDumper),
        parameters=parameters,
        images=tuple(parameters.get("images", declared["images"]["defaultValue"])),
    )


def _defaults(work: PipelineRunConfig, where: str) -> dict[str, Any]:
    """Return what the file says of the form's fields; what pods ask for is checked and whole.

    Raises:
        ConfigError: a parameter is the recipe or the store, or unknown.
    """
    found = dict(work.parameters)
    for name in ("recipe", "store"):
        if name in found:
            raise ConfigError(
                f"{where}: parameters.{name}: the file says it elsewhere; leave it out"
            )
    for name in found:
        if name not in DEFAULTS:
            raise ConfigError(f"{where} has no parameter '{name}'; {suggest(name, DEFAULTS)}")
    for name, pods in (("gpus", GpuPods), ("pods", CpuPods)):
        if isinstance(found.get(name), dict):
            found[name] = pods.parse(found[name]).model_dump()
    if work.store:
        found["store"] = work.store
    return found


def _check(parameters: Mapping[str, Any], declared: Mapping[str, Any], where: str) -> None:
    for name, value in parameters.items():
        if name not in declared:
            raise ConfigError(f"{where} has no parameter '{name}'; {suggest(name, declared)}")
        kind = declared[name]["parameterType"]
        allowed = _TYPES[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ConfigError(f"{where}: {name}: expected {kind.lower()}, found {value!r}")
    missing = [
        name
        for name, facts in declared.items()
        if name not in parameters and "defaultValue" not in facts and not facts.get("isOptional")
    ]
    if missing:
        raise ConfigError(f"{where}: expected a value for {', '.join(missing)}, found none")


def _turn_caching_off(spec: dict[str, Any]) -> None:
    # In the spec, because a request cannot: kfp.Client.run_pipeline drops enable_caching beside a
    # version's id, and with a package it reaches no task inside an If or a ParallelFor.
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}


def _version(documents: list[dict[str, Any]]) -> str:
    spec = {key: value for key, value in documents[0].items() if key != "sdkVersion"}
    text = json.dumps([spec, *documents[1:]], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    # Kubernetes keeps versions as objects in newer clusters: their names allow nothing else
    return re.sub(r"[^a-z0-9.-]", "-", f"{__version__}-{digest[:12]}".lower())
