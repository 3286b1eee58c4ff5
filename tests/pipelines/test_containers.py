"""Which of this machine's variables a step in a container sees."""

from pathlib import Path

import pytest

from soda.recipe import load_recipe
from soda_pipelines.compile import compile_pipeline
from soda_pipelines.containers import environment_of, function_in, secrets_of

ROOT = Path(__file__).parents[2]
STORE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
STORE |= {"AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"}


@pytest.fixture(scope="module")
def secrets():
    recipe = ROOT / "pipelines" / "distill" / "recipes" / "cluster.yaml"
    return secrets_of(compile_pipeline("distill", load_recipe(recipe)).documents)


@pytest.mark.parametrize(
    ("step", "own"),
    [
        ("teacher_gen", {"SODA_TEACHER_API_KEY"}),
        ("import_student", {"HF_TOKEN"}),
        ("register", {"SODA_MODEL_REGISTRY_TOKEN"}),
        ("notify", {"SODA_NOTIFY_URL"}),
        ("pair_build", set()),
        ("train", set()),
    ],
)
def test_a_step_sees_the_settings_and_its_own_secrets(monkeypatch, secrets, step, own):
    every = {name for names in secrets.values() for name in names}
    settings = {"SODA_STORE", "HF_HOME", "AWS_REGION"}
    others = {"SODA_STUDENT_API_KEY", "SODA_JUDGE_API_KEY", "HF_ANYTHING", "AWS_PROFILE", "KEY"}
    monkeypatch.setattr("os.environ", {name: name for name in every | settings | others})
    found = environment_of(step, secrets)
    assert found == {name: name for name in settings | STORE | own}


def test_a_student_that_is_an_endpoint_gets_its_key(monkeypatch, secrets):
    monkeypatch.setenv("SODA_STUDENT_API_KEY", "k")
    assert environment_of("snapshot", secrets)["SODA_STUDENT_API_KEY"] == "k"


def test_the_function_is_read_from_the_command():
    command = ["sh", "-c", "...", "--executor_input", "{}", "--function_to_execute", "train"]
    assert function_in(command) == "train"
    assert function_in(["python", "x.py"]) == function_in(["--function_to_execute"]) == ""
