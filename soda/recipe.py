"""A recipe: the values of every step of a pipeline, whose answers are rejected, and variants.

A step has the name of its stage, but for the warm-up, which is a training of its own. Beside the
steps a recipe may say:

    rejects     whose answers are rejected: sources with their shares; left out: the student's own
    rounds      how often the student answers and is trained: after the first round, the trained one
    variants    by name, values over this recipe: what `compare` puts side by side
    seeds       of the trainings of every variant
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from soda.config import Config, read_mapping, suggest
from soda.errors import ConfigError
from soda.stage import load_stage
from soda.stages import STAGES

__all__ = [
    "STEPS",
    "Recipe",
    "RejectSource",
    "Variant",
    "check_recipe",
    "load_recipe",
    "merge",
    "parse_step",
    "rejects_of",
    "rounds_of",
    "short_values",
    "values_of",
    "variants_of",
]

# Step -> its stage, in the order a pipeline runs them.
STEPS = {
    step: stage
    for stage in STAGES
    if stage != "compare"  # its values follow from the variants
    for step in (("warm-up", "train") if stage == "train" else (stage,))
}
_SOURCE_STEPS = ("import-student", "snapshot", "teacher-gen")
# What a method has its own defaults for, or does not read: another method takes none of it over.
_OF_METHOD = ("learning_rate", "epochs", "batch_size", "loss", "sft_weight")

Recipe = Mapping[str, Any]


def _checked_name(name: str) -> str:
    if not name or set(name) & {'"', "\\"}:  # KFP's driver picks a step's values by its name
        raise ValueError(f"expected a name without quotes and backslashes, found {name!r}")
    return name


_Name = Annotated[str, AfterValidator(_checked_name)]


class _Around(Config):
    """What a recipe says beside its steps."""

    rejects: list[dict[str, Any]] = Field([], description="whose answers are rejected")
    rounds: int = Field(1, ge=1, le=10)
    variants: dict[_Name, dict[str, Any]] = Field({}, description="by name, values over the recipe")
    seeds: list[int] = Field([0], min_length=1)

    @classmethod
    def stage(cls) -> str:
        return "recipe"


@dataclass(frozen=True, slots=True)
class RejectSource:
    """A model whose answers are rejected.

    Args:
        share: how much of the prompts it gets, beside the shares of the others.
        steps: values of the steps that make its answers, over the recipe's.
    """

    share: float
    steps: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Variant:
    """One training of a comparison: its name, the seed, and the whole recipe."""

    name: str
    seed: int
    recipe: dict[str, Any]
    is_own: bool  # nothing is put over the recipe but the seed


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe's raw values.

    Raises:
        ConfigError: the file is missing, is no recipe, or names a step that there is not.
    """
    recipe = read_mapping(path, "a recipe")
    try:
        _check_keys(recipe, [*STEPS, *_Around.model_fields])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


def _check_keys(recipe: Recipe, known: list[str]) -> None:
    for name, values in recipe.items():
        if name not in known:
            raise ConfigError(f"unknown step '{name}'; {suggest(str(name), known)}")
        if name in STEPS and not isinstance(values, dict):
            raise ConfigError(f"{name}: expected a mapping, found {values!r}")
    _around(recipe)


def _around(recipe: Recipe) -> _Around:
    return _Around.parse({key: recipe[key] for key in _Around.model_fields if key in recipe})


def values_of(recipe: Recipe, step: str) -> dict[str, Any]:
    """Return a step's raw values: the recipe's, over what the step itself says.

    The warm-up is a training by sft; where GAD follows, which brings its own, it is left out.
    """
    own: dict[str, Any] = {}
    if step == "warm-up":
        own = {"method": "sft"}
        if recipe.get("train", {}).get("method") == "gad":
            own["epochs"] = 0
    return {**own, **recipe.get(step, {})}


def parse_step(recipe: Recipe, step: str) -> Config:
    """Return a step's config, checked and pinned.

    Raises:
        ConfigError: a value is wrong; the message names the step.
    """
    stage = STEPS[step]
    try:
        return load_stage(stage).config.parse(values_of(recipe, step))
    except ConfigError as error:
        raise ConfigError(f"{step}{str(error).removeprefix(stage)}") from error


def short_values(config: Config) -> dict[str, Any]:
    """Return values that parse into the same config, without its defaults where they can go.

    Kubeflow cannot hold None, and takes 10,000 bytes of parameters in all.
    """
    for unset in (False, True):
        values = config.model_dump(
            mode="json", exclude_none=True, exclude_defaults=not unset, exclude_unset=unset
        )
        with contextlib.suppress(ConfigError):
            if type(config).parse(values) == config:
                return values
    return config.model_dump(mode="json", exclude_none=True)


