"""The judge after training: win rates over base, warmed-up student, champion and others."""

import json

import pytest

import soda
from soda.artifacts.kinds import Report
from soda.errors import DataError
from soda.registry.registry import Registry
from soda.stages.eval import EvalConfig
from tests.fakes.judges import shown
from tests.fakes.teacher import completion, fake_teacher
from tests.soda.evaluation.test_report import some_figures, three_figures

GOOD, BAD = "a good answer", "a poor one"


def sample(number, after=GOOD, before=BAD, expected=None, **more):
    prompt = [{"role": "user", "content": f"Question {number}?"}]
    row = {"id": f"p{number}", "set": "test", "prompt": prompt, "teacher": "the teacher's"}
    row["reference"] = None
    row |= {"before": f"{before} {number}", "after": f"{after} {number}", "expected": expected}
    return row | {"before_right": None, "after_right": None} | more


def make_report(path, samples, figures=None):
    with Report.create(path, config=EvalConfig(), inputs={}) as writer:
        for row in samples:
            writer.write(Report.SAMPLES, row)
        text = json.dumps(figures or some_figures())
        (writer.path / Report.FIGURES).write_text(text)
        (writer.path / Report.CHARTS).write_text("[]")
        (writer.path / "logs").mkdir()
        (writer.path / "logs" / "cost.json").write_text('{"train_seconds": 3}')
    return Report.open(path)


def run(root, report, out="judged", **config):
    return soda.run("judge", inputs={"report": report.path}, config=config, out=root / out)


def scorer(score):
    """A judge's server that gives each answer a score, by the paper's protocol."""

    def reply(body, times):
        return completion(" ".join(str(score(text)) for text in shown(body["messages"])))

    return fake_teacher(reply)


def judge(server, **changed):
    asked = {"base_url": server.url, "model": "judge-1", "protocol": "scores", "calibration": 6}
    return asked | changed


def quality(text):
    return 9 if text.startswith(GOOD) else 3


def test_a_better_student_wins_and_the_report_says_so_beside_the_judges_bias(tmp_path):
    worse = [sample(n, after=BAD, before=GOOD) for n in range(20, 24)]
    report = make_report(tmp_path / "report", [sample(n) for n in range(20)] + worse)
    with scorer(quality) as server:
        found = run(tmp_path, report, judge=judge(server))
        asked = sum(server.asked.values())
        again = run(tmp_path, report, "again", judge=judge(server))
        assert sum(server.asked.values()) == asked and found.digest == again.digest
    told = found.figures()["judge"]
    base = told["opponents"]["base"]
    assert base["win_rate"]["mean"] == pytest.approx(20 / 24) and base["win_rate"]["low"] > 0.5
    assert base["counts"]["wins"] == 20 and base["counts"]["losses"] == 4
    assert base["relative_score"] == pytest.approx((20 * 75 + 4 * 25) / 24)
    assert base["changes"]["rouge_l"] == {"mean": 0.1, "better": "higher"}
    assert "turns: one" in base["slices"] and set(told["opponents"]) == {"base"}
    assert told["biases"][0]["label"] == "prefers the answer shown first"
    rows = list(found.read_rows(Report.SAMPLES))
    assert [row["judged"]["base"] for row in rows] == [1] * 20 + [0] * 4
    assert found.log("cost") == {"train_seconds": 3} and found.eval_inputs == {}
    assert found.eval_config == report.manifest.config
    page = (found.path / Report.PAGE).read_text()
    assert "A judge prefers it to base in 83.3% of 24 prompts" in page


def test_an_answer_that_is_only_longer_wins_less_at_equal_length(tmp_path):
    rows = [sample(n, after="long " * (1 + n % 7), before="long") for n in range(40)]
    report = make_report(tmp_path / "report", rows)
    with scorer(lambda text: min(10, 1 + len(text) // 4)) as server:
        found = run(tmp_path, report, judge=judge(server, calibration=0))
    base = found.figures()["judge"]["opponents"]["base"]
    assert base["length_controlled"]["mean"] < base["win_rate"]["mean"]


def test_champion_warmed_up_student_and_others_are_opponents_too(tmp_path, capsys):
    rows = [sample(n, warmed=f"{BAD} w{n}", warmed_right=None) for n in range(12)]
    report = make_report(tmp_path / "report", rows, three_figures())
    seqkd = make_report(tmp_path / "seqkd", [sample(n, after=f"{GOOD} s") for n in range(10)])
    earlier = make_report(tmp_path / "earlier", [sample(n, after=BAD) for n in range(12)])
    registry = Registry(tmp_path / "registry")
    names = {"registry": str(tmp_path / "registry"), "name": "tiny"}
    with scorer(quality) as server:
        config = {"judge": judge(server, calibration=0), "others": {"seqkd": str(seqkd.path)}}
        first = run(tmp_path, report, "first", **config, **names).figures()["judge"]
        assert set(first["opponents"]) == {"base", "warmed", "seqkd"}
        assert "tiny has no champion yet" in capsys.readouterr().err
        folders = {"model": earlier.path, "report": earlier.path}
        lineage = {"model_digest": "a", "report_digest": earlier.digest}
        registry.add("tiny", lineage, folders=folders, card="#")
        registry.promote("tiny", "champion", 1)
        found = run(tmp_path, report, "second", **config, **names).figures()["judge"]["opponents"]
    assert found["champion"]["digest"] == earlier.digest
    assert found["champion"]["win_rate"]["mean"] == 1 and found["warmed"]["win_rate"]["mean"] == 1
    assert found["seqkd"]["win_rate"]["mean"] == 0.5 and found["seqkd"]["prompts"] == 10
    assert found["champion"]["changes"]["rouge_l"]["mean"] == 0


def test_without_a_judge_verifiers_compare_what_is_checkable(tmp_path):
    rows = [sample(n, expected="good" if n % 2 else None) for n in range(30)]
    found = run(tmp_path, make_report(tmp_path / "report", rows)).figures()["judge"]
    assert found["name"] == "verifier" and found["opponents"]["base"]["prompts"] == 15
    none = run(tmp_path, make_report(tmp_path / "none", [sample(1)]), "b").figures()["judge"]
    assert none["opponents"]["base"]["win_rate"]["mean"] is None
    assert "not measured, 0 clear verdicts" in none["opponents"]["base"]["said"]


def test_a_report_on_other_prompts_is_refused(tmp_path):
    report = make_report(tmp_path / "report", [sample(1)])
    other = make_report(tmp_path / "other", [sample(2)])
    with pytest.raises(DataError, match="expected answers to the same prompts, found none"):
        run(tmp_path, report, others={"seqkd": str(other.path)})
