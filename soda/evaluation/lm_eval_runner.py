"""The only file that imports lm_eval: tasks by name -> a flat table of numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from soda.errors import ConfigError

__all__ = ["check_tasks", "run_tasks"]

_OUR_TASKS = Path(__file__).parent / "tasks"  # these need no network


def check_tasks(names: Sequence[str]) -> None:
    """Refuse unknown tasks before any work is done.

    Raises:
        ConfigError: lm-eval knows no such task.
    """
    others = [name for name in names if not _is_ours(name)]
    if not others:
        return
    known = _manager(others).all_tasks
    for name in others:
        if name not in known:
            raise ConfigError(f"eval.lm_eval_tasks: expected a task of lm-eval, found '{name}'")


def run_tasks(
    model: Any, tokenizer: Any, names: Sequence[str], *, limit: int | None, batch_size: int
) -> dict[str, dict[str, float]]:
    """Return each task's metrics: `{"soda_facts": {"acc": 0.4, "acc_stderr": 0.06}}`."""
    if not names:
        return {}
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
        tasks=[_our_task(name) if _is_ours(name) else name for name in names],
        task_manager=_manager([name for name in names if not _is_ours(name)]),
        limit=limit,
        bootstrap_iters=100,
        log_samples=False,
    )
    return {
        task: {
            key.removesuffix(",none"): float(value)
            for key, value in values.items()
            if "," in key and isinstance(value, int | float)  # "metric,filter"
        }
        for task, values in found["results"].items()
    }


def _is_ours(name: str) -> bool:
    return (_OUR_TASKS / name / f"{name}.yaml").is_file()


def _our_task(name: str) -> dict[str, Any]:
    """Read one of our tasks; lm-eval would look for its data in the working directory."""
    task: dict[str, Any] = yaml.safe_load((_OUR_TASKS / name / f"{name}.yaml").read_text())
    data = _OUR_TASKS / name / task["dataset_kwargs"]["data_files"]
    return {**task, "dataset_kwargs": {"data_files": str(data)}}


def _manager(others: Sequence[str]) -> Any:
    """Return a task manager; reading the index of all tasks takes seconds, so only if need be."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=bool(others))
