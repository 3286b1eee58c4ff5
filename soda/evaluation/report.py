"""The report of one training: a page with plots and answers side by side, and a short table."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soda.escape import escape_markdown
from soda.evaluation.audit_page import say_gap
from soda.evaluation.metrics import OF_WORDS
from soda.evaluation.templates import templates
from soda.training.run.metrics import CheckFigures, Row, StepFigures

__all__ = ["draw_charts", "render_html", "render_markdown"]

MARKS = {"better": "✓", "worse": "✗", "not clear": "~", "not judged": "·"}
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 12, 164  # where a chart's lines may go, in its own pixels
SHOWN = 40  # answers that a browser without scripts shows, or one that prints
# Answers that are nobody's of the compared models, by their keys in a sample.
OTHERS = {"teacher": "Teacher", "reference": "Reference", "judge_answer": "The judge itself"}
POINTS = 120  # a longer line is averaged down to at most as many

Line = list[tuple[float, float]]  # step, value

_number, _signed = "{:z.3f}".format, "{:+z.3f}".format  # z: never -0.000


def render_html(
    figures: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    charts: Sequence[Mapping[str, Any]],
    **more: Any,
) -> str:
    """Return the whole report as one page that fetches nothing; its one script is its own.

    Args:
        figures: what eval and judge found; of two models, or with the warmed-up one of three.
        samples: the answers side by side.
        charts: from `draw_charts`.
        more: `steps` and `recipe`, how the report was made, where that is known.
    """
    environment = templates(autoescape=True)  # answers are whatever a model wrote
    environment.filters |= {"number": _number, "signed": _signed, "judge": _judge, "plot": _plot}
    headline, details = _verdict(figures)
    opponents = [one["title"] for one in figures.get("judge", {}).get("opponents", {}).values()]
    script = (Path(__file__).parent / "samples.js").read_text(encoding="utf-8")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html.j2").render(
        **figures,
        **more,
        title="Distillation report",
        changes=_changes(figures),
        of_words=_of_words(figures),
        headline=headline,
        details=details,
        samples=samples,
        shown=SHOWN,
        others=OTHERS,
        opponents=opponents,
        payload=_payload(figures["models"], opponents, samples),
        script=script,
        script_digest=f"sha256-{hashed}",
        charts=charts,
        marks=MARKS,
    )
    return page.encode(errors="replace").decode()  # JSON can hold half a character, UTF-8 cannot


def draw_charts(curves: Iterable[list[Row]]) -> list[dict[str, Any]]:
    """Return the charts of each training's metrics, in order."""
    return [chart for curve in curves for chart in _charts(curve)]


