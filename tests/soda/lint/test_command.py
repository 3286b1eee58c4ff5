"""The command: what it prints in each format, its exit codes, settings and refusals."""

import io
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

import soda
from soda.lint import RULES, __version__, lint, load
from soda.lint.errors import LintError
from soda.lint.findings import Finding
from soda.lint.report import REPORTS
from soda.lint.spec import TARGETS
from soda.lint.wheel import build_wheel
from tests.fakes.spec import clean, put

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """One warning (unpinned-image), and notes of style."""

    @dsl.component(base_image="soda:latest", install_kfp_package=False)
    def work(word: str):
        """Do something."""

    @dsl.pipeline(name="example")
    def example(word: str = "x"):
        """Do something.

        Args:
            word: what to do
        """
        work(word=word).set_retry(1).set_cpu_limit("1").set_memory_request("1G")

    file = tmp_path_factory.mktemp("spec") / "spec.yaml"
    compiler.Compiler().compile(example, str(file))
    return file


@pytest.fixture
def run(capsys):
    """Run the command; return its exit code and what it printed."""
    from soda.cli import main

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["lint", *map(str, arguments)])
        printed = capsys.readouterr()
        return caught.value.code, printed.out + printed.err

    return run


def write(path, **tree):
    path.write_text(yaml.safe_dump(tree))
    return path


def test_text_names_file_line_rule_place_and_fix(run, spec):
    code, text = run(spec)
    lines = spec.read_text().splitlines()
    line = next(i for i, each in enumerate(lines, 1) if each.strip() == "image: soda:latest")
    image = RULES["unpinned-image"]
    assert code == 0
    assert text.splitlines()[:2] == [
        f"{spec}:{line}: warning unpinned-image: exec-work: "
        "image 'soda:latest' can change under its name",
        f"    {image.fix}",
    ]
    assert text.splitlines()[-1] == "1 warning, 1 note"


@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        ([], 0, "1 warning, 1 note"),
        (["--fail-on", "warning"], 1, "1 warning, 1 note"),
        (["--style"], 0, "1 warning, 2 notes"),
        (["--ignore", "unpinned-image"], 0, "1 note"),
        (["--ignore", "unpinned-image, style"], 0, "no findings"),
        (["--ignore", "unpinned-image", "--ignore", "style"], 0, "no findings"),
        (["--min-severity", "warning", "--fail-on", "note"], 1, "1 warning"),
        (["--min-severity", "error"], 0, "no findings"),
        (["--select", "no-security-context"], 0, "1 note"),
        (["--select", "no-security-context", "--fail-on", "note"], 1, "1 note"),
        (["--select", "no-retry,no-limits", "--select=unpinned-image"], 0, "1 warning, 1 note"),
        (["--select", "no-retry , if-on-loop-item", "--fail-on", "note"], 0, "no findings"),
        (["--target", "vertex"], 0, "1 warning"),
        (["--target", "vertex, kfp"], 0, "1 warning, 1 note"),
        (["--select", "image-not-allowed"], 0, "no findings"),
        (["--select", "image-not-allowed", "--allow-image", "ghcr.io/acme"], 1, "1 error"),
        (
            ["--select=image-not-allowed", "--allow-image=x", "--allow-image=docker.io/library"],
            0,
            "no findings",
        ),
    ],
)
def test_the_exit_code_is_that_of_the_worst_that_is_left(arguments, code, last, run, spec):
    found, text = run(spec, *arguments)
    assert (found, text.splitlines()[-1]) == (code, last)


def test_several_specs_and_standard_input(run, spec, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(spec.read_bytes())))
    code, text = run("-", spec, "--select", "unpinned-image")
    assert code == 0
    assert [line.split(":")[0] for line in text.splitlines() if "warning unp" in line] == [
        "<stdin>",
        str(spec),
    ]


def test_json(run, spec):
    code, text = run(spec, "--format", "json")
    tree = json.loads(text)
    assert code == 0 and tree["version"] == 1
    assert tree["counts"] == {"error": 0, "warning": 1, "note": 1, "suppressed": 0}
    assert {tuple(sorted(each)) for each in tree["findings"]} == {
        ("file", "fix", "line", "message", "place", "rule", "severity", "suppressed")
    }


