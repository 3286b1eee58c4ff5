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
        "lm_eval": {"soda_facts": {"acc": {"before": 0.3, "after": 0.35, "stderr": 0.06}}},
        "rows": {"prompts": 30, "pairs": 28, "drops": {"same_answer": 2}},
        "train": {"stopped_early": None, "train_pairs": 14, "validation_pairs": 6},
        "teacher": {"endpoint": "https://teacher.example/v1", "model": "a-teacher"},
        "weights_digest": "abc",
        "base_weights_digest": "def",
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
    Row(Position(0, 0), "sft", CheckFigures(-1.0, 0.0, 0.0)),
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
    page = render_html(some_figures(), [a_sample()], CURVE)
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
    train = {"stopped_early": "the reward fell", "train_pairs": 1, "validation_pairs": None}
    assert "Training stopped early: the reward fell." in render_markdown(some_figures(train=train))


def test_a_report_can_be_nearly_empty() -> None:
    rows = {"prompts": 9, "pairs": 9, "drops": {}}
    figures = some_figures(metrics={}, lm_eval={}, rows=rows, base_weights_digest=None)
    page = render_html(figures, [], [])
    tags(page)
    assert "lm-eval</h2>" not in page
    assert "No training log" in page
    assert "Dropped: none." in render_markdown(figures)


def test_every_phase_has_its_charts() -> None:
    page = render_html(some_figures(), [], CURVE)
    titles = re.findall(r"<strong>(\w+: \w+)</strong>", page)
    assert titles == ["sft: loss", "sft: rewards", "dpo: loss", "dpo: rewards"]
    assert "Training: 0.700 at step 1, 0.600 at step 2." in page


def test_a_long_curve_is_thinned() -> None:
    curve = [a_step(0, step, "sft", 1.0) for step in range(1, 5001)]
    page = render_html(some_figures(), [], curve)
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
