"""The compiled pipelines: deterministic, lint-clean, fast to compile, without secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from soda.errors import ConfigError
from soda.lint import lint, load
from soda_components import images
from soda_pipelines.compile import PIPELINES, compile_pipeline, read_recipe
from tests.pipelines.golden import GOLDEN, golden

RECIPES = Path(__file__).parents[2] / "pipelines" / "distill" / "recipes"
WAYS = [(name, {}) for name in PIPELINES]
WAYS += [(name, {"volume": True, "nodes": True}) for name in ("distill", "refresh")]


def compiled(tmp_path, name="distill", **how):
    """Return the documents of a pipeline: the spec, and what it says to Kubernetes."""
    compile_pipeline(name, tmp_path / "spec.yaml", **how)
    return list(yaml.load_all((tmp_path / "spec.yaml").read_bytes(), Loader=yaml.CSafeLoader))


def parameters(spec):
    return spec["root"]["inputDefinitions"]["parameters"]


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_a_compiled_pipeline_is_lint_clean(name, how, tmp_path):
    """What gets no recipe may warn that a cache depends on one."""
    compile_pipeline(name, tmp_path / "spec.yaml", **how)
    found = lint(load(tmp_path / "spec.yaml"))
    # True, and seen on a cluster: gpu_count is a number, and KFP's driver then sets no GPU. It is
    # to become text; this line goes with it.
    assert [each for each in found if "'pipelinechannel--gpu_count'" not in each.message] == []


def test_the_pipeline_is_the_one_that_was_reviewed():
    found = golden()
    assert found == GOLDEN.read_text(), "look at what changed, then: make generated"


def test_the_store_may_be_a_bucket_or_a_volume(tmp_path):
    spec, platform = compiled(tmp_path, store="gs://bucket/soda")
    assert parameters(spec)["store"]["defaultValue"] == "gs://bucket/soda"
    assert "store_claim" not in parameters(spec) and "pvcMount" not in str(platform)
    spec, platform = compiled(tmp_path, volume=True)
    assert parameters(spec)["store"]["defaultValue"] == "/var/soda"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(each["pvcMount"][0]["mountPath"] == "/var/soda" for each in executors.values())
    spec, _ = compiled(tmp_path)
    assert "defaultValue" not in parameters(spec)["store"]  # a run has to say it


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"store": "/var/soda"}, "--store: expected gs:// or s3://, found '/var/soda'"),
        ({"store": "gs://b/x", "volume": True}, "--store: expected a folder on the volume"),
        ({"nodes": True}, "--nodes: expected --volume"),
        ({"name": "compare", "nodes": True, "volume": True}, "--nodes: expected distill"),
    ],
)
def test_options_that_do_not_go_together_are_refused(how, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason):
        compiled(tmp_path, **how)
    assert not (tmp_path / "spec.yaml").exists()


def test_compiling_depends_on_no_hash_seed(tmp_path):
    for seed in ("1", "2"):
        out = str(tmp_path / f"{seed}.yaml")
        recipe = str(RECIPES / "cluster.yaml")
        command = [sys.executable, "-m", "soda", "compile", "--pipeline", "refresh"]
        command += ["--recipe", recipe, "--out", out]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert (tmp_path / "1.yaml").read_bytes() == (tmp_path / "2.yaml").read_bytes()


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("name", PIPELINES)
def test_every_recipe_compiles_into_the_defaults_of_every_pipeline(name, recipe, tmp_path):
    spec, _ = compiled(tmp_path, name, arguments=read_recipe(recipe, name))
    assert parameters(spec)["recipe_train"]["defaultValue"]["loss"]["beta"] == 0.1
    assert parameters(spec)["recipe_warm_up"]["defaultValue"]["method"] == "sft"


def test_a_form_has_a_description_for_every_parameter_and_groups_by_prefix(tmp_path):
    spec, _ = compiled(tmp_path, "refresh")
    found = parameters(spec)
    assert all(each["description"] for each in found.values())
    prefixes = {name.partition("_")[0] for name in found}
    assert {"gpu", "notify", "pod", "recipe", "shards", "teacher", "watch"} <= prefixes


def test_every_task_has_a_name_to_show(tmp_path):
    spec, _ = compiled(tmp_path, "refresh")
    for component in [spec["root"], *spec["components"].values()]:
        for key, task in component.get("dag", {}).get("tasks", {}).items():
            assert task["taskInfo"]["name"], key


def test_what_acts_on_the_world_is_never_taken_from_the_cache(tmp_path):
    spec, _ = compiled(tmp_path, "refresh")
    tasks = [
        task
        for component in [spec["root"], *spec["components"].values()]
        for task in component.get("dag", {}).get("tasks", {}).items()
    ]
    uncached = {name for name, task in tasks if not task.get("cachingOptions")}
    groups = {name for name, _ in tasks if name.startswith(("for-", "condition-", "exit-"))}
    assert uncached - groups == {"notify", "preflight", "register", "watch"}


def test_no_secret_gets_into_a_compiled_spec(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "canary-7f3a")
    compiled(tmp_path, arguments=read_recipe(RECIPES / "cluster.yaml"))
    assert "canary-7f3a" not in (tmp_path / "spec.yaml").read_text()


def test_a_wrong_recipe_is_refused_before_anything_starts(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {betta: 0.1}\n")
    with pytest.raises(ConfigError):
        read_recipe(recipe)
    command = [sys.executable, "-m", "soda", "run", "--recipe", str(recipe)]
    done = subprocess.run(
        [*command, "--root", str(tmp_path / "runs")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_lint_exits_with_1_for_an_error_and_2_for_no_spec(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    compile_pipeline("distill", good)
    bad.write_text(good.read_text().replace(images.CPU, "soda-cpu:latest"))
    for path, code in ((good, 0), (bad, 1), (tmp_path / "none.yaml", 2)):
        command = [sys.executable, "-m", "soda", "lint", "--fail-on=warning", str(path)]
        command.append("--select=unpinned-image")
        assert subprocess.run(command, capture_output=True).returncode == code