def test_sarif(run, spec, tmp_path):
    accepted = [{"rule": "unpinned-image", "place": "exec-*", "reason": "rebuilt each night"}]
    config = write(tmp_path / "lint.yaml", suppress=accepted)
    code, text = run(spec, "--format", "sarif", "--config", config, "--style")
    tree = json.loads(text)
    assert code == 0 and tree["version"] == "2.1.0" and "sarif-2.1.0" in tree["$schema"]
    driver = tree["runs"][0]["tool"]["driver"]
    assert driver["version"] == __version__ and driver["informationUri"].startswith("https://")
    assert [each["id"] for each in driver["rules"]] == list(RULES)
    assert all(each["shortDescription"]["text"] and each["help"] for each in driver["rules"])
    results = tree["runs"][0]["results"]
    assert [each["ruleId"] for each in results] == [
        "unpinned-image",
        "no-limits",
        "no-security-context",
    ]
    for each in results:
        assert driver["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
        assert each["level"] == RULES[each["ruleId"]].severity and each["message"]["text"]
        (location,) = each["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"].endswith("spec.yaml")
        assert location["physicalLocation"]["region"]["startLine"] > 1
    assert results[0]["suppressions"] == [
        {"kind": "external", "justification": "rebuilt each night"}
    ]
    assert results[1]["suppressions"] == []


def test_sarif_names_files_from_where_it_runs(spec, monkeypatch):
    monkeypatch.chdir(spec.parent)
    for name in (str(spec), "spec.yaml"):
        tree = json.loads(REPORTS["sarif"]([Finding("no-retry", "warning", "a", "b", "c", name)]))
        location = tree["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
        assert location == {"artifactLocation": {"uri": "spec.yaml"}, "region": {"startLine": 1}}


def test_github_annotations_are_escaped():
    made = Finding("no-retry", "note", "a/b", "50 % of\nit: fails,\r or so", "m", "a:b,c%.yaml", 7)
    hidden = Finding("no-retry", "error", "a/b", "x", "m", "a.yaml", 7, "why not")
    assert REPORTS["github"]([made, hidden]) == (
        "::notice file=a%3Ab%2Cc%25.yaml,line=7,title=no-retry"
        "::a/b: 50 %25 of%0Ait: fails,%0D or so; m"
    )


def test_github_prints_nothing_for_a_clean_spec(run, spec):
    assert run(spec, "--format", "github", "--select", "no-retry") == (0, "")


def test_settings_from_a_file_and_the_command_line_over_them(run, spec, tmp_path):
    config = write(
        tmp_path / "lint.yaml",
        **{"select": ["unpinned-image", "no-limits"], "fail-on": "warning", "format": "json"},
    )
    code, text = run(spec, "--config", config)
    assert code == 1
    assert [f["rule"] for f in json.loads(text)["findings"]] == ["unpinned-image", "no-limits"]
    code, text = run(
        spec, "--config", config, "--format=text", "--fail-on=error", "--select=no-limits"
    )
    assert (code, text.splitlines()[-1]) == (0, "1 note")
    more = {"allow-image": ["x"], "ignore": ["unpinned-image"], "style": True, "target": ["kfp"]}
    config = write(tmp_path / "lint.yaml", **more | {"min-severity": "note"})
    text = run(spec, "--config", config)[1]
    assert "image-not-allowed" in text and "no-limits" in text


def test_suppressed_findings_are_counted_and_unused_suppressions_reported(run, spec, tmp_path):
    accepted = [
        {"rule": "unpinned-image", "place": "exec-work", "reason": "rebuilt each night"},
        {"rule": "no-retry", "place": "root/*", "reason": "it was needed once"},
    ]
    config = write(tmp_path / "lint.yaml", suppress=accepted)
    code, text = run(spec, "--config", config)
    lines = text.splitlines()
    assert code == 0 and lines[-1] == "1 warning, 1 note, 1 suppressed"
    assert "unpinned-image" not in text
    number = next(
        i for i, each in enumerate(config.read_text().splitlines(), 1) if "root/*" in each
    )
    assert lines[-3] == (
        f"{config}:{number}: warning unused-suppression: no-retry at root/*: "
        "the suppression matches nothing"
    )


def test_a_suppression_for_another_file_is_not_unused(run, spec, tmp_path):
    stale = {"rule": "bad-quantity", "place": "exec-*", "reason": "the other one's"}
    config = write(tmp_path / "lint.yaml", suppress=[stale])
    assert "unused-suppression" in run(spec, "--config", config)[1]
    assert "unused-suppression" not in run(spec, "--config", config, "--partial")[1]
    config = write(tmp_path / "lint.yaml", suppress=[stale | {"file": "other/*.yaml"}])
    assert "unused-suppression" not in run(spec, "--config", config)[1]
    config = write(tmp_path / "lint.yaml", suppress=[stale | {"file": "spec.yaml"}])
    assert "unused-suppression" in run(spec, "--config", config)[1]


def test_a_suppression_may_name_its_file(run, spec, tmp_path):
    accepted = {"rule": "unpinned-image", "place": "*", "reason": "why", "file": "spec.yaml"}
    config = write(tmp_path / "lint.yaml", suppress=[accepted])
    assert run(spec, "--config", config)[1].splitlines()[-1] == "1 note, 1 suppressed"
    (tmp_path / "twin.yaml").write_text(spec.read_text())
    last = run(spec, tmp_path / "twin.yaml", "--config", config)[1].splitlines()[-1]
    assert last == "1 warning, 2 notes, 1 suppressed"


def test_a_baseline_accepts_what_is_known_wherever_its_line_is(run, spec, tmp_path):
    twin, known = tmp_path / "twin.yaml", tmp_path / "known.json"
    twin.write_text(spec.read_text())
    assert run(twin, "--style", "--write-baseline", known) == (0, "")
    twin.write_text("# a line\n" + spec.read_text())
    code, text = run(twin, "--style", "--baseline", known, "--fail-on", "note")
    assert (code, text.splitlines()[-1]) == (0, "3 suppressed")
    twin.write_text(spec.read_text().replace("soda:latest", "soda"))
    code, text = run(twin, "--style", "--baseline", known, "--fail-on", "note")
    assert (code, text.splitlines()[-1]) == (1, "1 warning, 2 suppressed")
    assert run(twin, "--baseline", twin)[0] == 2
    assert run(twin, "--baseline", tmp_path / "none")[0] == 2


def test_the_worst_comes_first(run, tmp_path):
    documents = clean()
    put(documents, "0.root.dag.tasks.tell.componentRef.name", "gone")
    put(documents, "0.deploymentSpec.executors.exec-count.container.image", "soda")
    put(documents, "0.root.inputDefinitions.parameters.word.description", "")
    put(documents, "1.platforms.kubernetes.deploymentSpec.executors.exec-told", {})
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    found = json.loads(run(file, "--format", "json")[1])["findings"]
    order = [(["error", "warning", "note"].index(f["severity"]), f["line"]) for f in found]
    assert order == sorted(order) and len({severity for severity, _ in order}) == 3


def test_folders_and_patterns_stand_for_the_pipelines_in_them(run, spec, tmp_path, monkeypatch):
    (tmp_path / "a b" / "c").mkdir(parents=True)
    (tmp_path / "a b" / "c" / "my spec.yaml").write_text(spec.read_text())
    (tmp_path / "a b" / "values.yaml").write_text("key: {{ .Values.broken")
    (tmp_path / "a b" / "job.json").write_text('{"a": 1}')
    monkeypatch.chdir(tmp_path)
    for words in (["a b"], ["**/*.yaml"], ["a b/**/*.yaml"], [str(tmp_path / "**" / "*.yaml")]):
        code, text = run(*words, "--select", "unpinned-image")
        assert code == 0 and text.splitlines()[-1] == "1 warning" and "my spec.yaml:" in text
    for words in (["nothing/**"], ["a b/*.json"]):
        code, text = run(*words)
        assert code == 2 and text.count("\n") == 1


def test_one_bad_file_does_not_hide_what_is_in_the_others(run, spec, tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    code, text = run(tmp_path / "bad.yaml", spec, tmp_path / "none", "--select=unpinned-image")
    assert code == 2 and "1 warning" in text
    assert "bad.yaml: expected YAML" in text and "none: expected a pipeline" in text


def test_a_closed_pipe_ends_it_without_a_word(spec):
    command = f"{sys.executable} -m soda lint --style {spec} {spec} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "" and "unpinned-image" in done.stdout


def test_the_action_takes_names_with_blanks_and_patterns(spec, tmp_path):
    step = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][-1]
    python = tmp_path / "python"  # what it installs is here already
    python.write_text(
        f'#!/bin/sh\n[ "$2" = pip ] && exit\nshift 3\nPYTHONPATH={ROOT} exec {sys.executable} '
        '-m soda lint "$@"\n'
    )
    python.chmod(0o755)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("my spec.yaml", "deep/er/spec.yaml"):
        (tmp_path / name).write_text(spec.read_text())
    given = {
        "SPECS": "my spec.yaml\n\ndeep/**/*.yaml\n",
        "PYTHON": str(python),
        "ACTION": str(ROOT),
    }
    given |= {"TARGET": "", "CONFIG": "", "FAIL_ON": "warning", "SARIF": "out.sarif"}
    done = subprocess.run(
        ["bash", "-c", step["run"]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]} | given,
    )
    assert done.returncode == 1, done.stderr
    for name in ("my spec.yaml", "deep/er/spec.yaml"):
        assert f"::warning file={name},line=" in done.stdout
    assert len(json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]) == 4


