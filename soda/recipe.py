"""A recipe: the values of every step of a pipeline, and what each step is.

A step has the name of its stage, but for the warm-up, which is a training of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soda import config
from soda.config import Config
from soda.errors import ConfigError
from soda.stage import load_stage
from soda.stages import STAGES

__all__ = ["STEPS", "Recipe", "load_recipe", "parse_step", "values_of"]

Recipe = Mapping[str, Mapping[str, Any]]

# Step -> its stage, in the order a pipeline runs them.
STEPS = {
    step: stage
    for stage in STAGES
    for step in (("warm-up", "train") if stage == "train" else (stage,))
}


def load_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe's raw values.

    Raises:
        ConfigError: the file is missing, is no recipe, or names a step that there is not.
    """
    return config.load_recipe(path, STEPS)


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
