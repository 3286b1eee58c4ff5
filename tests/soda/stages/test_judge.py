"""The judge after training: win rates over base, warmed-up student, champion and others."""

import json

import pytest

import soda
from soda.artifacts.kinds import Report
from soda.errors import ConfigError, DataError
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
    """A judge's server that gives each answer a score, by the paper's protocol.

    Its own answers are as good as a student's best, and to "Refuse" it has none.
    """

    def reply(body, times):
        answers = shown(body["messages"])
        if not answers and body["messages"][-1]["content"].startswith("Refuse"):
            return completion("", finish="content_filter")
        scores = " ".join(str(score(text)) for text in answers)
        return completion(scores or f"{GOOD} of the judge's own")

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
    assert base["changes"]["rouge_l"] == {"mean": 0.1, "better": "higher"}
    assert "turns: one" in base["slices"] and set(told["opponents"]) == {"base"}
    assert told["biases"][0]["label"] == "prefers the answer shown first"
    rows = list(found.read_rows(Report.SAMPLES))
    assert [row["judged"]["base"] for row in rows] == [1] * 20 + [0] * 4
    assert found.log("cost") == {"train_seconds": 3} and found.eval_inputs == {}
    assert found.eval_config == report.manifest.config
    page = (found.path / Report.PAGE).read_text()
    assert "A judge prefers it to base in 83.3% of 24 prompts" in page


def test_every_model_is_scored_beside_the_judges_own_answers_set_by_set(tmp_path):
    """As in the paper: R is the judge's own answer's score, and it is asked once a prompt."""
    rows = [sample(n, warmed=f"{GOOD} w{n}", warmed_right=None) for n in range(12)]
    rows += [
        sample(n, after=BAD, warmed=f"{GOOD} w{n}", warmed_right=None, teacher=None)
        | {"id": f"vicuna-80:{n}", "set": "vicuna-80"}
        for n in range(12, 25)
    ]
    rows[-1]["prompt"] = [{"role": "user", "content": "Refuse this."}]
    report = make_report(tmp_path / "report", rows, three_figures())
    with scorer(quality) as server:
        config = {"judge": judge(server, calibration=0)}
        config["opponents"] = ["base", "warmed", "teacher"]
        found = run(tmp_path, report, **config)
        assert all(server.asked[row["prompt"][-1]["content"]] == 1 for row in rows)
    told = found.figures()["judge"]
    scores = told["scores"]
    assert list(scores["models"]) == ["base", "warmed", "student", "teacher"]
    means = {
        name: [each["mean"] for each in one["sets"].values()]
        for name, one in scores["models"].items()
    }
    assert means["base"] == [*means["teacher"][:1], 25] == [25, 25]  # 3 / (3 + 9)
    assert means["warmed"] == [50, 50] and means["student"] == [50, 25]
    assert means["teacher"][1] is None  # it was not asked the set's prompts
    assert scores["models"]["student"]["sets"]["vicuna-80"]["prompts"] == 12
    assert scores["references"] == {"answered": 24, "refused": 1}
    base, warmed = told["opponents"]["base"], told["opponents"]["warmed"]
    assert base["prompts"] == 12 and base["win_rate"]["mean"] == 1
    assert base["sets"]["vicuna-80"]["win_rate"]["mean"] == 0.5
    assert warmed["sets"]["vicuna-80"]["win_rate"]["mean"] == 0
    assert told["opponents"]["teacher"]["sets"] == {}
    verdicts = list(found.read_rows(Report.VERDICTS))
    kept = {(row["candidate"], row["opponent"], row["set"]) for row in verdicts}
    assert {("student", "base", "vicuna-80"), ("warmed", "reference", "test")} <= kept
    answers = [row["judge_answer"] for row in found.read_rows(Report.SAMPLES)]
    assert answers == [f"{GOOD} of the judge's own"] * 24 + [None]
    assert "| student | 50.0 (50.0 to 50.0) | 25.0 (25.0 to 25.0) |" in (
        found.path / Report.TABLE
    ).read_text().replace("\\", "")


def test_without_scores_the_judge_is_asked_for_no_answer_of_its_own(tmp_path):
    report = make_report(tmp_path / "report", [sample(n) for n in range(12)])
    with fake_teacher(lambda body, times: completion("[[A]]")) as server:
        asked = judge(server, protocol="pairwise", calibration=0)
        found = run(tmp_path, report, judge=asked)
        assert server.asked["Question 1?"] == 0
    assert found.figures()["judge"]["scores"] is None


@pytest.mark.parametrize("name", ["base", "student", "reference"])
def test_another_report_has_a_name_of_its_own(tmp_path, name):
    report = make_report(tmp_path / "report", [sample(1)])
    with pytest.raises(ConfigError, match=f"others: expected names of their own, found '{name}'"):
        run(tmp_path, report, others={name: str(report.path)})


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