def _payload(
    models: Mapping[str, str], opponents: list[str], samples: Sequence[Mapping[str, Any]]
) -> str:
    """Return the answers as JSON that cannot end the element it stands in."""
    named = [(name, title.capitalize()) for name, title in models.items()]
    text = json.dumps(
        {
            "models": named,
            "others": list(OTHERS.items()),
            "opponents": opponents,
            "rows": list(samples),
        }
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def render_markdown(figures: Mapping[str, Any]) -> str:
    """Return the verdict, the metrics and the dropped rows as GitHub's markdown."""
    headline, details = _verdict(figures)
    models, changes = figures["models"], _changes(figures)
    heads = [
        "metric",
        *map(escape_markdown, models.values()),
        *(f"{text} (95 % interval)" for text in changes.values()),
    ]
    table = [f"| {' | '.join(heads)} | |", f"|---|{'--:|' * (len(heads) - 1)}---|"]
    for metric in figures["metrics"].values():
        outcome = _judge(metric)
        cells = [
            escape_markdown(metric["label"]),
            *(_number(metric[name]["mean"]) for name in models),
        ]
        cells += [_interval(metric[name]) for name in changes]
        table.append(f"| {' | '.join(cells)} | {MARKS[outcome]} {outcome} |")
    tables = ["\n".join(table)]
    if figures["scripts"]:
        shown = _of_words(figures)
        heads = [
            "script of the prompt",
            "prompts",
            *(f"{label}: change" for label in shown.values()),
        ]
        table = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
        for name, part in figures["scripts"].items():
            found = [part["metrics"].get(key) for key in shown]
            cells = [_interval(metric["change"]) if metric else "" for metric in found]
            table.append(f"| {escape_markdown(name)} | {part['prompts']} | {' | '.join(cells)} |")
        tables.append("\n".join(table))
    tables += _set_tables(figures)
    rows = figures["rows"]
    counted = [f"{count} {escape_markdown(why)}" for why, count in rows["drops"].items()]
    drops = ", ".join(counted) or "none"
    kept = f"{rows['prompts']} prompts gave {rows['pairs']} pairs. Dropped: {drops}."
    said = escape_markdown(" ".join(details))
    return "\n\n".join([f"**{headline}** {said}", *tables, kept]) + "\n"


def _set_tables(figures: Mapping[str, Any]) -> list[str]:
    """Return a table of the task sets' metrics, and one of the judge's scores, where there are."""
    tables = []
    if figures["sets"]:
        models, changes = figures["models"], _changes(figures)
        heads = ["task set", "metric", *map(escape_markdown, models.values()), *changes.values()]
        table = [f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * (len(heads) - 2)}"]
        for name, part in figures["sets"].items():
            for metric in part["metrics"].values():
                cells = [escape_markdown(f"{name}, {part['prompts']} prompts"), metric["label"]]
                cells += [_number(metric[model]["mean"]) for model in models]
                cells += [_interval(metric[change]) for change in changes]
                table.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(table))
    if scores := figures.get("judge", {}).get("scores"):
        rows = list(scores["models"].values())
        heads = ["S / (S + R), 50 is parity", *map(escape_markdown, rows[0]["sets"])]
        table = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
        for row in rows:
            cells = [escape_markdown(row["title"])]
            cells += ["" if one["mean"] is None else _share(one) for one in row["sets"].values()]
            table.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(table))
    return tables


def _share(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.1f} ({score['low']:.1f} to {score['high']:.1f})"


