"""A stage by its name, and `run`, which is the only way any of them is called."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from soda import storage
from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.keys import module_of
from soda.artifacts.writer import WORK
from soda.config import Config, suggest
from soda.errors import ArtifactError, ConfigError, KindError
from soda.progress import say
from soda.stages import STAGES
from soda.storage import Location, Place

__all__ = ["Call", "Stage", "load_stage", "prepare", "run"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's function and what its signature says: config class, inputs, kind of output."""

    name: str
    function: Callable[..., Artifact]
    config: type[Config]
    inputs: dict[str, tuple[type[Artifact], ...]]  # the kinds that each may be
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
    return Stage(
        name=name,
        function=function,
        config=annotations.pop("config"),
        output=annotations.pop("return"),
        inputs={
            key: get_args(kind) or (kind,) for key, kind in annotations.items() if key != "out"
        },
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A stage with everything it needs: opened inputs, checked config, the place to fill."""

    stage: Stage
    inputs: dict[str, Artifact]
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


def prepare(
    name: str, *, inputs: Mapping[str, Location], config: Mapping[str, Any], out: Location
) -> Call:
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
    opened = {key: _open(inputs[key], kinds) for key, kinds in stage.inputs.items()}
    return Call(stage, opened, stage.config.parse(config), Place.of(out))


def _open(place: Location, kinds: tuple[type[Artifact], ...]) -> Artifact:
    """Open an artifact of one of some kinds."""
    expected = "' or '".join(kind.kind for kind in kinds)
    for kind in kinds:
        try:
            return kind.open(place)
        except KindError as error:
            found = error
    raise KindError(str(found).replace(f"'{kinds[-1].kind}'", f"'{expected}'", 1))


def run(
    name: str, *, inputs: Mapping[str, Location], config: Mapping[str, Any], out: Location
) -> Artifact:
    """Run one stage, or return what it made before of the same code, config and inputs.

    Args:
        name: a name from `soda.STAGES`.
        inputs: for each input of the stage, the folder of a finished artifact.
        config: the stage's own values; what is left out has its default.
        out: the folder to make. It is whole, or it is not there.

    Raises:
        SodaError: something the user can mend; `out` is as it was before.
    """
    call = prepare(name, inputs=inputs, config=config, out=out)
    made = call.reuse()
    return call.run() if made is None else made
