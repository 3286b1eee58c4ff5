"""Every form that a compiled pipeline comes in, and what is none."""

import json
from pathlib import Path

import pytest
import yaml

from soda.lint.check import check
from soda.lint.config import LintConfig
from soda.lint.errors import LintError
from soda.lint.jsontext import read_json
from soda.lint.shape import camel
from soda.lint.source import read
from soda.lint.yamltext import read_yaml
from tests.fakes.spec import clean, put, settings


def broken():
    """Return a spec with one fault, on the line that holds the word 'gone'."""
    documents = clean()
    put(documents, "0.root.dag.tasks.tell.componentRef.name", "gone")
    return documents


def snake(tree):
    """Return a tree with the names of fields as protobuf's own."""
    if isinstance(tree, list):
        return [snake(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    spelled = {k: "".join(f"_{c.lower()}" if c.isupper() else c for c in k) for k in tree}
    return {spelled[key] if key != "Output" else key: snake(tree[key]) for key in tree}


def resource(spec, platform):
    return {
        "apiVersion": "pipelines.kubeflow.org/v2beta1",
        "kind": "PipelineVersion",
        "metadata": {"name": "clean"},
        "spec": {"pipelineName": "clean", "pipelineSpec": spec, "platformSpec": platform},
    }


SPEC, PLATFORM = broken()
FORMS = {
    "yaml": yaml.safe_dump_all(broken()),
    "json": json.dumps(SPEC, indent=1),
    "tabs.json": json.dumps(SPEC, indent="\t"),
    "job": json.dumps({"pipelineSpec": SPEC, "runtimeConfig": {"parameterValues": {}}}, indent=1),
    "snake": json.dumps(snake(SPEC), indent=1),
    "version": json.dumps({"pipeline_id": "1", "pipeline_spec": SPEC}, indent=1),
    "both": json.dumps({"pipeline_spec": {"pipeline_spec": SPEC, "platform_spec": PLATFORM}}),
    "export": json.dumps({"pipeline_versions": [{"pipeline_spec": snake(SPEC)}]}, indent=1),
    "resource": yaml.safe_dump(resource(SPEC, PLATFORM)),
    "list": json.dumps({"kind": "List", "items": [resource(SPEC, PLATFORM)]}, indent=1),
    "documents": json.dumps([SPEC], indent=1),
    "marked": "\ufeff" + yaml.safe_dump(SPEC),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pipeline_is_read_from_every_form_with_its_lines(form, tmp_path):
    file = tmp_path / "spec"
    file.write_text(FORMS[form], encoding="utf-8")
    (found,) = check(read(str(file)), LintConfig(targets=("kfp",), select=("unknown-component",)))
    assert found.place == "root/tell"
    lines = FORMS[form].splitlines()
    assert "tell" in lines[found.line - 1] and found.line > (len(lines) > 1)


def test_platform_settings_belong_to_the_pipeline_that_they_come_with(tmp_path):
    mine = settings()
    put(
        mine, "platforms.kubernetes.deploymentSpec.executors.exec-tell.securityContext.runAsUser", 0
    )
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump_all([resource(SPEC, mine), resource(SPEC, PLATFORM)]))
    (found,) = check(read(str(file)), LintConfig(select=("root-user",)))
    assert found.place == "exec-tell"


TEXTS = {
    "a: [": "expected YAML",
    "a: !!python/object:os.system x": "expected no tag",
    "a: !mine x": "expected no tag",
    "a: *b": r"expected an anchor, found none for \*b",
    "a: &a [*a]": "expected an anchor",
    "[" * 1500 + "]" * 1500: "expected at most 200 levels",
    "[" * 100_000: "expected at most 200 levels",
    '{"a":' * 1500 + "1" + "}" * 1500: "expected at most 200 levels",
    "? [a]\n: b": "expected text as a key",
    "\x00": "expected YAML",
    "": "expected a compiled KFP v2 pipeline",
    "a: 2026-13-45": "expected a compiled KFP v2 pipeline",
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow": "found an Argo workflow, as KFP v1",
    "apiVersion: tekton.dev/v1beta1\nkind: PipelineRun": "found a Tekton pipeline, as KFP v1",
    "name: x\nimplementation: {container: {}}": "found the definition of a KFP component",
    "platforms: {kubernetes: {}}": "found platform settings alone",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_what_is_no_pipeline_is_refused_in_one_line(text, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LintError, match=TEXTS[text]) as caught:
        check(read(str(file)), LintConfig())
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(file))


def test_aliases_that_grow_without_end_are_refused(tmp_path):
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(LintError, match="behind aliases"):
        read(str(tmp_path / "bomb.yaml"))


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: café".encode("latin-1"))
    with pytest.raises(LintError, match="expected UTF-8 text"):
        read(str(tmp_path / "latin.yaml"))


def test_yaml_is_read_as_the_backend_reads_it():
    text = "a: yes\nb: 2026-01-02\nc: 010\nd: 1_000\ne: .5\nf: 0x10\ng: ~\nh: 'true'\ni: true\n"
    (tree,), lines, repeated = read_yaml(text)
    assert tree == {
        "a": "yes",
        "b": "2026-01-02",
        "c": 10.0,
        "d": 1000,
        "e": 0.5,
        "f": 16,
        "g": None,
        "h": "true",
        "i": True,
    }
    assert lines[("0", "c")] == 3 and repeated == []


def test_aliases_and_merged_mappings_are_filled_in():
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: [*a]\n"
    (tree,), lines, _ = read_yaml(text)
    assert tree["b"] == {"y": 3, "x": 1} and tree["c"] == [{"x": 1, "y": 2}]
    assert lines[("0", "b", "y")] == 4


def test_keys_that_stand_twice_are_noted_with_the_second_line():
    assert read_yaml("a:\n  b: 1\n  b: 2\n")[2] == [(("0", "a", "b"), 3)]
    assert read_json('{"a": {\n"b": 1,\n"b": 2}}')[2] == [(("0", "a", "b"), 3)]


def test_json_has_the_lines_of_keys_and_items():
    text = '{\n "a": [\n  1,\n  {"b": "x:y,{"}\n ],\n "\\u0061b": {}\n}'
    (tree,), lines, _ = read_json(text)
    assert tree == json.loads(text)
    assert lines[("0", "a", "1", "b")] == 4 and lines[("0", "ab")] == 6
    assert (lines[("0", "a", "0")], lines[("0", "a", "1")]) == (3, 4)


def test_all_of_a_long_json_is_read_like_its_yaml(tmp_path):
    tree = {"a": [{"b": i, "c": [str(i)]} for i in range(200)]}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    assert read(str(tmp_path / "a.json")).documents == [tree]


def test_camel():
    assert [camel(each) for each in ("root", "pipeline_info", "schemaVersion")] == [
        "root",
        "pipelineInfo",
        "schemaVersion",
    ]


def test_a_missing_file_is_refused():
    with pytest.raises(LintError, match=r"none\.yaml: expected a pipeline, found no such file"):
        read(str(Path("none.yaml")))
