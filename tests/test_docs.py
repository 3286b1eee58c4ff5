"""The documentation: its tables, examples, commands, messages and links are those of the code."""

import argparse
import ast
import functools
import importlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

import soda
from soda.cli import TOOLS
from soda.commands import run_stage
from soda.recipe import load_recipe
from soda.stages import STAGES
from soda_components import images
from soda_pipelines.compile import PIPELINES, add_arguments, compile_pipeline
from soda_pipelines.distill.graph import make_graph
from soda_pipelines.distill.pipelines import Fixed
from soda_pipelines.runs import prepare_run
from soda_pipelines.schedule import ScheduleConfig, SchedulesConfig, read_schedules
from soda_pipelines.submit import RunConfig, read_run
from tests.manifests.rendered import build
from tests.pipelines.test_compile import PLAIN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "manifests" / "README.md",
    *sorted(DOCS.glob("*.md")),
]
OURS = [DOCS / f"{name}.md" for name in ("cluster", "cost", "schedules", "troubleshooting")]
RECIPES = ROOT / "pipelines" / "distill" / "recipes"
SCHEDULES = ROOT / "pipelines" / "distill" / "schedules.example.yaml"
ANY = "\N{HORIZONTAL ELLIPSIS}"  # in a quoted message: what differs from case to case


def names(path):
    return path.relative_to(ROOT).as_posix()


def table(page, header):
    """Return the rows below a table's header, as lists of cells."""
    lines = (DOCS / page).read_text().splitlines()
    start = lines.index(header) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_every_environment_variable_is_in_the_table():
    code = [
        path for top in ("soda", "components", "pipelines") for path in ROOT.glob(f"{top}/**/*.py")
    ]
    used = {name for path in code for name in re.findall(r"\bSODA_[A-Z_]+\b", path.read_text())}
    rows = table("stages.md", "| environment variable | meaning |")
    assert used == {name for variables, _ in rows for name in re.findall(r"\w+", variables)}


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


def code(value):
    return f"`{value}`"


@pytest.fixture(autouse=True)
def fast_yaml(monkeypatch):
    """Let libyaml read and write, where there is one: most of the time went there."""
    if yaml.__with_libyaml__:
        write = yaml.dump_all

        def dump_all(documents, stream=None, Dumper=None, **options):  # noqa: N803
            return write(documents, stream, Dumper=yaml.CSafeDumper, **options)

        monkeypatch.setattr(yaml, "dump_all", dump_all)
        monkeypatch.setattr(yaml, "SafeLoader", yaml.CSafeLoader)


def declared(pipeline, *, nodes=False):
    """Return the parameters in a pipeline's compiled spec."""
    spec, _ = compile_pipeline(pipeline, PLAIN, fixed=Fixed(volume=nodes, nodes=nodes)).documents
    return spec["root"]["inputDefinitions"]["parameters"]


def default_of(name, facts):
    if name == "recipe":
        return "the recipe that was compiled in"
    if name == "store":
        return "as compiled; `/var/soda` with `--volume`"
    if name == "images":
        assert facts["defaultValue"] == [images.CPU, images.GPU]
        return "the two that were compiled in"
    value = whole(facts["defaultValue"])
    return code(value if isinstance(value, str) and value else json.dumps(value, sort_keys=True))


def whole(value):
    """Write 1.0 as 1: a spec holds no other numbers."""
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parameter_rows():
    """Return what the table of parameters has to be: name, default, meaning, where it is."""
    plain = {each: declared(each) for each in PIPELINES}
    everything = {**plain["refresh"], **declared("distill", nodes=True)}
    rows = []
    for name, facts in sorted(everything.items()):
        inside = [each for each in PIPELINES if name in plain[each]]
        where = "all" if len(inside) == len(PIPELINES) else ", ".join(inside)
        if not inside:
            where = "those with `--nodes`"
        rows.append([code(name), default_of(name, facts), facts["description"], where])
    return rows


def test_the_table_of_parameters_is_that_of_the_compiled_pipelines():
    found = table("cluster.md", "| parameter | default | meaning | in |")
    expected = parameter_rows()
    wanted = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert found == expected, f"docs/cluster.md has to have\n{wanted}"


def test_the_table_of_compile_options_names_every_option():
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options = [action.option_strings[0] for action in parser._actions]
    found = table("cluster.md", "| option | default | meaning |")
    assert [row[0].strip("`").split()[0] for row in found] == options


def config_rows(*configs):
    fields = {name: field for config in configs for name, field in config.model_fields.items()}
    return [
        [
            code(name),
            "required"
            if field.is_required()
            else "none"
            if field.default in (None, "")
            else code(json.dumps(field.default)),
            field.description,
        ]
        for name, field in fields.items()
    ]


def test_the_table_of_a_runs_keys_is_that_of_its_model():
    found = table("cluster.md", "| key of run.yaml | default | meaning |")
    wanted = config_rows(RunConfig)
    assert found == wanted, "\n".join(f"| {' | '.join(row)} |" for row in wanted)


