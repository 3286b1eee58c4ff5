"""A recipe: which steps there are, and what each says where the file says nothing."""

import pytest

from soda.errors import ConfigError
from soda.recipe import STEPS, load_recipe, parse_step, variants_of


def test_the_warm_up_is_a_training_before_the_training():
    steps = list(STEPS)
    assert STEPS["warm-up"] == "train" and steps.index("warm-up") + 1 == steps.index("train")


def test_without_a_word_the_warm_up_is_the_papers():
    config = parse_step({}, "warm-up")
    assert config.method == "sft" and config.schedule == (5e-6, 3, 32)
    assert parse_step({}, "train").schedule == (5e-6, 1, 32)


def test_gad_brings_its_own_warm_up():
    recipe = {"train": {"method": "gad"}}
    assert parse_step(recipe, "warm-up").epochs == 0
    assert parse_step({**recipe, "warm-up": {"epochs": 1}}, "warm-up").epochs == 1


def test_a_refusal_names_the_step(tmp_path):
    with pytest.raises(ConfigError, match=r"^warm-up\.epoch: unknown key; did you mean 'epochs'"):
        parse_step({"warm-up": {"epoch": 1}}, "warm-up")
    (tmp_path / "recipe.yaml").write_text("warmup: {}\n")
    with pytest.raises(ConfigError, match="'warmup'; did you mean 'warm-up'"):
        load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("name", ['"quoted"', "back\\slash", ""])
def test_a_variant_is_called_by_what_kubeflow_s_driver_can_find(name):
    with pytest.raises(ConfigError, match=r"recipe\.variants.*: expected a name without quotes"):
        variants_of({"variants": {name: {}}})
