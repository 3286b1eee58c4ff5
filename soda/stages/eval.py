"""Measure the student before training, after its warm-up, and after training."""

import dataclasses
import importlib.metadata
import json
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from soda.artifacts.kinds import Model, Pairs, Report, Responses
from soda.artifacts.writer import LOGS, Writer
from soda.audit.funnel import Funnel, build_funnel
from soda.config import Config
from soda.dataset.task_set import open_task_set, task_set_digests
from soda.errors import ConfigError
from soda.evaluation.figures import make_figures, samples_of
from soda.evaluation.lm_eval_runner import check_tasks
from soda.evaluation.measurement import Setup, measure
from soda.evaluation.metrics import METRICS, MODELS
from soda.evaluation.questions import make_questions
from soda.evaluation.regressions import find_regressions
from soda.evaluation.report import draw_charts, render_html, render_markdown
from soda.limits import ANSWER_TOKENS
from soda.slices import slices_of
from soda.storage import Place
from soda.training.run.metrics import Row, StepFigures, read_rows

__all__ = ["EvalConfig", "eval"]


class EvalConfig(Config):
    """What is measured, and how surely."""

    aside: ClassVar[tuple[str, ...]] = ("sets",)

    split: Literal["test", "validation"] = Field(
        "test", description="validation is for choosing a recipe, test for the figures you report"
    )
    sets: list[str] = Field(
        [],
        description="task sets (dolly-500@COMMIT, vicuna-80=FILE) and files of prompts, which need "
        "no teacher's answers",
    )
    sets_digests: dict[str, str] = Field({}, description="of what is in them; filled in")
    max_new_tokens: int = Field(
        512, ge=1, le=ANSWER_TOKENS, description="an answer that reaches it has not stopped"
    )
    batch_size: int = Field(64, ge=1)
    lm_eval_tasks: list[str] = Field(
        ["soda_facts"], description="tasks of lm-eval; soda_facts is ours and needs no network"
    )
    lm_eval_limit: int | None = Field(None, ge=1, description="only the first rows of each task")
    bootstrap_samples: int = Field(2000, ge=100)
    seed: int = 0

    def pin(self) -> Self:
        """Write the digests of the task sets into it."""
        found = task_set_digests(self.sets)
        if self.split in found:
            raise ConfigError(f"eval.sets: expected another name than the split's, '{self.split}'")
        return self.model_copy(update={"sets_digests": found})

    def setup(self) -> Setup:
        """Return how each student is measured."""
        return Setup(
            self.max_new_tokens,
            self.batch_size,
            self.seed,
            tuple(self.lm_eval_tasks),
            self.lm_eval_limit,
        )