def rounds_of(recipe: Recipe) -> int:
    """Return how often the student answers and is trained."""
    return _around(recipe).rounds


def rejects_of(recipe: Recipe) -> list[RejectSource]:
    """Return whose answers are rejected; none: the student's own.

    Raises:
        ConfigError: a source is none.
    """
    found = []
    for number, source in enumerate(_around(recipe).rejects, start=1):
        where = f"rejects {number}"
        steps = {key: values for key, values in source.items() if key != "share"}
        share = source.get("share", 1)
        if isinstance(share, bool) or not isinstance(share, int | float) or share < 0:
            raise ConfigError(f"{where}: expected a share of 0 or more, found {share!r}")
        for key, values in steps.items():
            if key not in _SOURCE_STEPS:
                known = suggest(str(key), ("share", *_SOURCE_STEPS))
                raise ConfigError(f"{where}: unknown key '{key}'; {known}")
            if not isinstance(values, dict):
                raise ConfigError(f"{where}: {key}: expected a mapping, found {values!r}")
        if "teacher-gen" in steps and len(steps) > 1:
            raise ConfigError(
                f"{where}: expected teacher-gen, an endpoint, or a model's import-student and "
                "snapshot; found both"
            )
        found.append(RejectSource(float(share), steps))
    return found


def merge(recipe: Recipe, over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with values put over it, step by step.

    A training that is given another method keeps none of the values that belong to the old one.
    """
    merged = {key: value for key, value in recipe.items() if key not in ("variants", "seeds")}
    for step, values in over.items():
        if step not in STEPS:
            merged[step] = values
            continue
        before = dict(merged.get(step, {}))
        method = values.get("method")
        if STEPS[step] == "train" and method not in (None, values_of(recipe, step).get("method")):
            before = {key: value for key, value in before.items() if key not in _OF_METHOD}
        merged[step] = {**before, **values}
    return merged


def variants_of(recipe: Recipe) -> list[Variant]:
    """Return every variant with every seed.

    Without `variants` they are the paper's comparison: SeqKD, which is the warm-up alone; SeqKD
    with as many passes over the data as SODA has, which the paper lacks; SODA; and GAD.

    Raises:
        ConfigError: a variant names a step that there is not, or a value of it is wrong.
    """
    around = _around(recipe)
    variants = around.variants or _paper(recipe)
    found = []
    for name, over in variants.items():
        try:
            _check_keys(over, [*STEPS, "rejects", "rounds"])
        except ConfigError as error:
            raise ConfigError(f"variant '{name}': {error}") from error
        for seed in around.seeds:
            seeded = {}
            if "seeds" in recipe:
                seeded = {step: {"seed": seed} for step, of in STEPS.items() if of == "train"}
            merged = merge(merge(recipe, seeded), over)
            try:
                check_recipe(merged)
            except ConfigError as error:
                raise ConfigError(f"variant '{name}': {error}") from error
            found.append(Variant(name, seed, merged, not over))
    return found


def _paper(recipe: Recipe) -> dict[str, dict[str, Any]]:
    passes = 0
    for step in ("warm-up", "train"):
        passes += getattr(parse_step(recipe, step), "epochs", None) or 0
    return {
        "seqkd": {"train": {"epochs": 0}},
        f"seqkd-x{passes}": {"warm-up": {"epochs": passes}, "train": {"epochs": 0}},
        "soda": {},
        "gad": {"warm-up": {"epochs": 0}, "train": {"method": "gad"}},
    }


def check_recipe(recipe: Recipe, *, steps: Iterable[str] | None = None) -> dict[str, Config]:
    """Check every step, every source of rejects and every variant; return the steps' configs.

    Args:
        recipe: raw values.
        steps: which steps to look at; left out, those that the recipe names.

    Raises:
        ConfigError: a value is wrong, and where.
    """
    found = {step: parse_step(recipe, step) for step in steps or filter(STEPS.get, recipe)}
    for number, source in enumerate(rejects_of(recipe), start=1):
        for step in source.steps:
            try:
                parse_step(merge(recipe, source.steps), step)
            except ConfigError as error:
                raise ConfigError(f"rejects {number}: {error}") from error
    if recipe.get("variants"):
        variants_of(recipe)
    return found
