"""Components are thin: their interfaces are the stages', and they import nothing but kfp."""

import ast
import importlib
from pathlib import Path

import pytest

from soda.stage import STAGES, load_stage

ROOT = Path(__file__).parents[2] / "components"
NAMES = {name: name.replace("-", "_") for name in STAGES}
KFP_TYPES = {
    "model": "system.Model",
    "report": "system.Artifact",
    "registration": "system.Artifact",
}


def component(name):
    module = importlib.import_module(f"components.{NAMES[name]}.component")
    return getattr(module, NAMES[name])


def test_every_stage_has_a_component_and_every_component_a_stage():
    assert {path.parent.name for path in ROOT.glob("*/component.py")} == set(NAMES.values())


@pytest.mark.parametrize("name", STAGES)
def test_a_component_takes_the_stages_inputs_a_config_and_makes_its_output(name):
    stage, spec = load_stage(name), component(name).component_spec
    inputs = {key: KFP_TYPES.get(kind.kind, "system.Dataset") for key, kind in stage.inputs.items()}
    found = {key: value.type.split("@")[0] for key, value in spec.inputs.items()}
    loops = {"overrides": "Dict"} if name == "teacher-gen" else {}  # for shards
    assert found == {**inputs, "config": "Dict", **loops}
    [output] = spec.outputs.values()
    assert output.type.split("@")[0] == KFP_TYPES.get(stage.output.kind, "system.Dataset")
    assert spec.name == name


@pytest.mark.parametrize("name", STAGES)
def test_a_component_holds_no_logic(name):
    tree = ast.parse((ROOT / NAMES[name] / "component.py").read_text())
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    banned = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp)
    assert not [node for node in ast.walk(function) if isinstance(node, banned)]
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imports} == {"kfp", "components"}
    assert function.body[0].value.value  # a docstring: KFP shows it
