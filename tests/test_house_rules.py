"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path for top in ("soda", "components", "pipelines") for path in (ROOT / top).rglob("*.py")
)
# A file may import from its own folder and from the layers below; never upwards.
LAYERS = [
    {"cli", "__main__"},
    {"commands"},
    {"launch"},
    {"kubernetes"},
    {"recipe"},
    {"stage"},
    {"stages"},
    {"teacher", "evaluation", "registry", "judging", "audit"},
    {"training"},
    {"student"},
    {"endpoint"},
    {"artifacts", "run_state"},
    {"dataset"},
    {"storage"},
    {"rows", "words", "expected", "slices", "config", "yaml_values", "statistics"},
    {"errors", "lint"},
    {"progress"},
    {"escape"},
    {"limits"},
]
BESIDE = [{"teacher", "evaluation", "registry", "judging", "audit"}]
ALONE = {*sys.stdlib_module_names, "yaml"}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "lm_eval", "kfp", "rouge_score"}
HEAVY |= {"boto3", "botocore", "google", "kubernetes", "model_registry", "mr_openapi"}


def imports(tree, *, top_level):
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def names(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_go_down_the_layers(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    found = set(imports(ast.parse(path.read_text()), top_level=False))
    assert "__future__" not in found, "annotations break component signatures"
    if parts[0] == "soda":
        assert not {
            name for name in found if name.split(".")[0] in ("soda_components", "soda_pipelines")
        }
    if parts[0] != "soda" or parts[1] == "__init__":
        return
    mine = next(level for level, layer in enumerate(LAYERS) if parts[1] in layer)
    for name in found:
        if name.startswith("soda.") and (target := name.split(".")[1]) != parts[1]:
            theirs = next(level for level, layer in enumerate(LAYERS) if target in layer)
            assert theirs >= mine, f"{name} is above"
            for room in BESIDE:
                assert not {parts[1], target} <= room, f"{name} is beside"


def test_models_are_loaded_where_their_tensors_are_accounted_for():
    found = set()
    for path in (ROOT / "soda").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        taken = [
            one.name for node in nodes if isinstance(node, ast.ImportFrom) for one in node.names
        ]
        if any(name.startswith("AutoModel") for name in taken):
            found.add(path.relative_to(ROOT / "soda").as_posix())
    assert found == {"student/account.py", "student/weights.py"}


def test_lint_could_be_shipped_by_itself():
    for path in (ROOT / "soda" / "lint").rglob("*.py"):
        found = set(imports(ast.parse(path.read_text()), top_level=False))
        assert all(name.startswith(".") or name.split(".")[0] in ALONE for name in found), path


@pytest.mark.parametrize("path", FILES, ids=names)
def test_heavy_imports_stand_inside_functions(path):
    relative = path.relative_to(ROOT).as_posix()
    if relative.startswith("soda/training/") or not relative.startswith("soda/"):
        return
    found = {name.split(".")[0] for name in imports(ast.parse(path.read_text()), top_level=True)}
    assert not found & HEAVY


@pytest.mark.parametrize("path", FILES, ids=names)
def test_all_names_what_is_public(path):
    if path.name in ("__init__.py", "__main__.py"):
        return
    tree = ast.parse(path.read_text())
    public, exported = set(), None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            public.add(node.name)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            exported = set(ast.literal_eval(node.value))
    assert exported is not None, "every module says what is public"
    assert public <= exported, f"not in __all__: {public - exported}"
    assert ast.get_docstring(tree)


def test_importing_soda_brings_in_nothing_heavy():
    code = f"import soda, soda.cli, sys; print(sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_actions_of_others_are_pinned_by_digest():
    files = [*(ROOT / ".github" / "workflows").iterdir(), ROOT / "action.yml"]
    used = [each for file in files for each in re.findall(r"uses: (\S+)", file.read_text())]
    assert used and all(re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", each) for each in used), used