def _changes(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the changes to show; what the warm-up did follows from them."""
    shown = {"change": "change from base", "change_since_warm_up": "change since the warm-up"}
    return shown if "warmed" in figures["models"] else {"change": "change"}


def _of_words(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the metrics that are shown by script, with their labels."""
    metrics = figures["metrics"]
    return {name: metrics[name]["label"] for name in OF_WORDS if name in metrics}


def _interval(change: dict[str, float]) -> str:
    return f"{_signed(change['mean'])} ({_signed(change['low'])} to {_signed(change['high'])})"


def _judge(metric: dict[str, Any], change: str = "change") -> str:
    """Say what came of a metric; only an interval clear of zero counts."""
    low, high = metric[change]["low"], metric[change]["high"]
    if metric["better"] == "none":
        return "not judged"
    if not (low > 0 or high < 0):
        return "not clear"
    return "better" if (low > 0) == (metric["better"] == "higher") else "worse"


def _verdict(figures: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return what the figures say: one sentence, and the sentences that explain it."""
    found = _outcomes(figures, "change")
    details = [
        f"Measured on {figures['prompts']} {figures['split']} prompts; a change counts only where "
        "its 95 % interval is clear of zero."
    ]
    details += [f"{key.capitalize()}: {'; '.join(names)}." for key, names in found.items() if names]
    if "warmed" in figures["models"]:
        since = _outcomes(figures, "change_since_warm_up")
        details.append(f"Since the warm-up alone: {_score(since)}.")
    for one in figures.get("judge", {}).get("opponents", {}).values():
        rate = one["win_rate"]
        if rate["mean"] is not None:
            details.append(
                f"A judge prefers it to {one['title']} in {rate['mean']:.1%} of {one['prompts']} "
                f"prompts ({rate['low']:.1%} to {rate['high']:.1%})."
            )
    if (audit := figures.get("audit")) and audit["gap"]["decision"] != "pass":
        details.append(say_gap(audit))
    for training in figures["trainings"]:
        if training["stopped_early"]:
            method = training["method"]
            details.append(f"Training ({method}) stopped early: {training['stopped_early']}.")
    return f"{_score(found).capitalize()}.", details


def _outcomes(figures: Mapping[str, Any], change: str) -> dict[str, list[str]]:
    """Return the metrics by what came of them."""
    found: dict[str, list[str]] = {outcome: [] for outcome in MARKS}
    for metric in figures["metrics"].values():
        mean = _signed(metric[change]["mean"])
        found[_judge(metric, change)].append(f"{metric['label']} ({mean})")
    return found


def _score(found: dict[str, list[str]]) -> str:
    judged = sum(len(names) for outcome, names in found.items() if outcome != "not judged")
    worse = len(found["worse"]) or "none"
    return f"better on {len(found['better'])} of {judged} metrics, worse on {worse}"


def _plot(change: dict[str, float]) -> dict[str, float]:
    """Return where an interval lies on a strip 120 wide with zero in its middle."""
    reach = max(abs(value) for value in change.values()) or 1.0
    return {key: round(60 + 52 * value / reach, 1) for key, value in change.items()}


def _charts(curve: list[Row]) -> list[dict[str, Any]]:
    """Return, for each phase, a chart of the loss, of the rewards, and of validation."""
    charts = []
    for number, phase in sorted({(row.position.phase, row.name) for row in curve}):
        mine = [row for row in curve if row.position.phase == number]
        steps = {
            row.position.step: row.figures for row in mine if isinstance(row.figures, StepFigures)
        }
        checks = {
            row.position.step: row.figures for row in mine if isinstance(row.figures, CheckFigures)
        }
        rewards = {
            side: _line({step: found.means.get(f"{side}_reward") for step, found in steps.items()})
            for side in ("chosen", "rejected")
        }
        rewards["chosen, validation"] = _line(
            {step: found.chosen_reward for step, found in checks.items()}
        )
        loss = _line({step: found.loss for step, found in steps.items()})
        logp = _line({step: found.chosen_logp for step, found in checks.items()})
        charts.append(_chart(f"{phase}: loss", {"training": loss}))
        charts.append(_chart(f"{phase}: rewards", rewards))
        title = f"{phase}: log-likelihood of the teacher's answers"
        charts.append(_chart(title, {"chosen, validation": logp}))
    return [chart for chart in charts if chart["lines"]]


def _line(values: Mapping[int, float | None]) -> Line:
    """Return a figure by step; a long noisy line is averaged, so that it stays readable."""
    line = [(step, y) for step, y in values.items() if y is not None and math.isfinite(y)]
    size = math.ceil(len(line) / POINTS) or 1
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _chart(title: str, named: dict[str, Line]) -> dict[str, Any]:
    """Return a chart's ticks and lines, in pixels."""
    lines = {name: line for name, line in named.items() if line}
    points = [point for line in lines.values() for point in line] or [(0, 0)]
    across, up = _ticks([x for x, _ in points], finest=1), _ticks([y for _, y in points])

    def x(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (step - across[0]) / (across[-1] - across[0]), 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - up[0]) / (up[-1] - up[0]), 1)

    return {
        "title": title,
        "across": [(x(tick), f"{tick:.5g}") for tick in across],
        "up": [(y(tick), f"{tick:.5g}") for tick in up],
        "lines": [
            {"name": name, "line": line, "pixels": [(x(step), y(value)) for step, value in line]}
            for name, line in lines.items()
        ],
    }


def _ticks(values: list[float], finest: float = 0.0) -> list[float]:
    """Return a few round numbers, the first and last around all values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / 4))
    step = max(finest, next(unit * many for many in (1, 2, 5, 10) if unit * many >= span / 4.001))
    start = math.floor(low / step)
    return [step * tick for tick in range(start, max(start + 1, math.ceil(high / step)) + 1)]
