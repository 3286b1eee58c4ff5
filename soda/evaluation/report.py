"""The report of one training: a page with plots and answers side by side, and a short table."""

import math
from collections.abc import Mapping
from typing import Any

from soda.evaluation.templates import templates
from soda.training.run.metrics import CheckFigures, Row, StepFigures

__all__ = ["render_html", "render_markdown"]

MARKS = {"better": "✓", "worse": "✗", "not clear": "~", "not judged": "·"}
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 12, 164  # where a chart's lines may go, in its own pixels
POINTS = 120  # a longer line is averaged down to at most as many

Line = list[tuple[float, float]]  # step, value

_number, _signed = "{:z.3f}".format, "{:+z.3f}".format  # z: never -0.000


def render_html(figures: dict[str, Any], samples: list[dict[str, Any]], curve: list[Row]) -> str:
    """Return the whole report as one page that fetches nothing and runs no script."""
    environment = templates(autoescape=True)  # answers are whatever a model wrote
    environment.filters |= {"number": _number, "signed": _signed, "judge": _judge, "plot": _plot}
    headline, details = _verdict(figures)
    page = environment.get_template("report.html.j2").render(
        **figures,
        headline=headline,
        details=details,
        samples=samples,
        charts=_charts(curve),
        marks=MARKS,
    )
    return page.encode(errors="replace").decode()  # JSON can hold half a character, UTF-8 cannot


def render_markdown(figures: dict[str, Any]) -> str:
    """Return the verdict, the metrics and the dropped rows as GitHub's markdown."""
    headline, details = _verdict(figures)
    table = ["| metric | before | after | change (95 % interval) | |", "|---|--:|--:|--:|---|"]
    for metric in figures["metrics"].values():
        change, outcome = metric["change"], _judge(metric)
        table.append(
            f"| {metric['label']} "
            f"| {_number(metric['before']['mean'])} | {_number(metric['after']['mean'])} "
            f"| {_signed(change['mean'])} ({_signed(change['low'])} to {_signed(change['high'])}) "
            f"| {MARKS[outcome]} {outcome} |"
        )
    rows = figures["rows"]
    drops = ", ".join(f"{count} `{why}`" for why, count in rows["drops"].items()) or "none"
    kept = f"{rows['prompts']} prompts gave {rows['pairs']} pairs. Dropped: {drops}."
    return "\n\n".join([f"**{headline}** {' '.join(details)}", "\n".join(table), kept]) + "\n"


def _judge(metric: dict[str, Any]) -> str:
    """Say what came of a metric; only an interval clear of zero counts."""
    low, high = metric["change"]["low"], metric["change"]["high"]
    if metric["better"] == "none":
        return "not judged"
    if not (low > 0 or high < 0):
        return "not clear"
    return "better" if (low > 0) == (metric["better"] == "higher") else "worse"


def _verdict(figures: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what the figures say: one sentence, and the sentences that explain it."""
    found: dict[str, list[str]] = {outcome: [] for outcome in MARKS}
    for metric in figures["metrics"].values():
        found[_judge(metric)].append(f"{metric['label']} ({_signed(metric['change']['mean'])})")
    judged = len(figures["metrics"]) - len(found["not judged"])
    better, worse = len(found["better"]), len(found["worse"])
    details = [
        f"Measured on {figures['prompts']} {figures['split']} prompts; a change counts only where "
        "its 95 % interval is clear of zero."
    ]
    details += [f"{key.capitalize()}: {'; '.join(names)}." for key, names in found.items() if names]
    if figures["train"]["stopped_early"]:
        details.append(f"Training stopped early: {figures['train']['stopped_early']}.")
    return f"Better on {better} of {judged} metrics, worse on {worse or 'none'}.", details


def _plot(change: dict[str, float]) -> dict[str, float]:
    """Return where an interval lies on a strip 120 wide with zero in its middle."""
    reach = max(abs(value) for value in change.values()) or 1.0
    return {key: round(60 + 52 * value / reach, 1) for key, value in change.items()}


def _charts(curve: list[Row]) -> list[dict[str, Any]]:
    """Return, for each phase of training, a chart of the loss and one of the rewards."""
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
        charts.append(_chart(f"{phase}: loss", {"training": loss}))
        charts.append(_chart(f"{phase}: rewards", rewards))
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
