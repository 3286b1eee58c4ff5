import re
from html.parser import HTMLParser
from typing import Any

import pytest

from soda.evaluation.report import render_html, render_markdown
from soda.training.run.metrics import CheckFigures, Row, StepFigures
from soda.training.run.position import Position

Interval = tuple[float, float, float]


def a_metric(label: str, better: str, change: Interval) -> dict[str, Any]:
    mean, low, high = change
    return {
        "label": label,
        "better": better,
        "count": 9,
        "before": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "after": {"mean": 0.5 + mean, "low": 0.4 + mean, "high": 0.6 + mean},
        "change": {"mean": mean, "low": low, "high": high},
    }


def a_training(**changed: Any) -> dict[str, Any]:
    return {
        "method": "dpo",
        "loss": {"name": "dpo", "beta": 0.1},
        "epochs": 1,
        "learning_rate": 5e-6,
        "batch_size": 32,
        "train_rows": 14,
        "validation_rows": 6,
        "checkpoint": {"step": 3, "steps": 4, "chosen_by": "last step", "validation_logp": -1.0},
        "stopped_early": None,
    } | changed


def some_figures(**changed: Any) -> dict[str, Any]:
    return {
        "split": "test",
        "prompts": 9,
        "pairs": 8,
        "metrics": {
            "rouge_l": a_metric("ROUGE-L", "higher", (0.1, 0.05, 0.15)),
            "exact_match": a_metric("answered right", "higher", (0.1, -0.05, 0.25)),
            "length_ratio": a_metric("length", "none", (-0.3, -0.4, -0.2)),
            "repetitive": a_metric("answers that repeat", "lower", (-0.1, -0.2, -0.05)),
        },
        "scripts": {},
        "lm_eval": {"soda_facts": {"acc": {"before": 0.3, "after": 0.35, "stderr": 0.06}}},
        "rows": {"prompts": 30, "pairs": 28, "drops": {"same_answer": 2}},
        "trainings": [a_training()],
        "teacher": {"endpoint": "https://teacher.example/v1", "model": "a-teacher"},
        "models": {"before": "base", "after": "student"},
        "weights": {"before": "def", "after": "abc"},
    } | changed


def a_sample(name: str = "one", **changed: Any) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": [{"role": "user", "content": "What is the capital of France?"}],
        "teacher": "Paris.",
        "before": "Lyon.",
        "after": "Paris.",
        "expected": "Paris",
        "before_right": False,
        "after_right": True,
    } | changed


def a_step(phase: int, step: int, name: str, loss: float, **means: float) -> Row:
    return Row(Position(phase, step), name, StepFigures(loss, 1.0, 1e-3, means))


CURVE = [
    Row(Position(0, 0), "sft", CheckFigures(-1.0, -20.0)),
    a_step(0, 1, "sft", 1.5),
    a_step(0, 2, "sft", float("nan")),
    a_step(1, 1, "dpo", 0.7, chosen_reward=0.0),
    a_step(1, 2, "dpo", 0.6, chosen_reward=0.1),
]


