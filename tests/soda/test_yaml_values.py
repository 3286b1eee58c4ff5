"""A YAML text is bounded: what it stands for, and how deep it goes."""

import time

import pytest
import yaml

from soda.errors import ConfigError
from soda.recipe import load_recipe
from soda.yaml_values import read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "expected at most 100000 values, found more"),
        ("a: &a\n  b: *a\n", "expected at most 100000 values, found more"),
        ("[" * 20_000, "expected less depth, found brackets in brackets"),
    ],
    ids=["aliases of aliases", "an alias of itself", "depth"],
)
def test_a_bomb_is_refused_at_once(text, problem):
    begin = time.monotonic()
    with pytest.raises(yaml.YAMLError, match=problem):
        read_yaml(text)
    assert time.monotonic() - begin < 5


def test_aliases_in_moderation_and_nothing_at_all_are_fine():
    assert read_yaml("a: &a {b: 1}\nc: {<<: *a, d: 2}\ne: *a") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": 2},
        "e": {"b": 1},
    }
    assert read_yaml("") is None


@pytest.mark.parametrize("endless", ["/dev/zero", "long"])
def test_a_recipe_without_end_is_refused(tmp_path, endless):
    (tmp_path / "long").write_bytes(b"#" * 5 * 2**20)
    with pytest.raises(ConfigError, match="expected at most 4194304 bytes, found more"):
        load_recipe(tmp_path / endless)


def test_a_recipe_with_a_bomb_is_one_line(tmp_path):
    (tmp_path / "recipe.yaml").write_text(BOMB)
    with pytest.raises(
        ConfigError, match=r"recipe\.yaml: expected at most 100000 values, found more"
    ):
        load_recipe(tmp_path / "recipe.yaml")