def eval(  # noqa: A001 - a stage's function has its name
    *,
    model: Model,
    warmed: Model,
    base: Model,
    teacher: Responses,
    pairs: Pairs,
    config: EvalConfig,
    out: Place,
) -> Report:
    """Measure the base student, the warmed-up one and the trained one, on held-out prompts.

    Answers are greedy. ROUGE-L to the teacher, likelihood of the teacher's answers, preference
    accuracy, exact match on checkable prompts, length, answers that stop, answers that repeat: for
    each model, and as paired changes between them, with bootstrap 95 % intervals; also by the
    script that prompts are written in, where they mix several. Of each task set, what needs no
    answer of the teacher. Then lm-eval's tasks. `warmed` is the student that the last training
    started from; where it is the base, or the trained student itself, two models are compared.

    Raises:
        ConfigError: a task of lm-eval is unknown, or the file of a task set is not there.
        DataError: there are no held-out answers, or no prompt of a task set can be asked.
    """
    check_tasks(config.lm_eval_tasks)
    questions = make_questions(
        teacher,
        pairs,
        map(open_task_set, config.sets),
        base,
        split=config.split,
        max_new_tokens=config.max_new_tokens,
    )
    inputs = {"model": model, "warmed": warmed, "base": base, "teacher": teacher, "pairs": pairs}
    models = {"before": base, "warmed": warmed, "after": model}
    if warmed.weights_digest in (base.weights_digest, model.weights_digest):
        del models["warmed"]
    bootstrap = {"samples": config.bootstrap_samples, "seed": config.seed}
    with Report.create(out, config=config, inputs=inputs) as writer:
        measured = {
            name: measure(name, each, questions, config.setup(), out)
            for name, each in models.items()
        }
        for drops in questions.drops.values():
            for key, (reason, detail) in drops.items():
                writer.drop(key, reason, detail)
        figures = make_figures(measured, questions, **bootstrap)
        figures["lm_eval_with"] = _lm_eval_with(config)
        figures |= _lineage(models, teacher, pairs)
        figures["regressions"] = find_regressions(
            measured["before"],
            measured["after"],
            {
                row.prompt.id: slices_of(row.prompt.messages, row.prompt.expected)
                for row in questions.rows
            },
            **bootstrap,
        )
        curves = [_curve(each) for name, each in models.items() if name != "before"]
        _write(writer, figures, samples_of(measured, questions), curves)
        scores = {
            name: {metric: found[metric] for metric in METRICS} for name, found in measured.items()
        }
        (writer.path / Report.SCORES).write_text(json.dumps(scores), encoding="utf-8")
        _write_logs(writer, teacher, curves)
    return Report.open(out)


def _lm_eval_with(config: EvalConfig) -> dict[str, Any]:
    return {
        "version": importlib.metadata.version("lm_eval"),
        "batch_size": config.batch_size,
        "limit": config.lm_eval_limit,
    }


def _lineage(models: dict[str, Model], teacher: Responses, pairs: Pairs) -> dict[str, Any]:
    """Return where the figures come from: rows kept and dropped, trainings, teacher, weights."""
    return {
        "rows": {
            "prompts": len(teacher),
            "pairs": len(pairs),
            "drops": pairs.manifest.drops,
        },
        "funnel": [dataclasses.asdict(step) for step in _funnel(pairs).steps],
        "audit": pairs.audit(),
        "trainings": models["after"].trainings,
        "teacher": teacher.manifest.facts["teacher"],
        "models": {name: MODELS[name] for name in models},
        "weights": {name: model.weights_digest for name, model in models.items()},
    }


def _funnel(pairs: Pairs) -> Funnel:
    drops = pairs.manifest.drops
    return build_funnel(len(pairs) + sum(drops.values()), drops, len(pairs))


def _curve(model: Model) -> list[Row]:
    metrics = model.path / LOGS / "metrics.jsonl"
    return list(read_rows(metrics.read_bytes())) if metrics.is_file() else []


def _write_logs(writer: Writer, teacher: Responses, curves: list[list[Row]]) -> None:
    """Keep what is no part of the result: who the teacher was then, and what training took."""
    steps = [
        row.figures for curve in curves for row in curve if isinstance(row.figures, StepFigures)
    ]
    cost = {
        "train_seconds": sum(step.seconds for step in steps),
        "peak_memory_gib": max((step.peak_memory_gib for step in steps), default=0),
    }
    logs = writer.path / LOGS
    logs.mkdir()
    fingerprint = teacher.manifest.account.get("fingerprint")
    (logs / "teacher.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    (logs / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


def _write(
    writer: Writer,
    figures: dict[str, Any],
    samples: list[dict[str, Any]],
    curves: list[list[Row]],
) -> None:
    for sample in samples:
        writer.write(Report.SAMPLES, sample)
    charts = draw_charts(curves)
    files = {
        Report.FIGURES: json.dumps(figures, indent=2),
        Report.CHARTS: json.dumps(charts),
        Report.TABLE: render_markdown(figures),
        Report.PAGE: render_html(figures, samples, charts),
    }
    for name, text in files.items():
        (writer.path / name).write_text(text, encoding="utf-8")
