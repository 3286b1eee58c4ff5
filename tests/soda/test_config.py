"""Configs and recipes: what is accepted, and the one line a refusal gives."""

from typing import Literal

import pytest
from pydantic import Field

import soda
from soda.cli import main
from soda.config import (
    Config,
    Group,
    assign,
    group_name,
    groups_of,
    parse_assignment,
    summary,
    values_of,
)
from soda.errors import ConfigError
from soda.recipe import load_recipe
from soda.stage import load_stage
from soda.stages import STAGES


@pytest.mark.parametrize(
    ("stage", "values", "problem"),
    [
        ("train", {"epoch": 1}, "train.epoch: unknown key; did you mean 'epochs'?"),
        ("train", {"sft_weight": "high"}, "train.sft_weight: expected a number"),
        ("train", {"batch_size": 3.5}, "train.batch_size: expected a whole number.*found 3.5"),
        ("train", {"epochs": -1}, "train.epochs: expected 0 or more, found -1"),
        ("train", {"loss": "gdpo"}, "train.loss: unknown loss 'gdpo'; did you mean 'dpo'?"),
        ("train", {"seed": -1, "epochs": -1}, "and 1 more"),
        ("train", {"seed": True}, "train.seed: expected a whole number, found 'true'"),
        ("train", {"sft_weight": False}, "train.sft_weight: expected a number, found 'false'"),
        ("train", {"seed": 1e30}, "train.seed: expected a whole number, found 1e"),
        ("import-student", {"sorce": "x"}, "sorce: unknown key; did you mean 'source'?"),
        ("import-student", {"source": None}, "source: expected text, found nothing"),
        ("import-student", {}, "import-student.source: expected a value, found none"),
        ("register", {"name": "../x"}, "expected letters, digits"),
        (
            "register",
            {"name": "x", "teacher_licence": "MIT", "champion_if": ["good"]},
            "found 'good'",
        ),
        ("teacher-gen", {"sampling": {"stream": True}}, "found 'stream'"),
        ("train", {"lora": {"ranks": 8}}, "train.lora.ranks: unknown key; did you mean 'rank'?"),
        ("train", {"health": {"lenght": "off"}}, "health.lenght: .*did you mean 'length'?"),
        ("train", {"lora": 8}, "train.lora: expected a mapping, found 8"),
    ],
)
def test_wrong_values_are_refused_in_one_line(stage, values, problem):
    with pytest.raises(ConfigError, match=problem.replace("?", r"\?")) as refusal:
        load_stage(stage).config.parse(values)
    assert "\n" not in str(refusal.value)


class Inner(Group):
    depth: int = 1


class Outer(Group):
    inner: Inner = Inner()
    optional: Inner | None = None
    many: list[Inner] = Field(default_factory=list)
    named: dict[str, Inner | None] = Field(default_factory=dict)


class GroupedConfig(Config):
    group: Outer | None = None


@pytest.mark.parametrize(
    ("group", "key"),
    [
        ({"inner": {"dept": 1}}, "inner.dept"),
        ({"optional": {"dept": 1}}, "optional.dept"),
        ({"many": [{}, {"dept": 1}]}, "many.1.dept"),
        ({"named": {"x": {"dept": 1}}}, "named.x.dept"),
    ],
)
def test_an_unknown_key_of_any_group_is_answered_with_the_near_one(group, key):
    with pytest.raises(ConfigError) as refusal:
        GroupedConfig.parse({"group": group})
    assert str(refusal.value) == f"grouped.group.{key}: unknown key; did you mean 'depth'?"


def test_recipe_assignment_and_run_refuse_it_alike(made, tmp_path, capsys):
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    line = "train.lora.ranks: unknown key; did you mean 'rank'?"
    with pytest.raises(ConfigError) as refusal:
        soda.run("train", inputs=inputs, config={"lora": {"ranks": 8}}, out=tmp_path / "out")
    assert str(refusal.value) == line
    (tmp_path / "recipe.yaml").write_text("train: {lora: {ranks: 8}}")
    words = ["train", "--out", str(tmp_path / "out")]
    words += [word for name, path in inputs.items() for word in (f"--{name}", str(path))]
    for more in (["--recipe", str(tmp_path / "recipe.yaml")], ["--set", "lora.ranks=8"]):
        with pytest.raises(SystemExit) as end:
            main(words + more)
        assert end.value.code == 2 and capsys.readouterr().err == f"soda: {line}\n"
    assert not (tmp_path / "out").exists()


def test_kubeflows_floats_are_integers_where_they_are_whole():
    config = load_stage("train").config.parse({"batch_size": 16.0})
    assert config.batch_size == 16 and isinstance(config.batch_size, int)


