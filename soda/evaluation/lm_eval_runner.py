"""The only file that imports lm_eval: tasks by name -> a flat table of numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soda.errors import ConfigError

__all__ = ["OUR_TASKS", "check_tasks", "run_tasks"]

OUR_TASKS = Path(__file__).parent / "tasks"  # these need no network


def check_tasks(names: Sequence[str]) -> None:
    """Refuse unknown tasks before any work is done.

    Raises:
        ConfigError: lm-eval knows no such task.
    """
    if not names:
        return
    known = _manager().all_tasks
    for name in names:
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
        tasks=list(names),
        task_manager=_manager(),
        limit=limit,
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        task: {
            key.removesuffix(",none"): float(value)
            for key, value in values.items()
            if isinstance(value, int | float)
        }
        for task, values in found["results"].items()
    }


def _manager() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(OUR_TASKS))
