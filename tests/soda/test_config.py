"""Configs and recipes: what is accepted, and the one line a refusal gives."""

import pytest
from pydantic import BaseModel, ConfigDict

import soda
from soda.cli import main
from soda.config import Config, assign, load_recipe, parse_assignment
from soda.errors import ConfigError
from soda.stage import STAGES, load_stage


@pytest.mark.parametrize(
    ("stage", "values", "problem"),
    [
        ("train", {"betta": 0.1}, "train.betta: unknown key; did you mean 'beta'?"),
        ("train", {"beta": "high"}, "train.beta: expected a valid number"),
        ("train", {"batch_size": 3.5}, "train.batch_size: expected a valid integer.*found 3.5"),
        ("train", {"epochs": -1}, "train.epochs: expected greater than or equal to 0, found -1"),
        ("train", {"loss": "gdpo"}, "'ipo' or 'simpo', found 'gdpo'"),
        ("train", {"beta": 0, "epochs": -1}, "and 1 more"),
        ("import-student", {}, "import-student.source: expected a value, found none"),
        ("register", {"name": "../x"}, "expected letters, digits"),
        ("register", {"name": "x", "champion_if": ["good"]}, "found 'good'"),
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


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    optional: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner | None] = {}


class GroupedConfig(Config):
    group: Group | None = None


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
    inputs = {"pairs": made["pairs"].path, "model": made["base"].path}
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
        ("trian: {}", "unknown stage 'trian'; did you mean 'train'?"),
        ("train: [1]", "train: expected a mapping, found"),
        ("- train", "expected a mapping, found list"),
        ("train: {", "expected YAML"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path, text, problem):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_recipe(tmp_path / "recipe.yaml", STAGES)
    assert problem in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a recipe, found No such file"):
        load_recipe(tmp_path / "none.yaml", STAGES)


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
    assert load_recipe(tmp_path / "recipe.yaml", STAGES) == {"train": {"key": value}}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").write_text("train:\n  beta: 1\n  beta: 2\n")
    with pytest.raises(ConfigError, match="found the key 'beta' twice"):
        load_recipe(tmp_path / "recipe.yaml", STAGES)
    (tmp_path / "recipe.yaml").write_text("train: &t {beta: 1}\neval:\n  <<: *t\n  beta: 2\n")
    assert load_recipe(tmp_path / "recipe.yaml", STAGES)["eval"] == {"beta": 2}


@pytest.mark.parametrize("stage", STAGES)
def test_every_number_may_be_written_with_an_exponent(stage):
    config = load_stage(stage).config
    required = {
        "prepare-prompts": {"dataset": "x.csv"},
        "import-student": {"source": "x"},
        "register": {"name": "x"},
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
    values = {"health": {"answers": 4}, "beta": 0.1}
    assign(values, "health.length", "off")
    assign(values, "lora.rank", 8)
    assign(values, "beta", 0.2)
    assert values == {"health": {"answers": 4, "length": "off"}, "lora": {"rank": 8}, "beta": 0.2}
    with pytest.raises(ConfigError, match=r"train\.beta: expected a valid number"):
        assign(values, "beta.gamma", 1)
        load_stage("train").config.parse(values)
