"""Trainings side by side: figures beside their base's and SODA's, over prompts and seeds."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

import soda
from soda.artifacts.kinds import Comparison, Report
from soda.cli import main
from soda.errors import ConfigError, DataError
from soda.evaluation.metrics import CHANGES, METRICS, intervals
from soda.judging.verdicts import Reading, Verdict
from soda.stages.eval import EvalConfig
from soda.stages.judge import JudgeConfig

GAINS = {"soda": 0.3, "seqkd": 0.1, "gad": 0.2}
COSTS = {"soda": (100.0, 8.0), "seqkd": (50.0, 6.0), "gad": (1000.0, 12.0)}
BEFORE = [0.2, 0.4, 0.6, 0.4]


def make_report(made, path, method, *, config=None, inputs=None, shift=0.0, **changed):
    """Make a report as eval does, of figures that are known."""
    metrics = {}
    after = [value + GAINS[method] + shift for value in BEFORE]
    for key in ("rouge_l", "length_ratio"):
        models = {"before": BEFORE, "after": after}
        change = intervals(models, {"change": CHANGES["change"]}, samples=200, seed=0)
        metrics[key] = {"label": METRICS[key].label, "better": METRICS[key].better, **change}
    figures = {
        "split": "test",
        "prompts": len(BEFORE),
        "metrics": metrics,
        "teacher": {"endpoint": "http://t/v1", "model": "big <1>", "identity": ""},
        "weights": {"before": "abc", "after": "xyz"},
        **changed,
    }
    seconds, memory = COSTS[method]
    inputs = {key: made[key] for key in ("base", "teacher", "pairs")} | (inputs or {})
    with Report.create(path, config=config or EvalConfig(), inputs=inputs) as writer:
        (writer.path / "report.json").write_text(json.dumps(figures))
        scores = {
            model: {key: {f"p{place}": each for place, each in enumerate(found)} for key in metrics}
            for model, found in (("before", BEFORE), ("after", after))
        }
        (writer.path / "scores.json").write_text(json.dumps(scores))
        (writer.path / "logs").mkdir()
        cost = {"train_seconds": seconds, "peak_memory_gib": memory}
        (writer.path / "logs" / "cost.json").write_text(json.dumps(cost))
    return Report.open(path)


@pytest.fixture
def reports(made, tmp_path):
    return {method: make_report(made, tmp_path / method, method) for method in GAINS}


def compare(reports, out, names=None):
    inputs = {"reports": [report.path for report in reports.values()]}
    config = {"names": list(reports) if names is None else names}
    return soda.run("compare", inputs=inputs, config=config, out=out)


def command(reports, out):
    """Run the command and return its exit code."""
    words = [word for report in reports.values() for word in ("--reports", str(report.path))]
    words += ["--set", f"names={json.dumps(list(reports))}", "--out", str(out)]
    with pytest.raises(SystemExit) as done:
        main(["compare", *words])
    return done.value.code


class Cells(HTMLParser):
    """Reads the rows of a table, and fails where a tag is closed that is not the last opened."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open.pop() != tag:  # p and html may be left open
            pass

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_every_metric_has_the_bases_figure_and_each_methods(reports, tmp_path):
    made = compare(reports, tmp_path / "out")
    found = json.loads((made.path / "comparison.json").read_text())
    assert found["names"] == ["soda", "seqkd", "gad"]
    assert [row["metric"] for row in found["rows"]] == ["rouge_l", "length_ratio"]
    row = found["rows"][0]
    assert row["base"] == pytest.approx(0.4)
    for method, gain in GAINS.items():
        found = row["trained"][method]
        assert found["mean"] == pytest.approx(0.4 + gain)
        assert found["change"] == pytest.approx({"mean": gain, "low": gain, "high": gain})
        beside = None if method == "soda" else gain - 0.3
        assert (found["beside"] and found["beside"]["mean"]) == pytest.approx(beside)


