"""READMEs and metadata say what the code says, and their examples compile."""

import re
import shutil

import pytest
import yaml
from kfp import compiler

from components import readme

REQUIRED = {"name", "stability", "dependencies", "lastVerified"}
KEYS = REQUIRED | {"tags", "ci", "links", "managed", "description"}
VERSION = re.compile(r"(==|>=|<=|~=)?\d+\.\d+\.\d+")  # all three parts, as the convention has it


def examples(name):
    text = (readme.ROOT / name / "README.md").read_text()
    return re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)


def test_the_readmes_are_what_the_code_says():
    said = []
    assert readme.main(["--check"], said.append) == 0, said


def test_a_readme_that_is_out_of_date_is_named_and_then_written(tmp_path, monkeypatch):
    shutil.copytree(readme.ROOT, tmp_path / "components")
    monkeypatch.setattr(readme, "ROOT", tmp_path / "components")
    assert readme.main([], lambda line: None) == 0
    stale = tmp_path / "components" / "watch" / "README.md"
    good = stale.read_text()
    stale.write_text("old")
    said = []
    assert readme.main(["--check"], said.append) == 1
    assert said == ["components/watch/README.md: out of date; run python -m components.readme"]
    assert stale.read_text() == "old"
    assert readme.main([], said.append) == 0
    assert stale.read_text() == good
    assert readme.main(["--check"], said.append) == 0


@pytest.mark.parametrize("name", readme.names())
def test_metadata_has_what_the_convention_asks_for(name):
    metadata = yaml.safe_load((readme.ROOT / name / "metadata.yaml").read_text())
    assert REQUIRED <= metadata.keys() <= KEYS
    assert metadata["name"] == name
    assert metadata["stability"] in ("alpha", "beta", "stable")
    assert metadata["lastVerified"].tzinfo
    assert metadata["dependencies"].keys() <= {"kubeflow", "external_services"}
    assert "Pipelines" in [each["name"] for each in metadata["dependencies"]["kubeflow"]]
    for group in metadata["dependencies"].values():
        assert all(VERSION.fullmatch(each["version"]) for each in group)


@pytest.mark.parametrize("name", readme.names())
def test_the_examples_of_a_readme_work_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they write a file
    example, write, read = examples(name)
    found = {}
    exec(example, found)
    compiler.Compiler().compile(found["example"], "example.yaml")
    exec(write, {})
    exec(read, again := {})
    original = readme.load_component(name).component_spec
    assert again[name].component_spec.inputs.keys() == original.inputs.keys()
