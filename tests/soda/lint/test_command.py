"""The command: what it prints in each format, its exit codes, settings and refusals."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

from soda.lint import RULES, lint, load
from soda.lint.errors import LintError
from soda.lint.findings import Finding
from soda.lint.report import REPORTS

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """One error (unpinned-image), and warnings and notes."""

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


def test_text_names_file_line_rule_place_and_mend(run, spec):
    code, text = run(spec)
    lines = spec.read_text().splitlines()
    line = next(i for i, each in enumerate(lines, 1) if each.strip() == "image: soda:latest")
    image = RULES["unpinned-image"]
    assert code == 1
    assert text.splitlines()[:2] == [
        f"{spec}:{line}: error unpinned-image: exec-work: "
        "image 'soda:latest' can change under its name",
        f"    {image.fix}",
    ]
    assert text.splitlines()[-1] == "1 error, 1 warning, 1 note"


@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        (["--ignore", "unpinned-image"], 0, "1 warning, 1 note"),
        (["--ignore", "unpinned-image", "--fail-on", "warning"], 1, "1 warning, 1 note"),
        (["--select", "no-security-context"], 0, "1 note"),
        (["--select", "no-security-context", "--fail-on", "note"], 1, "1 note"),
        (["--select", "no-retry,if-on-loop-item", "--fail-on", "note"], 0, "no findings"),
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
    monkeypatch.setattr("sys.stdin", io.StringIO(spec.read_text()))
    code, text = run("-", spec, "--select", "unpinned-image")
    assert code == 1
    assert [line.split(":")[0] for line in text.splitlines() if "error unp" in line] == [
        "<stdin>",
        str(spec),
    ]


def test_json(run, spec):
    code, text = run(spec, "--format", "json")
    tree = json.loads(text)
    assert code == 1 and tree["version"] == 1
    assert tree["counts"] == {"error": 1, "warning": 1, "note": 1, "suppressed": 0}
    assert {tuple(sorted(each)) for each in tree["findings"]} == {
        ("file", "fix", "line", "message", "place", "rule", "severity", "suppressed")
    }


def test_sarif(run, spec, tmp_path):
    accepted = [{"rule": "unpinned-image", "place": "exec-*", "reason": "rebuilt each night"}]
    config = write(tmp_path / "lint.yaml", suppress=accepted)
    code, text = run(spec, "--format", "sarif", "--config", config)
    tree = json.loads(text)
    assert code == 0 and tree["version"] == "2.1.0" and "sarif-2.1.0" in tree["$schema"]
    driver = tree["runs"][0]["tool"]["driver"]
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
    assert (code, text.splitlines()[-1]) == (0, "1 warning")
    config = write(tmp_path / "lint.yaml", **{"allow-image": ["x"], "ignore": ["unpinned-image"]})
    assert "image-not-allowed" in run(spec, "--config", config)[1]


def test_suppressed_findings_are_counted_and_unused_suppressions_reported(run, spec, tmp_path):
    accepted = [
        {"rule": "unpinned-image", "place": "exec-work", "reason": "rebuilt each night"},
        {"rule": "no-retry", "place": "root/*", "reason": "it was needed once"},
    ]
    config = write(tmp_path / "lint.yaml", suppress=accepted)
    code, text = run(spec, "--config", config)
    lines = text.splitlines()
    assert code == 0 and lines[-1] == "2 warnings, 1 note, 1 suppressed"
    assert "unpinned-image" not in text
    number = next(
        i for i, each in enumerate(config.read_text().splitlines(), 1) if "root/*" in each
    )
    assert lines[-3] == (
        f"{config}:{number}: warning unused-suppression: no-retry at root/*: "
        "the suppression matches nothing"
    )


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
        ({"suppress": [{"rule": "no-retry", "place": "*"}]}, "expected rule, place and reason"),
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
        (["none.yaml"], "none.yaml: expected a pipeline, found No such file"),
        (["x", "--select", "no-such"], "--select: expected a rule"),
        (["--explain", "no-such"], "--explain: expected a rule"),
    ],
)
def test_a_refusal_is_one_line_and_exit_2(arguments, reason, run):
    code, text = run(*arguments)
    assert code == 2 and reason in text and text.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "expected a pipeline, found No such file"),
        ("a: [", "expected YAML"),
        ("\x00", "expected YAML"),
        ("", "expected a compiled pipeline"),
        ("prepare-prompts: {}", "expected a compiled pipeline"),
        (yaml.safe_dump({"root": ["a"]}), "expected a compiled pipeline"),
    ],
)
def test_a_file_without_a_pipeline_is_refused_in_one_line(text, reason, tmp_path, run):
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(LintError, match=f"spec.yaml: {reason}") as caught:
        load(file)
    assert "\n" not in str(caught.value)
    assert run(file)[0] == 2


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("root", "dag", "tasks"), ["work"], "root.dag.tasks: expected a mapping, found"),
        (("components",), "x", "components: expected a mapping, found 'x'"),
        (
            ("deploymentSpec", "executors", "exec-work", "container", "command"),
            "sh",
            "deploymentSpec.executors.exec-work.container.command: expected a list, found 'sh'",
        ),
    ],
)
def test_a_broken_spec_is_refused_with_the_broken_place(keys, value, message, spec):
    documents = load(spec)
    tree = documents[0]
    for key in keys[:-1]:
        tree = tree[key]
    tree[keys[-1]] = value
    with pytest.raises(LintError, match=message):
        lint(documents)


def test_empty_parts_are_no_fault_of_the_reader(spec):
    documents = load(spec)
    documents[0]["components"] = None
    documents[0]["deploymentSpec"] = None
    assert {each.rule for each in lint(documents)} == {"unknown-component"}


def test_every_rule_is_listed_and_explained(run):
    code, text = run("--list-rules")
    assert code == 0 and [line.split()[0] for line in text.splitlines()] == list(RULES)
    for name, rule in RULES.items():
        code, text = run("--explain", name)
        assert code == 0
        assert text.startswith(f"{name} ({rule.severity}): {rule.summary}\n\n")
        assert text.endswith(f"\n\nFix: {rule.fix}\n") and len(text.splitlines()) >= 5


def test_the_page_names_every_rule_with_its_severity_and_meaning():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "lint.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    rules = [(row[0].strip("`"), *row[1:]) for row in rows if row[0].startswith("`")]
    assert rules == [(rule.id, rule.severity, rule.summary) for rule in RULES.values()]
    traps = [row[1] for row in rows if len(row) == 2 and "`" in row[1]]
    named = {name.strip("`") for cell in traps for name in cell.split(", ")}
    assert len(traps) > 10 and named <= set(RULES)


def test_lint_needs_the_standard_library_and_pyyaml_alone(spec, tmp_path):
    (tmp_path / "yaml").symlink_to(Path(yaml.__file__).parent)
    code = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; "
    code += "from soda.cli import main; main()"
    # -S: no installed package is found
    command = [sys.executable, "-S", "-c", code, str(tmp_path), str(ROOT)]
    for words, said in ((["--help"], "lint "), (["lint", "--fail-on=warning", str(spec)], "1 err")):
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, env={}, cwd=tmp_path
        )
        assert said in done.stdout, done.stderr
        assert done.returncode == (words[0] == "lint")
