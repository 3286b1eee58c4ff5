"""soda report: a page of artifacts alone, with lineage, time and cost of the steps it knows."""

import pytest

from soda.artifacts.kinds import Model
from soda.cli import main
from soda.stages.eval import EvalConfig
from tests.soda.stages.test_judge import make_report, run, sample


def reported(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, words)])
    return ended.value.code, capsys.readouterr().err


def test_the_page_holds_what_the_artifacts_say(tmp_path, capsys):
    report = make_report(tmp_path / "report", [sample(n, expected="good") for n in range(12)])
    judged = run(tmp_path, report)
    out = tmp_path / "pages" / "page.html"
    code, _ = reported(capsys, judged.path, report.path, "--out", out)
    page = out.read_text()
    assert code == 0 and "Steps, time and cost" in page and "A judge prefers it to base" in page
    order = [page.index(f'<th scope="row">{stage}<small>soda') for stage in ("eval", "judge")]
    assert order == sorted(order) and report.digest[:12] in page
    assert (
        "bootstrap_samples: 2000" in page and "not known" not in page.split("Do it again")[0][-900:]
    )


def test_one_report_is_enough_and_a_stranger_is_refused(tmp_path, capsys):
    report = make_report(tmp_path / "report", [sample(1)])
    assert reported(capsys, report.path, "--out", tmp_path / "p.html")[0] == 0
    with Model.create(tmp_path / "model", config=EvalConfig(), inputs={}) as writer:
        writer.facts["weights_digest"] = "a"
    code, err = reported(capsys, report.path, tmp_path / "model", "--out", tmp_path / "q.html")
    assert code == 2 and "expected what the report was made of" in err
    code, err = reported(capsys, tmp_path / "model", "--out", tmp_path / "q.html")
    assert code == 2 and "expected one report, found 0" in err
    assert not (tmp_path / "q.html").exists()