def test_the_version_is_sodas():
    project = tomllib.loads((ROOT / "soda" / "lint" / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__ == soda.__version__


GOOD = {"rule": "no-retry", "place": "*", "reason": "why"}


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"ignored": []}, "expected keys among"),
        ({"select": ["no-such"]}, "select: expected a rule of --list-rules, found 'no-such'"),
        ({"ignore": "no-retry"}, "ignore: expected a list of texts"),
        ({"fail-on": "never"}, "fail-on: expected one of error, warning, note, found 'never'"),
        ({"format": "xml"}, "format: expected one of text, json"),
        ({"suppress": {"rule": "no-retry"}}, "suppress: expected a list"),
        (
            {"suppress": [GOOD, GOOD | {"reason": " "}]},
            ":[0-9]: suppress: reason: expected some te",
        ),
        ({"suppress": [{"rule": "no-retry", "place": "*"}]}, "expected rule, place, reason"),
        ({"target": ["azure"]}, "target: expected one of kfp, vertex, local, found 'azure'"),
        ({"style": "yes"}, "style: expected one of True, False, found 'yes'"),
        ({"suppress": [GOOD | {"rule": "no-such"}]}, "expected a rule of --list-rules"),
        ([1], "expected keys among"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(tree, reason, run, spec, tmp_path):
    config = tmp_path / "lint.yaml"
    config.write_text(yaml.safe_dump(tree))
    from soda.lint.config import read_config

    with pytest.raises(LintError, match=f"lint.yaml.*{reason}"):
        read_config(str(config))
    code, text = run(spec, "--config", config)
    assert code == 2 and text.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "expected a SPEC, found none"),
        (["none.yaml"], "none.yaml: expected a pipeline, found no such file"),
        (["x", "--select", "no-such"], "--select: expected a rule"),
        (["--explain", "no-such"], "--explain: expected a rule"),
    ],
)
def test_a_refusal_is_one_line_and_exit_2(arguments, reason, run):
    code, text = run(*arguments)
    assert code == 2 and reason in text and text.count("\n") == 1


