"""Three trainings side by side: figures beside their base's, costs beside SODA's."""

import json
import re
from html.parser import HTMLParser

import pytest

import soda
from soda.artifacts.kinds import Comparison, Report
from soda.cli import main
from soda.errors import ConfigError, DataError
from soda.evaluation.metrics import CHANGES, METRICS, intervals
from soda.stages.eval import EvalConfig

GAINS = {"soda": 0.3, "seqkd": 0.1, "gad": 0.2}
COSTS = {"soda": (100.0, 8.0), "seqkd": (50.0, 6.0), "gad": (1000.0, 12.0)}
BEFORE = [0.2, 0.4, 0.6, 0.4]


def make_report(made, path, method, *, config=None, inputs=None, **changed):
    """Make a report as eval does, of figures that are known."""
    metrics = {}
    for key in ("rouge_l", "length_ratio"):
        after = [value + GAINS[method] for value in BEFORE]
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
        assert found["low"] == pytest.approx(gain) == found["high"]


def test_the_page_and_the_table_say_the_same(reports, tmp_path):
    made = compare(reports, tmp_path / "out")
    page, text = ((made.path / name).read_text() for name in Comparison.PAGES)
    parser = Cells()
    parser.feed(page)
    assert "big &lt;1&gt;" in page and not re.search(r"url\(|@import|(?:src|href)=", page)
    head, rouge, length, seconds, memory = parser.rows
    assert head == ["metric", "base", "soda", "seqkd", "gad"]
    assert rouge[1:] == [
        "0.400",
        "0.700+0.300 to +0.300",
        "0.500+0.100 to +0.100",
        "0.600+0.200 to +0.200",
    ]
    assert seconds == ["training, seconds", "", "100.01.00x", "50.00.50x", "1000.010.00x"]
    lines = text.splitlines()
    assert "on 4 test prompts, taught by `big <1>`" in lines[0]
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4 and len({line.count("|") for line in table}) == 1
    assert table[2].endswith(
        "| 0.400 | 0.700 (+0.300 to +0.300) | 0.500 (+0.100 to +0.100) | 0.600 (+0.200 to +0.200) |"
    )
    assert table[5] == "| peak memory, GiB | | 8.0 (1.00x) | 6.0 (0.75x) | 12.0 (1.50x) |"
    assert length[0] == METRICS["length_ratio"].label and memory[0] == "peak memory, GiB"


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
        (["a", "b", "a"], "compare: expected names that differ, found a, b, a"),
        ([], "compare.names: List should have at least 1 item"),
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
    assert text.startswith("**<GAD>, mine**") and "| 1000.0 (1.00x) | 100.0 (0.10x) |" in text


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
