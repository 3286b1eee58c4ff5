"""The wheel in an environment of its own, in a folder whose names are in its way."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import soda

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
RECIPE = ("--recipe", "recipe.yaml")
INSTALLED = {"soda": "soda", "components": "soda_components", "pipelines": "soda_pipelines"}


def tracked():
    """Return the files that Git knows or would take, below the folders that are installed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run([*listed, *INSTALLED], capture_output=True, check=True, cwd=ROOT)
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy: setuptools leaves things behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in [*tracked(), "pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [made] = (copy / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Run a command of a new environment with the wheel, and our packages but for soda itself."""
    root = tmp_path_factory.mktemp("wheel")
    venv.create(root / "venv", with_pip=True)
    environment = {"PATH": f"{root}/venv/bin:/usr/bin:/bin"}
    pip = [root / "venv" / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, env=environment)
    packages = next((root / "venv").glob("lib/*/site-packages"))
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("\n".join(ours))  # their own .pth are not read
    (root / "work" / "pipelines").mkdir(parents=True)
    recipe = ROOT / "pipelines" / "distill" / "recipes" / "quickstart.yaml"
    (root / "work" / "recipe.yaml").write_bytes(recipe.read_bytes())
    for name in INSTALLED:
        (root / "work" / f"{name}.py").write_text("raise SystemExit('not this one')")

    def run(*words, code=0):
        done = subprocess.run(
            words, env=environment, cwd=root / "work", capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_the_code_and_the_data_and_no_general_name(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in held} == {
        *INSTALLED.values(),
        f"soda_distill-{soda.__version__}.dist-info",
    }
    for name in tracked():
        top, _, rest = name.partition("/")
        left_out = top == "components" and not name.endswith((".py", "component.yaml"))
        left_out |= name == "soda/lint/pyproject.toml"  # for the lint as a package of its own
        assert left_out or f"{INSTALLED[top]}/{rest}" in held, name


def test_a_pipeline_compiles_and_is_linted_outside_of_the_repository(run):
    assert run("soda", "--version").strip() == soda.__version__
    assert "pair-build" in run("soda", "--help")
    run("soda", "compile", "--pipeline", "refresh", *RECIPE, "--out", "refresh.yaml")
    assert run("soda", "lint", "refresh.yaml").strip() == "no findings"
    found = run("python", "-c", "import soda_pipelines as p; print(p.__file__)")
    assert "/site-packages/soda_pipelines/" in found


def test_the_quickstarts_recipe_and_prompts_are_there(run):
    code = (
        "from pathlib import Path; import soda_pipelines; from soda.recipe import *; "
        "recipe = Path(soda_pipelines.__file__).parent / 'distill/recipes/quickstart.yaml'; "
        "print(parse_step(load_recipe(recipe), 'prepare-prompts').dataset_digest)"
    )
    assert len(run("python", "-P", "-c", code).strip()) == 64


def test_the_hook_of_pre_commit_is_a_command_of_the_wheel(run):
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    run("soda", "compile", *RECIPE, "--out", "spec.yaml")
    assert run(*hook["entry"].split(), "spec.yaml").strip() == "no findings"