def test_the_page_and_the_table_say_the_same(reports, tmp_path):
    made = compare(reports, tmp_path / "out")
    page, text = ((made.path / name).read_text() for name in Comparison.PAGES)
    parser = Cells()
    parser.feed(page)
    assert "big &lt;1&gt;" in page and not re.search(r"url\(|@import|(?:src|href)=", page)
    names, beside, _, head, rouge, length, seconds, memory = parser.rows
    assert names == ["metric", "seqkd", "gad"]
    assert beside[1:] == ["-0.200-0.200 to -0.200", "-0.100-0.100 to -0.100"]
    assert head == ["metric", "base", "soda", "seqkd", "gad"]
    assert rouge[1:] == [
        "0.400",
        "0.700+0.300+0.300 to +0.300",
        "0.500+0.100+0.100 to +0.100",
        "0.600+0.200+0.200 to +0.200",
    ]
    assert seconds[1:] == [
        "",
        *(f"{text} times soda’s" for text in ("100.01.00", "50.00.50", "1000.010.00")),
    ]
    lines = text.splitlines()
    assert "on 4 test prompts, taught by big \\<1\\>" in lines[0]
    table = [line for line in text.partition("Difference")[0].splitlines() if line[:1] == "|"]
    assert len(table) == 2 + 4 and len({line.count("|") for line in table}) == 1
    assert table[2].endswith(
        "| 0.400 | 0.700 (+0.300 to +0.300) | 0.500 (+0.100 to +0.100) | 0.600 (+0.200 to +0.200) |"
    )
    assert table[5] == "| peak memory, GiB | | 8.0 (1.00x) | 6.0 (0.75x) | 12.0 (1.50x) |"
    assert length[0] == METRICS["length_ratio"].label and memory[0] == "peak memory, GiB"


def test_of_several_seeds_the_interval_is_wider_and_the_difference_is_paired(made, tmp_path):
    """Two seeds 0.02 apart: Student's t with one degree of freedom, 12.7 standard errors."""
    shifts = {"soda": (0.0, 0.02), "seqkd": (0.01, 0.03)}
    reports, names = {}, []
    for method, both in shifts.items():
        for seed, shift in enumerate(both):
            path = tmp_path / f"{method}-{seed}"
            reports[f"{method}-{seed}"] = make_report(made, path, method, shift=shift)
            names.append(method)
    made = compare(reports, tmp_path / "out", names)
    found = json.loads((made.path / "comparison.json").read_text())
    assert found["seeds"] == {"soda": 2, "seqkd": 2} and found["yardstick"] == "soda"
    seqkd = found["rows"][0]["trained"]["seqkd"]
    assert seqkd["change"]["mean"] == pytest.approx(0.12)
    assert seqkd["change"]["high"] - seqkd["change"]["low"] == pytest.approx(25.4 * 0.01, rel=0.2)
    expected = {"mean": -0.19, "low": -0.19, "high": -0.19}  # the same in both seeds
    assert seqkd["beside"] == pytest.approx(expected)
    assert "seqkd x 2 seeds" in (made.path / "logs/comparison.md").read_text()


def verdicts(scores, candidate="student", opponent="reference"):
    """What a judge said of 20 prompts, each in both orders; a score of 5 is the reference's."""
    for number in range(20):
        readings = [
            Reading(first, float(scores > 5) if scores != 5 else 0.5, "", [scores, 5])
            for first in ("candidate", "baseline")
        ]
        made = Verdict(f"p{number}", "judge-1", "scores", readings, [9, 9])
        yield {"candidate": candidate, "opponent": opponent, "set": "test", **made.to_json()}


def judged_report(made, path, method, score, name="judge-1"):
    """A report as judge makes it, of scores that are known."""
    report = make_report(made, path / "plain", method)
    opponents = {"base": {"title": "base"}}
    judge = {"name": name, "protocol": "scores", "opponents": opponents}
    with Report.create(path / "judged", config=JudgeConfig(), inputs={"report": report}) as writer:
        text = json.dumps(report.figures() | {"judge": judge})
        (writer.path / "report.json").write_text(text)
        shutil.copyfile(report.path / "scores.json", writer.path / "scores.json")
        writer.facts["eval"] = {"config": report.eval_config, "inputs": report.eval_inputs}
        rows = [*verdicts(score, opponent="base"), *verdicts(4, "base"), *verdicts(score)]
        for row in rows:
            writer.write(Report.VERDICTS, row)
    return Report.open(path / "judged")