def test_configs_are_frozen():
    config = load_stage("pair-build").config.parse({})
    with pytest.raises(ValueError, match="frozen"):
        config.max_prompt_tokens = 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("trian: {}", "unknown step 'trian'; did you mean 'train'?"),
        ("train: [1]", "train: expected a mapping, found"),
        ("- train", "expected a mapping, found ['train']"),
        ("train: {", "expected YAML"),
        ("train:\n\tseed: 1", "expected YAML, found in line 2, column 1: character '\\t'"),
        ("a: &a [*a]", "recipe.yaml: expected at most 100000 values, found more"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path, text, problem):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_recipe(tmp_path / "recipe.yaml")
    assert problem in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a recipe, found no such file"):
        load_recipe(tmp_path / "none.yaml")


def test_assignments_are_yaml():
    assert parse_assignment("a=1") == ("a", 1)
    assert parse_assignment("a=[x, 2]") == ("a", ["x", 2])
    assert parse_assignment("a=b=c") == ("a", "b=c")
    for wrong in ("a", "=1", "a=["):
        with pytest.raises(ConfigError):
            parse_assignment(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("1e3", 1000.0),
        ("7e-1", 0.7),
        ("1E-6", 1e-6),
        ("5.", 5.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("12:30", "12:30"),
        ("2024-07-26", "2024-07-26"),
        ("1.2.3", "1.2.3"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'7e-1'", "7e-1"),
        ("{a: off, b: [1e3]}", {"a": "off", "b": [1000.0]}),
    ],
)
def test_values_are_what_they_look_like(tmp_path, text, value):
    found = parse_assignment(f"key={text}")[1]
    assert found == value and type(found) is type(value)
    (tmp_path / "recipe.yaml").write_text(f"train: {{key: {text}}}" if text else "train: {key: }")
    assert load_recipe(tmp_path / "recipe.yaml") == {"train": {"key": value}}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").write_text("train:\n  beta: 1\n  beta: 2\n")
    with pytest.raises(ConfigError, match="found in line 3, column 3: the key 'beta' twice"):
        load_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text("train: &t {beta: 1}\neval:\n  <<: *t\n  beta: 2\n")
    assert load_recipe(tmp_path / "recipe.yaml")["eval"] == {"beta": 2}


@pytest.mark.parametrize("stage", STAGES)
def test_every_number_may_be_written_with_an_exponent(stage):
    config = load_stage(stage).config
    required = {
        "prepare-prompts": {"dataset": "x.csv"},
        "import-student": {"source": "x"},
        "register": {"name": "x", "teacher_licence": "MIT"},
    }.get(stage, {})
    for key, field in config.model_fields.items():
        if field.annotation in (int, float, int | None, float | None):
            for text in ("1e0", "1e3", "7e-1", ".nan", ".inf"):
                value = parse_assignment(f"{key}={text}")[1]
                try:
                    found = getattr(config.parse({**required, key: value}), key)
                except ConfigError as error:
                    assert f"{stage}.{key}: expected" in str(error) or stage in str(error)
                else:
                    assert found == value and text not in (".nan", ".inf")


def test_a_documented_off_is_taken():
    values = parse_assignment("health={length: off, chosen_reward: warn}")[1]
    assert load_stage("train").config.parse({"health": values}).health.length == "off"


def test_the_stage_is_read_from_the_class():
    assert {load_stage(name).config.stage() for name in STAGES} == set(STAGES)


def test_a_value_of_a_group_is_set_beside_its_others():
    values = {"health": {"answers": 4}, "seed": 1, "loss": "simpo"}
    assign(values, "health.length", "off")
    assign(values, "lora.rank", 8)
    assign(values, "seed", 2)
    assign(values, "loss.gamma", 0.5)  # of the loss that stands there as its name alone
    assert values == {
        "health": {"answers": 4, "length": "off"},
        "lora": {"rank": 8},
        "seed": 2,
        "loss": {"name": "simpo", "gamma": 0.5},
    }
    with pytest.raises(ConfigError, match=r"train\.seed: expected a whole number"):
        assign(values, "seed.gamma", 1)
        load_stage("train").config.parse(values)


class First(Group):
    """The first, from somewhere."""

    name: Literal["first"] = "first"
    size: int = 1


class Second(Group):
    """The second. And more."""

    name: Literal["second"] = "second"


def test_groups_that_a_field_may_hold():
    assert groups_of(First | Second) == [First, Second]
    assert groups_of(First | None) == [First] and groups_of(int | None) == []
    assert groups_of(dict[str, list[First] | None]) == [First]
    assert [group_name(each) for each in (First, Second)] == ["first", "second"]
    assert list(values_of(First)) == ["size"]
    assert summary(First) == "The first, from somewhere"
    config = load_stage("register").config
    assert group_name(config) is None and "name" in values_of(config)  # a name that is a value