def test_the_table_of_a_schedules_keys_is_that_of_its_models():
    found = table("schedules.md", "| key | default | meaning |")
    new = {*ScheduleConfig.model_fields, *SchedulesConfig.model_fields}
    new -= {*RunConfig.model_fields} - {"name"}
    wanted = [row for row in config_rows(SchedulesConfig, ScheduleConfig) if row[0][1:-1] in new]
    assert found == wanted, "\n".join(f"| {' | '.join(row)} |" for row in wanted)


@pytest.mark.parametrize("page", OURS, ids=names)
def test_every_run_in_an_example_is_one_that_submit_takes(page, tmp_path):
    shutil.copyfile(RECIPES / "cluster.yaml", tmp_path / "my.yaml")
    runs = [text for text in blocks(page, "yaml") if text.startswith("pipeline:")]
    for number, text in enumerate(runs):
        path = tmp_path / f"run-{number}.yaml"
        path.write_text(text)
        assert prepare_run(read_run(path), path).parameters["store"]
    assert runs or page.name != "cluster.md"


@pytest.mark.parametrize("page", OURS, ids=names)
def test_every_recipe_in_an_example_is_one_that_compile_takes(page, tmp_path):
    for number, text in enumerate(blocks(page, "yaml")):
        if text.startswith("prepare-prompts:"):
            path = tmp_path / f"recipe-{number}.yaml"
            path.write_text(text)
            assert make_graph(load_recipe(path), "distill")


def test_the_example_of_schedules_is_one_that_schedule_takes():
    config, schedules = read_schedules(SCHEDULES)
    assert config.experiment and {one.pipeline for one in schedules} == {"refresh", "compare"}
    for one in schedules:
        assert prepare_run(one, SCHEDULES).parameters["store"] == one.store


def test_every_kustomization_in_an_example_builds(tmp_path):
    found = [text for text in blocks(DOCS / "cluster.md", "yaml") if "kind: Kustomization" in text]
    for number, text in enumerate(found):
        folder = tmp_path / str(number)
        folder.mkdir()
        there = os.path.relpath(ROOT / "manifests", folder.resolve())
        (folder / "kustomization.yaml").write_text(text.replace("../../manifests", there))
        made = build(folder)
        kinds = {each["kind"] for each in made}
        assert {"ServiceAccount", "NetworkPolicy"} <= kinds, text
        assert not {"Namespace", "ResourceQuota", "LimitRange"} & kinds, text
        for each in made:
            annotations = each["metadata"].get("annotations", {})
            assert each["kind"] != "ServiceAccount" or not annotations
            assert each["metadata"].get("namespace", "kubeflow") == "kubeflow"
    assert len(found) == 3


def commands(page):
    """Return the words after `soda` in a page's code, without what a shell does with them."""
    text = page.read_text().replace("\\\n", " ")
    for words in re.findall(r"^ {4,}(?:\w+=\S+ )*soda (\S.*)$", text, re.M):
        yield shlex.split(re.split(r" [#|&]|;", words)[0])


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_command_of_ours_is_one_that_its_parser_takes(page):
    found = list(commands(page))
    assert found or page.name != "README.md"
    for name, *words in found:
        parser = argparse.ArgumentParser(exit_on_error=False)
        if name in STAGES:
            run_stage.add_arguments(parser, name)
        else:
            importlib.import_module(TOOLS[name][0]).add_arguments(parser)
        parser.parse_args(words)


def literals(node):
    """Return the text of a string or f-string, with one character where a value comes in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)


@functools.cache
def messages():
    found = set()
    for top in ("soda", "pipelines"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    found.add(literals(node))
    return found


def quoted():
    text = (DOCS / "troubleshooting.md").read_text()
    return re.findall(r"^### `(.+)`$", text, re.M)


def test_every_quoted_message_is_one_that_the_code_can_say():
    found = quoted()
    assert len(found) >= 25 and len(found) == len(set(found))
    for message in found:
        parts = [part for part in message.split(ANY) if part]
        assert len("".join(parts)) > 15, f"'{message}' could be anything"
        pattern = re.compile(".*".join(map(re.escape, parts)), re.S)
        assert any(map(pattern.search, messages())), f"nothing says '{message}'"


def test_what_cannot_ask_for_the_version_names_the_right_one():
    mention = r"(?:soda-[cg]pu:|/soda/.*\?ref=v|rev: v|/soda@v|newTag: )(\d+\.\d+\.\w+)"
    pages = [*PAGES, *(ROOT / "manifests").rglob("*.yaml")]
    found = [version for page in pages for version in re.findall(mention, page.read_text())]
    assert len(found) > 15 and set(found) == {soda.__version__}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_relative_link_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"[a-z]+:|#", target):
            path, _, anchor = target.partition("#")
            assert (page.parent / path).exists(), target
            if anchor:
                heads = re.findall(r"^#+ (.+)$", (page.parent / path).read_text(), re.M)
                slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
                assert anchor in slugs, target