def test_what_a_judge_said_of_several_seeds_has_an_interval_over_them(made, tmp_path):
    scores = {"soda": (6, 9), "seqkd": (5, 4)}
    names, reports = [], {}
    for method, both in scores.items():
        for seed, score in enumerate(both):
            path = tmp_path / f"{method}-{seed}"
            reports[f"{method}-{seed}"] = judged_report(made, path, method, score)
            names.append(method)
    comparison = compare(reports, tmp_path / "out", names)
    found = json.loads((comparison.path / "comparison.json").read_text())["judged"]
    assert found["name"] == "judge-1"
    [score] = found["scores"]
    assert score["set"] == "test" and score["base"]["mean"] == pytest.approx(400 / 9)
    soda_, seqkd = score["trained"]["soda"], score["trained"]["seqkd"]
    means = [100 * one / (one + 5) for one in (6, 9, 5, 4)]
    assert soda_["mean"] == pytest.approx(sum(means[:2]) / 2) and soda_["seeds"] == 2
    spread = 12.7 * abs(means[1] - means[0]) / 2  # Student's t with one degree of freedom
    assert soda_["mean"] - soda_["low"] == pytest.approx(min(spread, soda_["mean"]), rel=0.2)
    assert soda_["beside"] is None
    assert seqkd["beside"]["mean"] == pytest.approx((sum(means[2:]) - sum(means[:2])) / 2)
    [rate] = found["win_rates"]
    assert rate["opponent"] == "base" and rate["trained"]["seqkd"]["win_rate"]["mean"] == 0.25
    page, text = ((comparison.path / name).read_text() for name in Comparison.PAGES)
    assert "What the judge says" in page and "score, test" in page
    assert "| score, test | 44.4 (44.4 to 44.4) | 59.4 (" in text
    table = [line for line in text.partition("Judged by")[2].splitlines() if line[:1] == "|"]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1


def test_reports_that_were_judged_otherwise_are_refused(made, reports, tmp_path):
    reports["soda"] = judged_report(made, tmp_path / "a", "soda", 6)
    with pytest.raises(DataError, match="expected reports of the same judge"):
        compare(reports, tmp_path / "out")
    both = {name: judged_report(made, tmp_path / name, "soda", 6, name) for name in ("a1", "b1")}
    with pytest.raises(DataError, match="expected reports of the same judge"):
        compare(both, tmp_path / "out")


def test_training_that_took_nothing_is_shown(made, tmp_path, monkeypatch):
    monkeypatch.setitem(COSTS, "soda", (0.0, 0.0))
    reports = {method: make_report(made, tmp_path / method, method) for method in GAINS}
    text = (compare(reports, tmp_path / "out").path / "logs/comparison.md").read_text()
    assert "| training, seconds | | 0.0 (0.00x) |" in text


