"""Put several trainings side by side: what each gained, and what it took."""

import json
from typing import Any, Self

from pydantic import Field, model_validator

from soda.artifacts.kinds import Comparison, Report
from soda.artifacts.writer import LOGS
from soda.config import Config
from soda.errors import ConfigError, DataError
from soda.evaluation.comparison import render_comparison
from soda.storage import Place

__all__ = ["CompareConfig", "compare"]

_SAME = ("split", "prompts", "teacher")  # of what is compared
_MEASURED = {"teacher": "teacher answers", "pairs": "pairs"}  # by input of eval
_UNKNOWN = {"train_seconds": 0.0, "peak_memory_gib": 0.0}


class CompareConfig(Config):
    """What the trainings are called."""

    names: list[str] = Field(
        min_length=1, description="a name for each report, in order; the first is the yardstick"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len(set(self.names)) < len(self.names) or "" in self.names:
            raise ValueError(f"expected names that differ, found {', '.join(self.names)}")
        return self


def compare(*, reports: list[Report], config: CompareConfig, out: Place) -> Comparison:
    """Compare trainings of one base student on the same held-out prompts.

    Costs are given as multiples of the first training's.

    Raises:
        ConfigError: there are more or fewer names than reports.
        DataError: the reports are of other prompts, another teacher or another base, or measured
            in another way.
    """
    if len(config.names) != len(reports):
        raise ConfigError(
            f"compare.names: expected a name for each of {len(reports)} reports, "
            f"found {len(config.names)}"
        )
    named = dict(zip(config.names, reports, strict=True))
    first = config.names[0]
    figures = {name: report.figures() for name, report in named.items()}
    shared = _measured(named[first])
    for name, report in named.items():
        for key, found in _measured(report).items():
            if found != shared[key]:
                raise DataError(
                    f"compare: expected reports of the same {key}, found {found!r} of {name} "
                    f"and {shared[key]!r} of {first}"
                )
    rows = _rows(figures)
    with Comparison.create(out, config=config, inputs={"reports": reports}) as writer:
        text = json.dumps({"names": config.names, "rows": rows}, indent=2)
        (writer.path / "comparison.json").write_text(text, encoding="utf-8")
        costs = {name: report.log("cost") or _UNKNOWN for name, report in named.items()}
        page = {
            "names": config.names,
            "rows": rows,
            "costs": _costs(costs),
            "prompts": figures[first]["prompts"],
            "split": figures[first]["split"],
            "teacher": figures[first]["teacher"]["model"],
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
    """Return a row a metric: the base's figure, and each training's with its change."""
    rows = []
    for key, metric in next(iter(figures.values()))["metrics"].items():
        trained = {}
        for name, found in figures.items():
            mine = found["metrics"][key]
            trained[name] = {"mean": mine["after"]["mean"], **_interval(mine["change"])}
        base = metric["before"]["mean"]
        rows.append({"metric": key, "label": metric["label"], "base": base, "trained": trained})
    return rows


def _interval(change: dict[str, float]) -> dict[str, float]:
    return {key: change[key] for key in ("low", "high")}


def _costs(costs: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return time and memory of each training, and how many times the first's it is."""
    labels = {"train_seconds": "training, seconds", "peak_memory_gib": "peak memory, GiB"}
    first = next(iter(costs.values()))
    return [
        {
            "label": label,
            "trained": {
                name: {"value": cost[key], "ratio": cost[key] / (first[key] or 1)}
                for name, cost in costs.items()
            },
        }
        for key, label in labels.items()
    ]
