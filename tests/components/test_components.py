"""Components are thin: their interfaces are the stages', and they import nothing but kfp."""

import ast
import dataclasses
import sys
from typing import get_origin, get_type_hints

import pytest
from kfp import compiler

from soda import lint
from soda.kubernetes.resources import Texts
from soda.kubernetes.trainjob import Nodes
from soda.stage import load_stage
from soda.stages import STAGES
from soda_components import images
from soda_components.generate import ROOT, load_component, names

NAMES = {name: name.replace("-", "_") for name in STAGES}
AROUND = {"notify", "preflight", "train_job", "watch"}  # the stages
KFP_TYPES = {
    "comparison": "system.Artifact",
    "model": "system.Model",
    "registration": "system.Artifact",
    "report": "system.Artifact",
}
# What goes into a list is named by its place in the store: a pipeline cannot collect artifacts.
COLLECTED = {"snapshot", "teacher-gen", "eval", "judge"}
_OUTPUTS = {str: "String", dict: "Dict", list: "List"}
PAGES = {"system.HTML", "system.Markdown", "system.Metrics", "system.ClassificationMetrics"}
MORE = {  # what a component takes beside its stage's inputs, a config and a store
    "snapshot": {"shard": "String"},
    "teacher-gen": {"shard": "String", "identity": "String"},
    "train": {"gpus": "String"},
}


def types(specs):
    return {key: each.type.split("@")[0] for key, each in (specs or {}).items()}


def kfp_type(*kinds):
    """Return KFP's type for what may be of any of some kinds."""
    [found] = {KFP_TYPES.get(kind.kind, "system.Dataset") for kind in kinds}
    return found


def parse(name):
    return ast.parse((ROOT / name / "component.py").read_text())


def modules(node):
    """Return the packages that the imports anywhere in a node bring in."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            found |= {alias.name for alias in each.names}
        elif isinstance(each, ast.ImportFrom):
            found.add(each.module if not each.level else "." * each.level)
    return {module.split(".")[0] or module for module in found}


def test_every_stage_has_a_component_and_few_have_none():
    assert set(names()) == {*NAMES.values(), *AROUND}


@pytest.mark.parametrize("name", STAGES)
def test_a_component_takes_the_stages_inputs_a_config_and_makes_its_output(name):
    stage, spec = load_stage(name), load_component(NAMES[name]).component_spec
    inputs = {
        key: "List" if key in stage.lists else kfp_type(*kinds)
        for key, kinds in stage.inputs.items()
    }
    more = {"config": "Dict", "store": "String", **MORE.get(name, {})}
    assert types(spec.inputs) == {**inputs, **more}
    assert all(spec.inputs[key].optional for key in more if key != "config")
    output, *pages = types(spec.outputs).values()
    assert output == kfp_type(stage.output)
    assert set(pages) - {"String"} <= PAGES
    assert [key for key, kind in types(spec.outputs).items() if kind == "String"] == (
        ["place"] if name in COLLECTED else []
    )
    assert spec.name == name


def test_train_job_takes_what_train_takes_and_where_the_nodes_are():
    train, job = (load_component(name).component_spec for name in ("train", "train_job"))
    shared = {"data", "model", "config", "store"}
    assert {key: types(job.inputs)[key] for key in shared} == {
        key: types(train.inputs)[key] for key in shared
    }
    fields = {field.name: field for field in dataclasses.fields(Nodes)}
    assert job.inputs.keys() - shared == fields.keys()
    for key, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert str(job.inputs[key].default) == str(field.default)
    assert types(job.outputs) == types(train.outputs)


def test_preflight_returns_what_the_driver_reads():
    found = load_component("preflight").component_spec.outputs
    texts = {key: each.type for key, each in found.items() if key != "report"}
    expected = {
        key: _OUTPUTS[get_origin(kind) or kind] for key, kind in get_type_hints(Texts).items()
    }
    assert texts == expected


@pytest.mark.parametrize("name", names())
def test_a_component_holds_no_logic(name):
    [function] = [node for node in parse(name).body if isinstance(node, ast.FunctionDef)]
    banned = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp, ast.comprehension)
    assert not [node for node in ast.walk(function) if isinstance(node, banned)]
    assert function.body[0].value.value  # a docstring: KFP shows it


@pytest.mark.parametrize("name", names())
def test_a_component_imports_only_kfp_at_the_top_and_only_soda_inside(name):
    body = parse(name).body
    [function] = [node for node in body if isinstance(node, ast.FunctionDef)]
    top = set().union(*(modules(node) for node in body if node is not function))
    assert top - sys.stdlib_module_names == {"kfp", ".."}
    assert modules(function) == {"soda"}


@pytest.mark.parametrize("name", names())
def test_every_input_and_every_artifact_is_described(name):
    spec, row = load_component(name).component_spec, "| `{}` |"
    readme = (ROOT / name / "README.md").read_text()
    assert spec.description
    assert all(each.description for each in spec.inputs.values())
    for key, each in (spec.outputs or {}).items():
        [line] = [line for line in readme.splitlines() if line.startswith(row.format(key))]
        assert not each.type.startswith("system.") or not line.endswith("|  |")


@pytest.mark.parametrize("name", names())
def test_a_component_compiles_alone_without_faults_into_a_known_image(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    compiler.Compiler().compile(load_component(name), str(path))
    [document] = lint.load(path)
    assert not [found for found in lint.lint([document]) if found.severity == "error"]
    executors = document["deploymentSpec"]["executors"].values()
    assert {each["container"]["image"] for each in executors} <= {images.CPU, images.GPU}