class Balance(HTMLParser):
    """Notes the tags, and fails where one is closed that is not the last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[str]:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return parser.seen


def test_the_page_is_whole_and_fetches_nothing() -> None:
    page = render_html(some_figures(), [a_sample()], [CURVE])
    found = tags(page)
    assert page.startswith("<!DOCTYPE html>")
    assert {"script", "link", "img", "iframe"}.isdisjoint(found)
    assert not re.search(r"url\(|@import|(?:src|href)=", page)
    assert "nan" not in re.findall(r"[\w.]+", page)


@pytest.mark.parametrize("field", ["teacher", "before", "after", "expected", "id"])
def test_answers_cannot_write_html(field: str) -> None:
    evil = "</div><script>alert(1)</script>"
    page = render_html(some_figures(), [a_sample(**{field: evil})], [])
    assert "script" not in tags(page)
    assert "&lt;script&gt;alert(1)" in page


def test_half_a_character_does_not_stop_the_report() -> None:
    page = render_html(some_figures(), [a_sample(after="\ud83d")], [])
    page.encode("utf-8")


def test_the_verdict_counts_only_intervals_clear_of_zero() -> None:
    text = render_markdown(some_figures())
    assert "Better on 2 of 3 metrics, worse on none." in text
    assert "Better: ROUGE-L (+0.100); answers that repeat (-0.100)." in text
    assert "Not clear: answered right (+0.100)." in text
    assert "Not judged: length (-0.300)." in text


@pytest.mark.parametrize(
    ("better", "change"),
    [("higher", (-0.1, -0.2, -0.05)), ("lower", (0.1, 0.05, 0.2))],
)
def test_the_verdict_says_what_got_worse(better: str, change: Interval) -> None:
    figures = some_figures(metrics={"one": a_metric("this one", better, change)})
    assert "Better on 0 of 1 metrics, worse on 1." in render_markdown(figures)
    assert "Worse: this one" in render_html(figures, [], [])


def test_the_verdict_says_that_training_stopped_early() -> None:
    trainings = [a_training(method="sft"), a_training(stopped_early="the reward fell")]
    text = render_markdown(some_figures(trainings=trainings))
    assert "Training (dpo) stopped early: the reward fell." in text
    assert "(sft) stopped" not in text


def test_a_report_can_be_nearly_empty() -> None:
    rows = {"prompts": 9, "pairs": 9, "drops": {}}
    figures = some_figures(metrics={}, lm_eval={}, rows=rows, trainings=[])
    page = render_html(figures, [], [])
    tags(page)
    assert "lm-eval</h2>" not in page
    assert "No training log" in page
    assert "Dropped: none." in render_markdown(figures)


def test_every_phase_has_its_charts() -> None:
    page = render_html(some_figures(), [], [CURVE])
    titles = re.findall(r"<strong>(\w+: [^<]+)</strong>", page)
    assert titles == [
        "sft: loss",
        "sft: log-likelihood of the teacher&#39;s answers",
        "dpo: loss",
        "dpo: rewards",
    ]
    assert "Training: 0.700 at step 1, 0.600 at step 2." in page


def test_a_long_curve_is_thinned() -> None:
    curve = [a_step(0, step, "sft", 1.0) for step in range(1, 5001)]
    page = render_html(some_figures(), [], [curve])
    assert len(page) < 30_000
    assert "at step 5000" in page


def test_many_answers_are_folded_away() -> None:
    samples = [a_sample(str(number)) for number in range(43)]
    page = render_html(some_figures(), samples, [])
    assert "<summary>3 more</summary>" in page
    assert tags(page).count("article") == 43


def test_the_markdown_table_has_every_metric() -> None:
    figures = some_figures()
    rows = [line for line in render_markdown(figures).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(figures["metrics"])
    assert "| ROUGE-L | 0.500 | 0.600 | +0.100 (+0.050 to +0.150) | ✓ better |" in rows
    assert "30 prompts gave 28 pairs. Dropped: 2 `same_answer`." in render_markdown(figures)


def three_figures() -> dict[str, Any]:
    """The same with the warmed-up student between base and student."""
    figures = some_figures(
        models={"before": "base", "warmed": "warmed up", "after": "student"},
        weights={"before": "def", "warmed": "ghi", "after": "abc"},
    )
    for metric in figures["metrics"].values():
        metric["warmed"] = {"mean": 0.55, "low": 0.45, "high": 0.65}
        metric["change_by_warm_up"] = {"mean": 0.05, "low": 0.01, "high": 0.09}
        metric["change_since_warm_up"] = {"mean": 0.04, "low": -0.02, "high": 0.1}
    figures["lm_eval"]["soda_facts"]["acc"]["warmed"] = 0.33
    figures["trainings"] = [a_training(method="sft", loss=None), a_training()]
    return figures


def test_the_warmed_up_student_stands_between_base_and_student() -> None:
    text = render_markdown(three_figures())
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert head == (
        "| metric | base | warmed up | student | change from base (95 % interval) "
        "| change since the warm-up (95 % interval) | |"
    )
    assert rows[0] == (
        "| ROUGE-L | 0.500 | 0.550 | 0.600 | +0.100 (+0.050 to +0.150) "
        "| +0.040 (-0.020 to +0.100) | ✓ better |"
    )
    assert "Since the warm-up alone: better on 0 of 3 metrics, worse on none." in text


def test_the_page_shows_all_three_and_what_was_done() -> None:
    sample = a_sample(warmed="Nice.", warmed_right=False)
    page = render_html(three_figures(), [sample], [CURVE[:3], CURVE[3:]])
    tags(page)
    for text in ("Base, Warmed up, Student", "Nice.", "weights, warmed up", ">0.330<"):
        assert text in page
    assert "1. sft: 1 epoch(s) over 14 rows" in page
    assert "2. dpo with the loss dpo: 1 epoch(s)" in page
    assert "step 3 of 4, chosen by last step" in page


def test_scripts_are_shown_where_prompts_mix_them():
    of_words = {"rouge_l": a_metric("ROUGE-L", "higher", (0.2, 0.1, 0.3))}
    scripts = {
        "Thai": {"prompts": 6, "metrics": of_words},
        "none": {"prompts": 3, "metrics": {}},
    }
    figures = some_figures(scripts=scripts)
    assert "| Thai | 6 | +0.200 (+0.100 to +0.300) |" in render_markdown(figures)
    assert "| none | 3 |  |  |  |" in render_markdown(figures)
    page = render_html(figures, [a_sample()], [])
    assert "By script of the prompt" in page and "Thai" in page and "+0.200" in page
    assert "script of the prompt" not in render_markdown(some_figures())
    assert "By script" not in render_html(some_figures(), [a_sample()], [])
