"""soda show: an artifact's rows, its funnel, and the rows of any bucket."""

import json

import pytest

from soda.cli import main
from tests.soda.stages.test_audit import made, pair, rows, run


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    root = tmp_path_factory.mktemp("audited")
    odd = {"p0": pair(0, prompt=pair(900).prompt[0]["content"])}
    return run(root, made(root, rows(12, **odd)))


def shown(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["show", *map(str, words)])
    found = capsys.readouterr()
    return ended.value.code, found.out.splitlines(), found.err


def test_it_says_what_an_artifact_is_and_where_its_rows_were_lost(audited, capsys):
    code, lines, _ = shown(capsys, audited.path)
    assert code == 0 and f"pairs {audited.digest[:12]}, made by audit" in lines[0]
    assert "        16 prompts" in lines
    assert "        15 not refused (lost: 1 teacher_refused)" in lines
    assert "        13 not contaminated (lost: 1 contaminated)" in lines
    assert any(line.startswith("  gap: not measured:") for line in lines)


@pytest.mark.parametrize(
    ("reason", "ids"),
    [
        ("contaminated", ["p0"]),
        ("not contaminated", ["p0"]),
        ("bored", ["d2"]),
        ("different", ["d1"]),
    ],
)
def test_any_bucket_lists_its_rows(audited, capsys, reason, ids):
    code, lines, _ = shown(capsys, audited.path, "--reason", reason)
    assert code == 0 and [json.loads(line)["id"] for line in lines] == ids


def test_what_was_kept_can_be_listed_too(audited, capsys):
    _, lines, _ = shown(capsys, audited.path, "--reason", "kept")
    assert len(lines) == len(audited) == 12


def test_a_bucket_that_is_not_there_is_refused(audited, capsys):
    code, _, err = shown(capsys, audited.path, "--reason", "contaminate")
    assert code == 2 and "did you mean 'contaminated'?" in err
    code, _, err = shown(capsys, audited.path.parent)
    assert code == 2 and err.count("\n") == 1


def test_a_folder_that_is_not_there_is_refused_as_an_artifact_of_any_kind(tmp_path, capsys):
    code, _, err = shown(capsys, tmp_path / "none")
    assert code == 2 and "none: expected a folder with an artifact, found nothing" in err
