"""Put SODA, SeqKD and GAD side by side: what each gained, and what it took."""

import json
from typing import Any

from soda.artifacts.kinds import Comparison, Report
from soda.artifacts.writer import LOGS
from soda.config import Config
from soda.errors import DataError
from soda.evaluation.comparison import render_comparison
from soda.storage import Place

__all__ = ["CompareConfig", "compare"]

_SAME = ("split", "prompts", "teacher")  # of what is compared
_MEASURED = {"teacher": "teacher answers", "pairs": "pairs"}  # by input of eval
_UNKNOWN = {"train_seconds": 0.0, "peak_memory_gib": 0.0}
_METHODS = {"soda": "SODA", "seqkd": "SeqKD", "gad": "GAD"}


class CompareConfig(Config):
    """Nothing to choose: the reports say everything."""


def compare(
    *, soda: Report, seqkd: Report, gad: Report, config: CompareConfig, out: Place
) -> Comparison:
    """Compare three trainings of one base student on the same held-out prompts.

    Raises:
        DataError: the reports are of other prompts, another teacher or another base, or measured
            in another way.
    """
    reports = {"soda": soda, "seqkd": seqkd, "gad": gad}
    figures = {name: report.figures() for name, report in reports.items()}
    shared = _measured(soda)
    for name, report in reports.items():
        for key, found in _measured(report).items():
            if found != shared[key]:
                raise DataError(
                    f"compare: expected reports of the same {key}, found {found!r} of {name} "
                    f"and {shared[key]!r} of soda"
                )
    rows = _rows(figures)
    with Comparison.create(out, config=config, inputs=reports) as writer:
        text = json.dumps({"methods": list(_METHODS), "rows": rows}, indent=2)
        (writer.path / "comparison.json").write_text(text, encoding="utf-8")
        costs = {name: report.log("cost") or _UNKNOWN for name, report in reports.items()}
        page = {
            "methods": _METHODS,
            "rows": rows,
            "costs": _costs(costs),
            "prompts": figures["soda"]["prompts"],
            "split": figures["soda"]["split"],
            "teacher": figures["soda"]["teacher"]["model"],
        }
        (writer.path / LOGS).mkdir()
        for name, text in render_comparison(page).items():
            (writer.path / LOGS / name).write_text(text, encoding="utf-8")
    return Comparison.open(out)


def _measured(report: Report) -> dict[str, Any]:
    """Return what was measured, and how: reports have to share it, or their figures say nothing."""
    figures, manifest = report.figures(), report.manifest
    return {
        **{key: figures[key] for key in _SAME},
        **{text: manifest.inputs.get(key) for key, text in _MEASURED.items()},
        "base student": figures["weights"]["before"],
        "config of eval": manifest.config,
    }


def _rows(figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a metric: the base's figure, and each method's with its change."""
    rows = []
    for key, metric in figures["soda"]["metrics"].items():
        row = {"metric": key, "label": metric["label"], "base": metric["before"]["mean"]}
        for name, found in figures.items():
            mine = found["metrics"][key]
            row[name] = {"mean": mine["after"]["mean"], **_interval(mine["change"])}
        rows.append(row)
    return rows


def _interval(change: dict[str, float]) -> dict[str, float]:
    return {key: change[key] for key in ("low", "high")}


def _costs(costs: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return time and memory of each method, and how many times SODA's it is."""
    labels = {"train_seconds": "training, seconds", "peak_memory_gib": "peak memory, GiB"}
    return [
        {
            "label": label,
            **{
                name: {"value": cost[key], "ratio": cost[key] / (costs["soda"][key] or 1)}
                for name, cost in costs.items()
            },
        }
        for key, label in labels.items()
    ]
