"""A stage by its name, and `run`, which is the only way any of them is called."""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from soda import storage
from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.keys import module_of
from soda.artifacts.writer import WORK
from soda.config import Config, suggest
from soda.errors import ArtifactError, ConfigError, KindError
from soda.progress import say
from soda.stages import STAGES
from soda.storage import Location, Place

__all__ = ["Call", "Locations", "Stage", "load_stage", "one_by_one", "prepare", "run"]

T = TypeVar("T")
Locations = Mapping[str, Location | Sequence[Location]]  # a stage's inputs by name


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's function and what its signature says: config class, inputs, kind of output."""

    name: str
    function: Callable[..., Artifact]
    config: type[Config]
    inputs: dict[str, tuple[type[Artifact], ...]]  # the kinds that each may be
    lists: frozenset[str]  # the inputs that are lists of artifacts
    output: type[Artifact]


@functools.cache
def load_stage(name: str) -> Stage:
    """Import a stage and read its interface from its signature.

    Raises:
        ConfigError: there is no such stage.
    """
    if name not in STAGES:
        raise ConfigError(f"unknown stage '{name}'; {suggest(name, STAGES)}")
    function = getattr(importlib.import_module(module_of(name)), name.replace("-", "_"))
    annotations = dict(inspect.get_annotations(function))
    config, output = annotations.pop("config"), annotations.pop("return")
    del annotations["out"]
    lists = frozenset(key for key, kind in annotations.items() if get_origin(kind) is list)
    kinds = {key: get_args(kind) or (kind,) for key, kind in annotations.items()}
    return Stage(name, function, config, kinds, lists, output)


@dataclass(frozen=True, slots=True)
class Call:
    """A stage with everything it needs: opened inputs, checked config, the place to fill."""

    stage: Stage
    inputs: dict[str, Artifact | list[Artifact]]
    config: Config
    out: Place

    def reuse(self) -> Artifact | None:
        """Return what the stage made before of the same code, config and inputs, if anything."""
        with storage.private():
            made = self.stage.output.reuse(self.out, config=self.config, inputs=self.inputs)
        if made is not None:
            say(f"{self.stage.name}: nothing to do, reusing {made.digest[:12]}")
        return made

    def run(self) -> Artifact:
        """Run the stage."""
        if (work_place(self.out, self.config, self.inputs).folder / WORK).is_dir():
            say(f"{self.stage.name}: going on where an earlier run stopped")
        with storage.private():
            return self.stage.function(**self.inputs, config=self.config, out=self.out)


def prepare(name: str, *, inputs: Locations, config: Mapping[str, Any], out: Location) -> Call:
    """Check everything that can be checked before a stage runs.

    Raises:
        SodaError: an input or a config value is wrong; nothing was written.
    """
    stage = load_stage(name)
    if inputs.keys() != stage.inputs.keys():
        expected = ", ".join(stage.inputs) or "none"
        raise ArtifactError(
            f"{stage.name}: expected inputs {expected}, found {', '.join(inputs) or 'none'}"
        )
    opened = {key: _opened(stage, key, inputs[key]) for key in stage.inputs}
    return Call(stage, opened, stage.config.parse(config), Place.of(out))


def one_by_one(inputs: Mapping[str, T | Sequence[T]]) -> Iterator[tuple[str, T]]:
    """Yield each input with its name; those of a list one after another, under the same name."""
    for key, given in inputs.items():
        if isinstance(given, Sequence) and not isinstance(given, str):
            yield from ((key, each) for each in given)
        else:
            yield key, given


def _opened(stage: Stage, key: str, given: Location | Sequence[Location]) -> Any:
    """Open an input of a stage: one artifact, or a list of them."""
    many = not isinstance(given, (str, Path, Place))
    if many != (key in stage.lists):
        expected = "a list of artifacts" if key in stage.lists else "one artifact"
        raise ArtifactError(f"{stage.name}: {key}: expected {expected}, found {given!r}")
    places = [given] if isinstance(given, (str, Path, Place)) else list(given)
    if not places or "" in places:
        found = "an empty address" if places else "none"
        raise ArtifactError(f"{stage.name}: {key}: expected an artifact, found {found}")
    opened = [_open(place, stage.inputs[key]) for place in places]
    return opened if many else opened[0]


def _open(place: Location, kinds: tuple[type[Artifact], ...]) -> Artifact:
    """Open an artifact of one of some kinds."""
    expected = "' or '".join(kind.kind for kind in kinds)
    for kind in kinds:
        try:
            return kind.open(place)
        except KindError as error:
            found = error
    raise KindError(str(found).replace(f"'{kinds[-1].kind}'", f"'{expected}'", 1))


def run(name: str, *, inputs: Locations, config: Mapping[str, Any], out: Location) -> Artifact:
    """Run one stage, or return what it made before of the same code, config and inputs.

    Args:
        name: a name from `soda.STAGES`.
        inputs: for each input of the stage, where a finished artifact lies: a folder, or an
            address such as gs://bucket/artifacts/eval-0123. For a list of artifacts, a list.
        config: the stage's own values; what is left out has its default.
        out: the folder to make. It is whole, or it is not there.

    Raises:
        SodaError: something the user can correct; `out` is as it was before.
    """
    call = prepare(name, inputs=inputs, config=config, out=out)
    made = call.reuse()
    return call.run() if made is None else made
