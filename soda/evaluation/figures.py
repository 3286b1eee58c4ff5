"""The figures of a report: means and paired changes of what was measured, with intervals."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from soda.dataset.task_set import Task
from soda.evaluation.measurement import Measurement
from soda.evaluation.metrics import CHANGES, METRICS, SET_METRICS, Metric, intervals
from soda.evaluation.questions import Questions
from soda.rows import Expected, Message, Response
from soda.words import script

__all__ = ["make_figures", "samples_of"]

Measured = Mapping[str, Measurement]  # by model


def make_figures(
    measured: Measured, asked: Questions, *, samples: int, seed: int
) -> dict[str, Any]:
    """Return the figures of the held-out split, by script of the prompt, by set, and of lm-eval.

    Args:
        samples: of the bootstrap.
        seed: of the same.
    """

    def metrics(
        of: Measured, known: Mapping[str, Metric], prompts: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Return every metric's figures, over all prompts or some; without those of nothing."""
        changes = {key: ends for key, ends in CHANGES.items() if set(ends) <= of.keys()}
        found = {}
        for name, metric in known.items():
            keys = [key for key in of["before"][name] if prompts is None or key in prompts]
            if keys:
                series = {model: [each[name][key] for key in keys] for model, each in of.items()}
                figures = intervals(series, changes, samples=samples, seed=seed)
                about = {"label": metric.label, "better": metric.better, "count": len(keys)}
                found[name] = {**about, **figures}
        return found

    scripts: dict[str, set[str]] = {}
    for row in asked.rows:
        scripts.setdefault(script(row.prompt.messages[-1]["content"]), set()).add(row.prompt.id)
    by_script = {
        name: {"prompts": len(scripts[name]), "metrics": metrics(measured, METRICS, scripts[name])}
        for name in sorted(scripts, key=lambda name: (-len(scripts[name]), name))
    }
    by_set = {
        name: {
            "prompts": len(tasks),
            "trained_on": asked.trained_on[name],
            "drops": asked.dropped(name),
            "metrics": metrics(
                {model: each["sets"][name] for model, each in measured.items()}, SET_METRICS
            ),
        }
        for name, tasks in asked.sets.items()
    }
    return {
        "split": asked.split,
        "prompts": len(asked.rows),
        "pairs": len(asked.pairs),
        "metrics": metrics(measured, METRICS),
        "scripts": by_script if len(by_script) > 1 else {},
        "sets": by_set,
        "lm_eval": _lm_eval(measured),
    }


def _lm_eval(measured: Measured) -> dict[str, Any]:
    return {
        task: {
            key: _score({model: found["lm_eval"][task] for model, found in measured.items()}, key)
            for key in values
            if not key.endswith("_stderr")
        }
        for task, values in measured["before"]["lm_eval"].items()
    }


def _score(found: dict[str, dict[str, float]], key: str) -> dict[str, Any]:
    """Return one score of lm-eval for each model, with its standard error; 0 is not known.

    That of the change takes the two scores for independent, though the questions are the same.
    """
    errors = {model: values.get(f"{key}_stderr", 0.0) for model, values in found.items()}
    errors["change"] = math.hypot(errors["before"], errors["after"])
    return {**{model: values[key] for model, values in found.items()}, "stderr": errors}


def samples_of(measured: Measured, asked: Questions) -> list[dict[str, Any]]:
    """Return every prompt with all answers to it, those of the held-out split first."""
    found = [_of_row(row, measured, asked.split) for row in asked.rows]
    for name, tasks in asked.sets.items():
        of = {model: each["sets"][name] for model, each in measured.items()}
        found += [_of_task(task, of, name) for task in tasks]
    return found


def _of_row(row: Response, measured: Measured, split: str) -> dict[str, Any]:
    prompt = row.prompt
    sample = _sample(prompt.id, split, prompt.messages, prompt.expected, measured)
    return {**sample, "teacher": row.text, "reference": None}


def _of_task(task: Task, measured: Measured, name: str) -> dict[str, Any]:
    sample = _sample(task.id, name, task.messages, task.expected, measured)
    return {**sample, "teacher": None, "reference": task.reference}


def _sample(
    key: str, of: str, messages: list[Message], expected: Expected | None, measured: Measured
) -> dict[str, Any]:
    def right(found: Measurement) -> bool | None:
        value = found["exact_match"].get(key)
        return None if value is None else bool(value)

    return {
        "id": key,
        "set": of,
        "prompt": messages,
        **{name: found["texts"][key] for name, found in measured.items()},
        "expected": expected,
        **{f"{name}_right": right(found) for name, found in measured.items()},
    }
