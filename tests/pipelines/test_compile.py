"""The compiled pipeline: deterministic, lint-clean, equal to the golden."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.compile import compile_pipeline, read_recipe
from pipelines.lint import lint, load
from soda.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "pipelines" / "distill" / "recipes"
GOLDEN = Path(__file__).parent / "golden" / "distill.yaml"


def as_data(path):
    documents = list(yaml.safe_load_all(path.read_text()))
    documents[0].pop("sdkVersion")
    return documents


def test_the_compiled_pipeline_equals_the_golden(tmp_path):
    """After a wanted change, compile with --out tests/pipelines/golden/distill.yaml."""
    compile_pipeline("distill", tmp_path / "distill.yaml")
    assert as_data(tmp_path / "distill.yaml") == as_data(GOLDEN)


def test_the_compiled_pipeline_is_lint_clean(tmp_path):
    compile_pipeline("distill", tmp_path / "distill.yaml")
    assert lint(load(tmp_path / "distill.yaml")) == []


def test_a_store_in_a_bucket_takes_the_place_of_the_volume(tmp_path):
    out = tmp_path / "distill.yaml"
    compile_pipeline("distill", out, store="gs://bucket/soda")
    assert lint(load(out)) == [] and "pvcMount" not in out.read_text()
    executors = load(out)[0]["deploymentSpec"]["executors"].values()
    environments = [
        {one["name"]: one["value"] for one in executor["container"]["env"]}
        for executor in executors
    ]
    expected = {"SODA_STORE": "gs://bucket/soda", "SODA_SCRATCH": "/scratch"}
    assert len(environments) == 8 and all(found == expected for found in environments)
    with pytest.raises(ConfigError, match="--store: expected gs:// or s3://, found '/var/soda'"):
        compile_pipeline("distill", out, store="/var/soda")


def test_compiling_does_not_depend_on_the_hash_seed(tmp_path):
    for seed in ("1", "2"):
        out = str(tmp_path / f"{seed}.yaml")
        command = [sys.executable, "-m", "pipelines", "compile", "--out", out]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert (tmp_path / "1.yaml").read_bytes() == (tmp_path / "2.yaml").read_bytes()


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_parses_and_compiles_into_defaults(recipe, tmp_path):
    compile_pipeline("distill", tmp_path / "x.yaml", arguments=read_recipe(recipe))
    spec = load(tmp_path / "x.yaml")[0]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["train_config"]["defaultValue"]["beta"] == 0.1


def test_no_secret_gets_into_a_compiled_spec(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "canary-7f3a")
    compile_pipeline(
        "distill", tmp_path / "x.yaml", arguments=read_recipe(RECIPES / "cluster.yaml")
    )
    assert "canary-7f3a" not in (tmp_path / "x.yaml").read_text()


def test_a_wrong_recipe_is_refused_before_anything_starts(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {betta: 0.1}\n")
    with pytest.raises(ConfigError):
        read_recipe(recipe)
    command = [sys.executable, "-m", "pipelines", "run", "--recipe", str(recipe)]
    done = subprocess.run(
        [*command, "--root", str(tmp_path / "runs")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_lint_exits_with_1_for_an_error_and_2_for_no_spec(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    compile_pipeline("distill", good)
    bad.write_text(good.read_text().replace("-python:0.1.0", "-python:latest"))
    for path, code in ((good, 0), (bad, 1), (tmp_path / "none.yaml", 2)):
        command = [sys.executable, "-m", "pipelines", "lint", str(path)]
        assert subprocess.run(command, capture_output=True).returncode == code