@pytest.mark.parametrize("text", [None, "a: [", "prepare-prompts: {}", "root: [a]"])
def test_a_file_without_a_pipeline_is_refused_in_one_line(text, tmp_path, run):
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(LintError, match=r"spec.yaml: expected"):
        load(file)
    code, printed = run(file)
    assert code == 2 and printed.count("\n") == 1


def test_empty_parts_are_no_fault_of_the_reader(spec):
    documents = load(spec)
    documents[0]["components"] = None
    documents[0]["deploymentSpec"] = None
    assert "unknown-component" in {each.rule for each in lint(documents)}


def test_every_rule_is_listed_and_explained(run):
    code, text = run("--list-rules")
    assert code == 0 and [line.split()[0] for line in text.splitlines()] == list(RULES)
    for name, rule in RULES.items():
        code, text = run("--explain", name)
        assert code == 0
        assert text.startswith(f"{name} ({rule.severity}): {rule.summary}\n\n")
        assert f"\nTrue of: {', '.join(rule.targets)}" in text
        assert text.endswith(f"\nFix: {rule.fix}\n") and len(text.splitlines()) >= 5


def test_the_page_names_every_rule_with_its_severity_and_meaning():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "lint.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    rules = [(row[0].strip("`"), *row[1:]) for row in rows if row[0].startswith("`")]
    assert rules == [
        (r.id, r.severity, "all" if r.targets == TARGETS else ", ".join(r.targets), r.summary)
        for r in RULES.values()
    ]
    traps = [row[1] for row in rows if len(row) == 2 and "`" in row[1]]
    named = {name.strip("`") for cell in traps for name in cell.split(", ")}
    assert len(traps) > 10 and named <= set(RULES)


def test_lint_needs_the_standard_library_and_pyyaml_alone(spec, tmp_path):
    (tmp_path / "yaml").symlink_to(Path(yaml.__file__).parent)
    code = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; "
    code += "from soda.cli import main; main()"
    # -S: no installed package is found
    command = [sys.executable, "-S", "-c", code, str(tmp_path), str(ROOT)]
    for words, said in ((["--help"], "lint "), (["lint", "--fail-on=warning", str(spec)], "1 war")):
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, env={}, cwd=tmp_path
        )
        assert said in done.stdout, done.stderr
        assert done.returncode == (words[0] == "lint")


def test_the_folder_is_a_package_of_its_own(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "soda" / "lint")
    name = build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        wheel.extractall(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 1 << 20
    (tmp_path / "yaml").symlink_to(Path(yaml.__file__).parent)
    for folder in ("soda", "pipelines"):  # as a repository may have them
        (tmp_path / folder).mkdir()
    code = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]; import runpy; runpy.run_module('soda_lint')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path), str(spec)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.endswith("1 warning, 1 note\n") and done.returncode == 0, done.stderr
