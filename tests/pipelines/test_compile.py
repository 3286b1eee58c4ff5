"""The compiled pipelines: deterministic, lint-clean, fast to compile, without secrets."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soda.errors import ConfigError, StorageError
from soda.lint import lint, load
from soda.recipe import load_recipe
from soda_components import images
from soda_pipelines.compile import PIPELINES, Compiled, compile_pipeline
from soda_pipelines.distill.graph import Shards
from soda_pipelines.distill.pipelines import Fixed
from tests.pipelines.golden import GOLDEN, golden

RECIPES = Path(__file__).parents[2] / "pipelines" / "distill" / "recipes"
PLAIN = {
    "prepare-prompts": {"dataset": "org/prompts", "revision": "0" * 40},
    "import-student": {"source": "org/student", "revision": "0" * 40},
    "register": {"name": "tiny", "teacher_licence": "MIT"},
}
REJECTS = [
    {"share": 1, "import-student": {"source": "org/smaller", "revision": "1" * 40}},
    {"share": 2, "teacher-gen": {"base_url": "https://bad.example/v1", "model": "bad"}},
]
WAYS = [(name, {}) for name in PIPELINES]
WAYS += [(name, {"fixed": Fixed(volume=True, nodes=True)}) for name in ("distill", "refresh")]
WAYS += [("distill", {"shards": Shards(3, 2)})]


@functools.cache
def _compiled(name, fixed, shards, store, recipe):
    fixed = Fixed(*fixed)
    defaults = {"store": store} if store else {}
    return compile_pipeline(name, recipe(), fixed=fixed, shards=shards, defaults=defaults)


def plain():
    return PLAIN


def compiled(name="distill", *, fixed=Fixed(), shards=Shards(), store="", recipe=plain):  # noqa: B008
    """Return the documents of a pipeline: the spec, and what it says to Kubernetes."""
    made = _compiled(name, (fixed.volume, fixed.nodes), shards, store, recipe)
    return made.documents


def parameters(spec):
    return spec["root"]["inputDefinitions"]["parameters"]


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_a_compiled_pipeline_is_lint_clean(name, how, tmp_path):
    fixed, shards = how.get("fixed", Fixed()), how.get("shards", Shards())
    compile_pipeline(name, PLAIN, fixed=fixed, shards=shards).write(tmp_path / "spec.yaml")
    assert lint(load(tmp_path / "spec.yaml")) == []


def test_the_pipeline_is_the_one_that_was_reviewed():
    found = golden()
    assert found == GOLDEN.read_text(), "look at what changed, then: make generated"


def test_the_store_may_be_a_bucket_or_a_volume():
    spec, platform = compiled(store="gs://bucket/soda")
    assert parameters(spec)["store"]["defaultValue"] == "gs://bucket/soda"
    assert "pvcMount" not in str(platform)
    spec, platform = compiled(fixed=Fixed(volume=True))
    assert parameters(spec)["store"]["defaultValue"] == "/var/soda"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(each["pvcMount"][0]["mountPath"] == "/var/soda" for each in executors.values())
    spec, _ = compiled()
    assert "defaultValue" not in parameters(spec)["store"]  # a run has to say it


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"defaults": {"store": "/var/soda"}}, "--store: expected gs:// or s3://, found"),
        (
            {"defaults": {"store": "gs://b/x"}, "fixed": Fixed(volume=True)},
            "--store: expected a folder on the volume",
        ),
        ({"fixed": Fixed(nodes=True)}, "--nodes: expected --volume"),
        ({"name": "compare", "fixed": Fixed(volume=True, nodes=True)}, "--nodes: expected distill"),
        ({"shards": Shards(0, 1)}, "shards: expected 1 or more"),
        ({"shards": Shards(60, 60)}, "expected at most 100 steps, which one run can hold, found 1"),
        ({"recipe": {**PLAIN, "teacher-gen": {"system": "{{x}}"}}}, "expected no '{{', which Argo"),
        (
            {"recipe": {**PLAIN, "teacher-gen": {"system": "x" * 10_000}}},
            "expected at most 10,000 bytes of parameters",
        ),
    ],
)
def test_what_cannot_run_is_refused(how, reason):
    how = {"name": "distill", "recipe": PLAIN, **how}
    with pytest.raises(ConfigError, match=reason):
        compile_pipeline(how.pop("name"), how.pop("recipe"), **how)


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
def test_every_recipe_compiles_into_the_form_of_every_pipeline(name, recipe):
    spec, _ = compile_pipeline(name, load_recipe(recipe)).documents
    found = parameters(spec)["recipe"]["defaultValue"]
    assert found["warm-up"]["method"] == "sft" and found["train"]["batch_size"]


def test_the_form_has_few_fields_and_starts_as_it_is():
    spec, _ = compiled("refresh", store="gs://bucket/soda")
    found = parameters(spec)
    assert list(found) == sorted(found)  # as the UI lists them
    assert set(found) == {"force", "gpus", "images", "pods", "recipe", "store", "ui_url"}
    assert all(each["description"] and "defaultValue" in each for each in found.values())


def test_a_step_reads_its_own_part_of_the_recipe_and_no_other():
    spec, _ = compiled()
    read = spec["root"]["dag"]["tasks"]["exit-handler-1"]["inputs"]["parameters"]
    chosen = {
        each["parameterExpressionSelector"]: key
        for key, each in read.items()
        if "parameterExpressionSelector" in each
    }
    part = chosen['parseJson(string_value)["warm-up"]']
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    [warm_up] = [task for task in tasks.values() if task["taskInfo"]["name"] == "Warm up"]
    assert warm_up["inputs"]["parameters"]["config"] == {"componentInputParameter": part}


def test_every_task_and_group_has_a_name_in_the_readers_words():
    for name, title in (("distill", "Distill"), ("refresh", "Refresh")):
        spec, _ = compiled(name)
        for component in [spec["root"], *spec["components"].values()]:
            for key, task in component.get("dag", {}).get("tasks", {}).items():
                assert task["taskInfo"]["name"][0].isupper(), key
        assert spec["root"]["dag"]["tasks"]["exit-handler-1"]["taskInfo"]["name"] == title


def test_without_shards_there_is_no_loop_and_no_second_step():
    spec, _ = compiled()
    assert len(spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]) == 10
    assert "parameterIterator" not in str(spec)


def test_what_acts_on_the_world_is_never_taken_from_the_cache():
    spec, _ = compiled("refresh")
    tasks = [
        task
        for component in [spec["root"], *spec["components"].values()]
        for task in component.get("dag", {}).get("tasks", {}).items()
    ]
    uncached = {name for name, task in tasks if not task.get("cachingOptions")}
    groups = {name for name, _ in tasks if name.startswith(("condition-", "exit-"))}
    assert uncached - groups == {"notify", "preflight", "register", "watch"}


def test_no_secret_gets_into_a_compiled_spec(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "canary-7f3a")
    compile_pipeline("distill", load_recipe(RECIPES / "cluster.yaml")).write(tmp_path / "spec.yaml")
    assert "canary-7f3a" not in (tmp_path / "spec.yaml").read_text()


def test_a_wrong_recipe_is_refused_before_anything_starts(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {betta: 0.1}\n")
    with pytest.raises(ConfigError):
        compile_pipeline("distill", load_recipe(recipe))
    command = [sys.executable, "-m", "soda", "run", "--recipe", str(recipe)]
    done = subprocess.run(
        [*command, "--root", str(tmp_path / "runs")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_lint_exits_with_1_for_an_error_and_2_for_no_spec(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    compile_pipeline("distill", PLAIN).write(good)
    bad.write_text(good.read_text().replace(images.CPU, "soda-cpu:latest"))
    for path, code in ((good, 0), (bad, 1), (tmp_path / "none.yaml", 2)):
        command = [sys.executable, "-m", "soda", "lint", "--fail-on=warning", str(path)]
        command.append("--select=unpinned-image")
        assert subprocess.run(command, capture_output=True).returncode == code


def test_a_spec_that_cannot_be_written_is_one_line(tmp_path):
    spec = Compiled(({}, {}), {})
    with pytest.raises(StorageError, match="/proc/no: expected to write, found that it cannot be"):
        spec.write(Path("/proc/no/x.yaml"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="found: Not a directory"):
        spec.write(tmp_path / "file" / "below" / "x.yaml")


def test_a_number_of_shards_below_one_is_refused():
    found = "shards: expected 1 or more, found 1 for the teacher and 0 for the snapshot"
    with pytest.raises(ConfigError, match=found):
        compile_pipeline("distill", PLAIN, shards=Shards(1, 0))