def test_same_inputs_same_digest_whatever_it_cost(made, reports, tmp_path, monkeypatch):
    first = compare(reports, tmp_path / "first")
    assert compare(reports, tmp_path / "second").digest == first.digest
    monkeypatch.setitem(COSTS, "gad", (2000.0, 24.0))
    dearer = {**reports, "gad": make_report(made, tmp_path / "dearer", "gad")}
    assert compare(dearer, tmp_path / "third").digest == first.digest
    monkeypatch.setitem(GAINS, "gad", 0.0)
    worse = {**reports, "gad": make_report(made, tmp_path / "worse", "gad")}
    assert compare(worse, tmp_path / "fourth").digest != first.digest


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("split", "validation", "split"),
        ("prompts", 5, "prompts"),
        ("teacher", {"endpoint": "http://t/v1", "model": "bigger", "identity": ""}, "teacher"),
        ("weights", {"before": "def"}, "base student"),
    ],
)
def test_reports_of_something_else_are_refused(made, reports, tmp_path, key, value, what):
    reports["gad"] = make_report(made, tmp_path / "other", "gad", **{key: value})
    with pytest.raises(DataError, match=f"expected reports of the same {what}, found .* of gad"):
        compare(reports, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reports_of_as_many_other_prompts_are_refused(made, reports, tmp_path):
    other = {"teacher": made["student"]}  # answers to something else
    reports["seqkd"] = make_report(made, tmp_path / "other", "seqkd", inputs=other)
    with pytest.raises(DataError, match="of the same teacher answers"):
        compare(reports, tmp_path / "out")
    reports["seqkd"] = make_report(
        made, tmp_path / "another", "seqkd", inputs={"pairs": made["student"]}
    )
    with pytest.raises(DataError, match="of the same pairs"):
        compare(reports, tmp_path / "out")


def test_reports_that_were_measured_otherwise_are_refused(made, reports, tmp_path):
    config = EvalConfig(max_new_tokens=8)
    reports["seqkd"] = make_report(made, tmp_path / "other", "seqkd", config=config)
    with pytest.raises(DataError, match="of the same config of eval"):
        compare(reports, tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a", "b"], "compare.names: expected a name for each of 3 reports, found 2"),
        ([], "compare.names: expected at least 1 of them, found \\[\\]"),
    ],
)
def test_names_that_do_not_fit_are_refused(reports, tmp_path, names, what):
    with pytest.raises(ConfigError, match=what):
        compare(reports, tmp_path / "out", names)
    assert not (tmp_path / "out").exists()


def test_the_first_of_any_number_is_the_yardstick_of_cost(reports, tmp_path):
    order = {name: reports[name] for name in ("gad", "soda")}
    text = (
        compare(order, tmp_path / "out", ["<GAD>", "mine"]).path / "logs/comparison.md"
    ).read_text()
    assert text.startswith(r"**\<GAD\>, mine**") and "| 1000.0 (1.00x) | 100.0 (0.10x) |" in text


def test_the_command_makes_what_the_function_makes(reports, tmp_path, capsys):
    code = command(reports, tmp_path / "out")
    assert code == 0, capsys.readouterr().err
    expected = compare(reports, tmp_path / "as-function")
    assert Comparison.open(tmp_path / "out", verify=True).digest == expected.digest


def test_the_command_refuses_in_one_line(made, reports, tmp_path, capsys):
    reports["gad"] = make_report(made, tmp_path / "other", "gad", split="validation")
    code = command(reports, tmp_path / "out")
    [line] = capsys.readouterr().err.splitlines()
    assert code == 2 and line.startswith("soda: compare: expected reports of the same")


@pytest.mark.slow
def test_three_real_trainings_are_compared(made, tmp_path):
    def train(name, data, model, method):
        config = {"method": method, "epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
        config["adversarial"] = {"max_new_tokens": 8, "rollouts": 2}
        inputs = {"data": made[data].path, "model": model.path}
        return soda.run("train", inputs=inputs, config=config, out=tmp_path / f"{name}-model")

    warmed = train("seqkd", "teacher", made["base"], "sft")
    trained = {"seqkd": warmed, "soda": train("soda", "pairs", warmed, "dpo")}
    trained["gad"] = train("gad", "pairs", made["base"], "gad")
    reports = {}
    for name in GAINS:
        inputs = {key: made[key].path for key in ("base", "teacher", "pairs")}
        inputs |= {"warmed": warmed.path, "model": trained[name].path}
        config = {"max_new_tokens": 8, "lm_eval_tasks": [], "bootstrap_samples": 200}
        reports[name] = soda.run("eval", inputs=inputs, config=config, out=tmp_path / name)
    comparison = compare(reports, tmp_path / "out")
    found = json.loads((comparison.path / "comparison.json").read_text())
    assert {row["metric"] for row in found["rows"]} == set(METRICS)
    assert "gad" in (comparison.path / "logs/comparison.html").read_text()
