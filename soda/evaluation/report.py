"""The report of one training: a page with plots and answers side by side, and a short table."""

import math
from collections.abc import Mapping
from typing import Any

from soda.evaluation.metrics import OF_WORDS
from soda.evaluation.templates import templates
from soda.training.run.metrics import CheckFigures, Row, StepFigures

__all__ = ["render_html", "render_markdown"]

MARKS = {"better": "✓", "worse": "✗", "not clear": "~", "not judged": "·"}
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 12, 164  # where a chart's lines may go, in its own pixels
POINTS = 120  # a longer line is averaged down to at most as many

Line = list[tuple[float, float]]  # step, value

_number, _signed = "{:z.3f}".format, "{:+z.3f}".format  # z: never -0.000


def render_html(
    figures: dict[str, Any], samples: list[dict[str, Any]], curves: list[list[Row]]
) -> str:
    """Return the whole report as one page that fetches nothing and runs no script.

    Args:
        figures: what eval found; of two models, or with the warmed-up one of three.
        samples: the answers side by side.
        curves: the rows of each training's metrics, in order.
    """
    environment = templates(autoescape=True)  # answers are whatever a model wrote
    environment.filters |= {"number": _number, "signed": _signed, "judge": _judge, "plot": _plot}
    headline, details = _verdict(figures)
    page = environment.get_template("report.html.j2").render(
        **figures,
        changes=_changes(figures),
        of_words=_of_words(figures),
        headline=headline,
        details=details,
        samples=samples,
        charts=[chart for curve in curves for chart in _charts(curve)],
        marks=MARKS,
    )
    return page.encode(errors="replace").decode()  # JSON can hold half a character, UTF-8 cannot


def render_markdown(figures: dict[str, Any]) -> str:
    """Return the verdict, the metrics and the dropped rows as GitHub's markdown."""
    headline, details = _verdict(figures)
    models, changes = figures["models"], _changes(figures)
    heads = ["metric", *models.values(), *(f"{text} (95 % interval)" for text in changes.values())]
    table = [f"| {' | '.join(heads)} | |", f"|---|{'--:|' * (len(heads) - 1)}---|"]
    for metric in figures["metrics"].values():
        outcome = _judge(metric)
        cells = [metric["label"], *(_number(metric[name]["mean"]) for name in models)]
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
            table.append(f"| {name} | {part['prompts']} | {' | '.join(cells)} |")
        tables.append("\n".join(table))
    rows = figures["rows"]
    drops = ", ".join(f"{count} `{why}`" for why, count in rows["drops"].items()) or "none"
    kept = f"{rows['prompts']} prompts gave {rows['pairs']} pairs. Dropped: {drops}."
    return "\n\n".join([f"**{headline}** {' '.join(details)}", *tables, kept]) + "\n"


def _changes(figures: dict[str, Any]) -> dict[str, str]:
    """Return the changes to show; what the warm-up did follows from them."""
    shown = {"change": "change from base", "change_since_warm_up": "change since the warm-up"}
    return shown if "warmed" in figures["models"] else {"change": "change"}


def _of_words(figures: dict[str, Any]) -> dict[str, str]:
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


def _verdict(figures: dict[str, Any]) -> tuple[str, list[str]]:
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
    for training in figures["trainings"]:
        if training["stopped_early"]:
            method = training["method"]
            details.append(f"Training ({method}) stopped early: {training['stopped_early']}.")
    return f"{_score(found).capitalize()}.", details


def _outcomes(figures: dict[str, Any], change: str) -> dict[str, list[str]]:
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
