"""Put several trainings side by side: what each gained, and what it took."""

import json
from typing import Any

import numpy as np
from pydantic import Field

from soda.artifacts.kinds import Comparison, Report
from soda.artifacts.writer import LOGS
from soda.config import Config
from soda.errors import ConfigError, DataError
from soda.evaluation.comparison import render_comparison
from soda.judging.over_seeds import compare_judged
from soda.statistics.bootstrap import resample
from soda.storage import Place

__all__ = ["CompareConfig", "compare"]

_SAME = ("split", "prompts", "teacher")  # of what is compared
_MEASURED = {"teacher": "teacher answers", "pairs": "pairs"}  # by input of eval
_COSTS = {"train_seconds": "training, seconds", "peak_memory_gib": "peak memory, GiB"}
_YARDSTICK = "soda"

Reports = dict[str, list[Report]]  # a variant's, one for each of its seeds


class CompareConfig(Config):
    """What the trainings are called."""

    names: list[str] = Field(
        min_length=1,
        description="a name for each report, in order; the same name again is another seed. The "
        "yardstick is soda, if there is one, and else the first",
    )
    bootstrap_samples: int = Field(2000, ge=100)
    seed: int = 0


def compare(*, reports: list[Report], config: CompareConfig, out: Place) -> Comparison:
    """Compare variants of one recipe on the same prompts, over seeds.

    For each metric and variant: the mean, the change from the base student, and the difference to
    the yardstick, paired by prompt and by place among the seeds. Intervals (95 %) are over prompts
    (bootstrap) and seeds (Student's t) at once; with one seed, over prompts alone. Time and memory
    are means over seeds, and multiples of the yardstick's. Of reports that a judge has seen also
    win rates over each opponent, and S / (S + R) x 100 as in SODA's Table 1, set by set.

    Raises:
        ConfigError: there are more or fewer names than reports.
        DataError: the reports are of other prompts, another teacher or another base, or measured
            or judged in another way.
    """
    if len(config.names) != len(reports):
        raise ConfigError(
            f"compare.names: expected a name for each of {len(reports)} reports, "
            f"found {len(config.names)}"
        )
    _refuse_others(reports, config.names)
    variants: Reports = {}
    for name, report in zip(config.names, reports, strict=True):
        variants.setdefault(name, []).append(report)
    yardstick = _YARDSTICK if _YARDSTICK in variants else config.names[0]
    figures = reports[0].figures()
    found = {
        "names": list(variants),
        "seeds": {name: len(each) for name, each in variants.items()},
        "yardstick": yardstick,
        "split": figures["split"],
        "prompts": figures["prompts"],
        "teacher": figures["teacher"]["model"],
        "rows": [_row(key, variants, yardstick, config) for key in figures["metrics"]],
        "judged": compare_judged(
            variants, yardstick, samples=config.bootstrap_samples, seed=config.seed
        ),
    }
    with Comparison.create(out, config=config, inputs={"reports": reports}) as writer:
        text = json.dumps(found, indent=2)
        (writer.path / "comparison.json").write_text(text, encoding="utf-8")
        (writer.path / LOGS).mkdir()
        for name, text in render_comparison(
            {**found, "costs": _costs(variants, yardstick)}
        ).items():
            (writer.path / LOGS / name).write_text(text, encoding="utf-8")
    return Comparison.open(out)


def _refuse_others(reports: list[Report], names: list[str]) -> None:
    shared = _measured(reports[0])
    for name, report in zip(names, reports, strict=True):
        for key, found in _measured(report).items():
            if found != shared[key]:
                raise DataError(
                    f"compare: expected reports of the same {key}, found {found!r} of {name} "
                    f"and {shared[key]!r} of {names[0]}"
                )


def _measured(report: Report) -> dict[str, Any]:
    """Return what was measured, and how: reports have to share it, or their figures say nothing."""
    figures, inputs, judged = report.figures(), report.eval_inputs, report.figures().get("judge")
    return {
        **{key: figures[key] for key in _SAME},
        **{text: inputs.get(key) for key, text in _MEASURED.items()},
        "base student": figures["weights"]["before"],
        "config of eval": report.eval_config,
        "judge": judged and {key: judged[key] for key in ("name", "protocol")},
        "config of judge": judged and report.manifest.config,
    }


def _row(metric: str, variants: Reports, yardstick: str, config: CompareConfig) -> dict[str, Any]:
    """Return a metric's figures: the base's, and each variant's with its change and difference."""
    first = variants[yardstick][0]
    facts, base = first.figures()["metrics"][metric], first.scores()["before"][metric]
    after = {
        name: np.array([[report.scores()["after"][metric][key] for key in base] for report in each])
        for name, each in variants.items()
    }
    before = np.array(list(base.values()))
    trained = {}
    for name, scores in after.items():
        trained[name] = {
            "mean": float(scores.mean()),
            "change": _estimate(scores - before, config),
            "beside": None,
        }
        if name != yardstick and scores.shape == after[yardstick].shape:
            trained[name]["beside"] = _estimate(scores - after[yardstick], config)
    return {
        "metric": metric,
        "label": facts["label"],
        "better": facts["better"],
        "base": float(before.mean()),
        "trained": trained,
    }


def _estimate(paired: Any, config: CompareConfig) -> dict[str, float]:
    """Return a mean of paired differences, seeds x prompts, with its interval."""
    found = resample(paired, samples=config.bootstrap_samples, seed=config.seed)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _costs(variants: Reports, yardstick: str) -> list[dict[str, Any]]:
    """Return time and memory of each variant, and how many times the yardstick's it is."""
    rows = []
    for key, label in _COSTS.items():
        means = {
            name: float(np.mean([(each.log("cost") or {}).get(key, 0.0) for each in reports]))
            for name, reports in variants.items()
        }
        of = means[yardstick] or 1
        trained = {name: {"value": mean, "ratio": mean / of} for name, mean in means.items()}
        rows.append({"label": label, "trained": trained})
    return rows
