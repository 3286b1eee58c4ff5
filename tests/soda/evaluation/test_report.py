import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from soda.evaluation.report import draw_charts, render_html, render_markdown
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
        "sets": {},
        "lm_eval": {
            "soda_facts": {
                "acc": {
                    "before": 0.3,
                    "after": 0.35,
                    "stderr": {"before": 0.06, "after": 0.06, "change": 0.085},
                }
            }
        },
        "lm_eval_with": {"version": "0.4", "batch_size": 64, "limit": None},
        "funnel": [
            {"name": "prompts", "rows": 30, "lost": {}},
            {"name": "kept", "rows": 28, "lost": {"same_answer": 2}},
        ],
        "audit": None,
        "rows": {"prompts": 30, "pairs": 28, "drops": {"same_answer": 2}},
        "trainings": [a_training()],
        "teacher": {"endpoint": "https://teacher.example/v1", "model": "a-teacher"},
        "models": {"before": "base", "after": "student"},
        "weights": {"before": "def", "after": "abc"},
    } | changed


def a_sample(name: str = "one", **changed: Any) -> dict[str, Any]:
    return {
        "id": name,
        "set": "test",
        "prompt": [{"role": "user", "content": "What is the capital of France?"}],
        "teacher": "Paris.",
        "reference": None,
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
        if tag not in ("meta", "input"):
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
    page = render_html(some_figures(), [a_sample()], draw_charts([CURVE]))
    found = tags(page)
    assert page.startswith("<!DOCTYPE html>")
    assert {"link", "img", "iframe"}.isdisjoint(found)
    assert found.count("script") == 2  # the answers as data, and what shows them
    assert not re.search(r"url\(|@import|(?:src|href)=", page)
    assert "nan" not in re.findall(r"[\w.]+", page)


@pytest.mark.parametrize("field", ["teacher", "before", "after", "expected", "id"])
def test_answers_cannot_write_html(field: str) -> None:
    evil = "</div><script>alert(1)</script>"
    page = render_html(some_figures(), [a_sample(**{field: evil})], [])
    assert tags(page).count("script") == 2
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


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
    page = render_html(some_figures(), [], draw_charts([CURVE]))
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
    page = render_html(some_figures(), [], draw_charts([curve]))
    assert len(page) < 40_000
    assert "at step 5000" in page


def test_only_the_first_answers_are_written_out_and_all_are_there_as_data() -> None:
    samples = [a_sample(str(number)) for number in range(43)]
    page = render_html(some_figures(), samples, [])
    assert "The first 40 of 43" in page and tags(page).count("article") == 40
    data = re.search(r'id="samples-data">(.*?)</script>', page, re.S)
    assert data is not None
    found = json.loads(data[1])
    assert [row["id"] for row in found["rows"]] == [str(number) for number in range(43)]
    assert found["models"] == [["before", "Base"], ["after", "Student"]]


def test_the_one_script_that_may_run_is_the_pages_own() -> None:
    page = render_html(some_figures(), [a_sample()], [])
    policy = re.search(r"script-src '(sha256-[^']+)'", page)
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert policy is not None and script is not None
    hashed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy[1] == f"sha256-{hashed}"


def test_the_markdown_table_has_every_metric() -> None:
    figures = some_figures()
    rows = [line for line in render_markdown(figures).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(figures["metrics"])
    assert "| ROUGE-L | 0.500 | 0.600 | +0.100 (+0.050 to +0.150) | ✓ better |" in rows
    assert "30 prompts gave 28 pairs. Dropped: 2 same\\_answer." in render_markdown(figures)


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
    figures["lm_eval"]["soda_facts"]["acc"]["stderr"]["warmed"] = 0.05
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
    page = render_html(three_figures(), [sample], draw_charts([CURVE[:3], CURVE[3:]]))
    tags(page)
    for text in ("Base, Warmed up, Student", "Nice.", "weights, warmed up", ">0.330<small>\u00b1"):
        assert text in page
    assert "1. sft: 1 epoch(s) over 14 rows" in page
    assert "2. dpo with the loss dpo: 1 epoch(s)" in page
    assert "step 3 of 4, chosen by last step" in page


def test_names_from_outside_are_text_in_the_table():
    metric = a_metric("<b>|[x](https://evil)", "higher", (0.1, 0.05, 0.15))
    rows = {"prompts": 30, "pairs": 28, "drops": {"`<i>": 2}}
    text = render_markdown(some_figures(metrics={"m": metric}, rows=rows))
    assert r"| \<b\>\|\[x\](https\://evil) | 0.500 |" in text
    assert "<" not in text.replace(r"\<", "") and "[x](" not in text


def a_rate(mean: float | None, low: float, high: float) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


def judged_figures() -> dict[str, Any]:
    """The same with an audit before training and a judge after it."""
    counts = {"wins": 6, "ties": 1, "losses": 2, "unparsed": 1, "unanswered": 0, "disagreements": 1}
    bias = {"label": "prefers the answer shown first", "rate": a_rate(0.7, 0.6, 0.8)}
    bias |= {"pairs": 50, "unclear": 0, "fair": False}
    about = {"name": "judge-1", "protocol": "scores", "biases": [bias], "same_family": True}
    one = {"title": "base", "prompts": 9, "seeds": 1, "counts": counts, "sets": {}}
    one |= {"win_rate": a_rate(0.72, 0.55, 0.9), "length_controlled": a_rate(0.6, 0.4, 0.8)}
    one |= {"slices": {"turns: one": {"count": 9, **a_rate(0.72, 0.5, 0.9)}}}
    gap = {"decision": "not shown", "reason": "the teacher wins 60%", "threshold": 0.6}
    gap |= {"win_rate": a_rate(0.6, 0.5, 0.7), "counts": counts, "stopped_early": False}
    audit = {
        "gap": {**gap, "slices": {}},
        "inverted": {"ids": [], "share": 0.1, "action": "keep going"},
        "judge": about,
        "contamination": {"found": 1, "held_out": 9, "recall": {"verbatim": {"recall": 1.0}}},
        "sensitive": {"rows": 1, "kinds": {"email": 1}},
        "shortcuts": [{"feature": "length", "auc": 0.9, "pairs": 28, "warn": True}],
    }
    judge = {**about, "opponents": {"before": one}, "scores": None}
    return some_figures(audit=audit, judge=judge)


def set_figures() -> dict[str, Any]:
    """The same with a task set, which the judge also scored beside its own answers."""
    figures = three_figures() | {"judge": judged_figures()["judge"]}
    metrics = {"tokens": figures["metrics"]["length_ratio"] | {"label": "tokens of an answer"}}
    about = {"prompts": 80, "trained_on": 3, "drops": {"bad_row": 2}}
    figures["sets"] = {"vicuna-80": {**about, "metrics": metrics}}
    [one] = figures["judge"]["opponents"].values()
    one["sets"] = {"vicuna-80": {key: one[key] for key in one if key != "sets"}}
    unknown = {"prompts": 0, "seeds": 1, **a_rate(None, 0, 100)}
    scores = {"prompts": 80, "seeds": 1, **a_rate(47.26, 45.0, 49.5)}
    sets = {"test": {**scores, "mean": 51.2}, "vicuna-80": scores}
    models = {"student": {"title": "student", "sets": sets}}
    models["teacher"] = {"title": "<teacher>", "sets": {"test": scores, "vicuna-80": unknown}}
    references = {"answered": 88, "refused": 1}
    figures["judge"]["scores"] = {"references": references, "models": models}
    return figures


def set_sample(name: str = "vicuna-80:1", **changed: Any) -> dict[str, Any]:
    more = {"set": "vicuna-80", "teacher": None, "reference": "The set's.", "warmed": "Nice."}
    more |= {"judge_answer": "The judge's.", "warmed_right": None}
    return a_sample(name, **more | changed)


def test_task_sets_have_tables_of_their_own_and_their_answers_no_teacher() -> None:
    figures = set_figures()
    page = render_html(figures, [a_sample(warmed="x", warmed_right=None), set_sample()], [])
    tags(page)
    for text in (
        "80 of vicuna-80 (not asked: 2 bad row)",
        "3 of its 80 prompts are training prompts too",
        "base on vicuna-80",
        '<td data-name="vicuna-80">47.3<small>45.0 to 49.5, 80 prompts</small></td>',
        "&lt;teacher&gt;</th>",
        "88 answered, 1 refused",
        "<option>vicuna-80</option>",
        "<h4>Reference</h4>",
        "<h4>The judge itself</h4>",
    ):
        assert text in page
    assert page.count("<h4>Teacher</h4>") == 1
    text = render_markdown(figures)
    row = "| vicuna-80, 80 prompts | tokens of an answer | 0.500 | 0.550 | 0.200 |"
    assert row in text.replace("\\", "")
    assert "| student | 51.2 (45.0 to 49.5) | 47.3 (45.0 to 49.5) |" in text
    plain = render_html(some_figures(), [a_sample()], [])
    assert "Task sets" not in plain and "all sets" not in plain


def test_the_judge_stands_beside_its_bias_and_the_gap_beside_the_funnel() -> None:
    figures = judged_figures()
    page = render_html(figures, [a_sample(judged={"base": 1})], [])
    tags(page)
    for text in (
        "A judge prefers it to base in 72.0% of 9 prompts (55.0% to 90.0%).",
        "It is not shown that the teacher is clearly better.",
        "prefers the answer shown first",
        "The judge is of the teacher&rsquo;s family",
        "the student may learn this instead",
        "<option>beats base</option>",
        "2 same answer",
    ):
        assert text in page
    assert "A judge prefers it to base" in render_markdown(figures)


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
