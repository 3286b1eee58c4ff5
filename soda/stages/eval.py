"""Measure the student before training, after its warm-up, and after training."""

import json
from typing import Any, Literal

from pydantic import Field

from soda import storage
from soda.artifacts.kinds import Model, Pairs, Report, Responses
from soda.artifacts.writer import LOGS, Writer
from soda.config import Config
from soda.errors import DataError
from soda.evaluation.lm_eval_runner import check_tasks, run_tasks
from soda.evaluation.metrics import CHANGES, METRICS, MODELS, intervals, rouge_l
from soda.evaluation.report import render_html, render_markdown
from soda.expected import is_right
from soda.progress import progress, say
from soda.rows import Pair, Response
from soda.storage import Place
from soda.student.chat import ChatError, ChatFormat
from soda.training.run.metrics import Row, StepFigures, read_rows
from soda.words import script

__all__ = ["EvalConfig", "eval"]

_BATCH_TOKENS = 2048  # scored at once
Measurement = dict[str, Any]  # "texts": {prompt id: answer}, metric: {prompt or pair id: number}


class EvalConfig(Config):
    """What is measured, and how surely."""

    split: Literal["test", "validation"] = Field(
        "test", description="validation is for choosing a recipe, test for the figures you report"
    )
    max_new_tokens: int = Field(512, ge=1, description="an answer that reaches it has not stopped")
    batch_size: int = Field(64, ge=1)
    lm_eval_tasks: list[str] = Field(
        ["soda_facts"], description="tasks of lm-eval; soda_facts is ours and needs no network"
    )
    lm_eval_limit: int | None = Field(None, ge=1, description="only the first rows of each task")
    bootstrap_samples: int = Field(2000, ge=100)
    seed: int = 0


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
    script that prompts are written in, where they mix several. Then lm-eval's tasks. `warmed` is
    the student that the last training started from; where it is the base, or the trained student
    itself, two models are compared.
    """
    check_tasks(config.lm_eval_tasks)
    rows = [
        row
        for row in teacher.rows()
        if row.prompt.split == config.split and row.outcome == "answered"
    ]
    held_out = list(pairs.rows(config.split))
    rows, refused = _scorable(rows, ChatFormat.load(base.path))
    if not rows:
        raise DataError(f"{teacher.path}: expected answers in split '{config.split}', found none")
    inputs = {"model": model, "warmed": warmed, "base": base, "teacher": teacher, "pairs": pairs}
    models = {"before": base, "warmed": warmed, "after": model}
    if warmed.weights_digest in (base.weights_digest, model.weights_digest):
        del models["warmed"]
    with Report.create(out, config=config, inputs=inputs) as writer:
        measured = {
            name: _measure(writer, name, each, rows, held_out, config)
            for name, each in models.items()
        }
        for key, error in refused.items():
            writer.drop(key, error.reason, str(error))
        figures = _figures(measured, rows, held_out, config)
        figures |= _lineage(models, teacher, pairs)
        samples = [_sample(row, measured) for row in rows]
        curves = [_curve(each) for name, each in models.items() if name != "before"]
        _write(writer, figures, samples, curves)
        _write_logs(writer, teacher, curves)
    return Report.open(out)


def _scorable(
    rows: list[Response], chat: ChatFormat
) -> tuple[list[Response], dict[str, ChatError]]:
    """Return the rows that the template takes, and why it takes no others, by the prompt's id."""
    taken = []
    refused = {}
    for row in rows:
        try:
            chat.answer_ids(row.prompt.messages, row.text, stopped=True)
            taken.append(row)
        except ChatError as error:
            refused[row.prompt.id] = error
    if refused:
        say(f"eval: {len(refused)} of {len(rows)} prompts are not asked: the template refuses them")
    return taken, refused


def _measure(
    writer: Writer,
    name: str,
    model: Model,
    rows: list[Response],
    pairs: list[Pair],
    config: EvalConfig,
) -> Measurement:
    """Measure one model; what an earlier try measured is read from the work folder."""
    kept = writer.work / f"{name}.json"
    if kept.is_file():
        found: Measurement = json.loads(kept.read_bytes())
        return found
    from soda.student.generate import load_model

    chat = ChatFormat.load(model.path)
    loaded = load_model(model.path)
    measured = _answers(loaded, chat, rows, config, name)
    measured |= _likelihoods(loaded, chat, rows, pairs, name)
    say(f"eval: {name}: lm-eval {', '.join(config.lm_eval_tasks) or 'nothing'}")
    measured["lm_eval"] = run_tasks(
        loaded,
        chat.tokenizer,
        config.lm_eval_tasks,
        limit=config.lm_eval_limit,
        batch_size=config.batch_size,
    )
    storage.write_atomically(kept, json.dumps(measured).encode())
    writer.push()
    return measured


def _answers(
    model: Any, chat: ChatFormat, rows: list[Response], config: EvalConfig, name: str
) -> Measurement:
    """Sample greedy answers, and what can be told of them."""
    from soda.student.generate import Answer, Sampling, sample

    prompts = [chat.prompt_ids(row.prompt.messages) for row in rows]
    sampling = Sampling(0, 1, config.max_new_tokens, config.seed, config.batch_size)
    bar = progress(f"eval: {name}: answers", total=len(rows), unit="answers")
    drawn: dict[int, Answer] = {}
    for place, answer in sample(model, chat, prompts, sampling):
        drawn[place] = answer
        bar.update()
    bar.close()
    answers = [drawn[place] for place in range(len(rows))]
    texts = [answer.text for answer in answers]
    rouge = rouge_l([row.text for row in rows], texts)
    found: Measurement = {key: {} for key in ("texts", *METRICS)}
    for row, answer, score in zip(rows, answers, rouge, strict=True):
        key = row.prompt.id
        theirs = len(chat.answer_ids(row.prompt.messages, row.text, stopped=True))
        found["texts"][key] = answer.text
        found["rouge_l"][key] = score
        found["length_ratio"][key] = answer.tokens / theirs
        found["stopped"][key] = float(answer.stopped)
        found["repetitive"][key] = float(answer.repeats)
        if row.prompt.expected is not None:
            found["exact_match"][key] = float(is_right(row.prompt.expected, answer.text))
    return found


def _likelihoods(
    model: Any, chat: ChatFormat, rows: list[Response], pairs: list[Pair], name: str
) -> Measurement:
    """Return the log-probability a token of teacher answers, and which pairs are preferred."""
    from soda.training.model.examples import Example, answered, tokenize
    from soda.training.model.policy import Policy
    from soda.training.model.processes import Processes
    from soda.training.objectives.reference import logps_of_answers

    whole = [answered(row, chat) for row in rows]
    both = [tokenize(pair, chat) for pair in pairs]
    policy = Policy(model, chat.pad, max(map(len, whole + both)))
    bar = progress(f"eval: {name}: likelihoods", total=len(rows) + len(pairs), unit="answers")

    def score(examples: list[Example]) -> dict[str, list[float]]:
        """Return the mean log-probability a token of every example's answers."""
        lengths = {one.id: [max(1, len(answer)) for answer in one.answers] for one in examples}
        logps = dict(logps_of_answers(policy, examples, Processes(), _BATCH_TOKENS, bar.update))
        return {
            key: [logp / tokens for logp, tokens in zip(logps[key], lengths[key], strict=True)]
            for key in lengths
        }

    teacher_logp = {key: found[0] for key, found in score(whole).items()}
    preferred = {key: float(chosen > rejected) for key, (chosen, rejected) in score(both).items()}
    bar.close()
    return {"teacher_logp": teacher_logp, "preference_accuracy": preferred}


def _figures(
    measured: dict[str, Measurement], rows: list[Response], pairs: list[Pair], config: EvalConfig
) -> dict[str, Any]:
    scripts: dict[str, set[str]] = {}
    for row in rows:
        asked = row.prompt.messages[-1]["content"]
        scripts.setdefault(script(asked), set()).add(row.prompt.id)
    by_script = {
        name: {"prompts": len(scripts[name]), "metrics": _metrics(measured, scripts[name], config)}
        for name in sorted(scripts, key=lambda name: (-len(scripts[name]), name))
    }
    tasks = {
        task: {
            key: {
                **{model: found["lm_eval"][task][key] for model, found in measured.items()},
                "stderr": values.get(f"{key}_stderr", 0.0),
            }
            for key in values
            if not key.endswith("_stderr")
        }
        for task, values in measured["before"]["lm_eval"].items()
    }
    return {
        "split": config.split,
        "prompts": len(rows),
        "pairs": len(pairs),
        "metrics": _metrics(measured, None, config),
        "scripts": by_script if len(by_script) > 1 else {},
        "lm_eval": tasks,
    }


def _metrics(
    measured: dict[str, Measurement], prompts: set[str] | None, config: EvalConfig
) -> dict[str, Any]:
    """Return every metric's figures, over all prompts or some; without those of nothing."""
    changes = {key: ends for key, ends in CHANGES.items() if set(ends) <= measured.keys()}
    metrics = {}
    for name, metric in METRICS.items():
        keys = [key for key in measured["before"][name] if prompts is None or key in prompts]
        if keys:
            metrics[name] = {
                "label": metric.label,
                "better": metric.better,
                "count": len(keys),
                **intervals(
                    {
                        model: [found[name][key] for key in keys]
                        for model, found in measured.items()
                    },
                    changes,
                    samples=config.bootstrap_samples,
                    seed=config.seed,
                ),
            }
    return metrics


def _lineage(models: dict[str, Model], teacher: Responses, pairs: Pairs) -> dict[str, Any]:
    """Return where the figures come from: rows kept and dropped, trainings, teacher, weights."""
    return {
        "rows": {
            "prompts": len(teacher),
            "pairs": len(pairs),
            "drops": pairs.manifest.drops,
        },
        "trainings": models["after"].trainings,
        "teacher": teacher.manifest.facts["teacher"],
        "models": {name: MODELS[name] for name in models},
        "weights": {name: model.weights_digest for name, model in models.items()},
    }


def _sample(row: Response, measured: dict[str, Measurement]) -> dict[str, Any]:
    key = row.prompt.id

    def right(found: Measurement) -> bool | None:
        value = found["exact_match"].get(key)
        return None if value is None else bool(value)

    return {
        "id": key,
        "prompt": row.prompt.messages,
        "teacher": row.text,
        **{name: found["texts"][key] for name, found in measured.items()},
        "expected": row.prompt.expected,
        **{f"{name}_right": right(found) for name, found in measured.items()},
    }


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
        writer.write("samples.jsonl", sample)
    files = {
        "report.json": json.dumps(figures, indent=2),
        "report.md": render_markdown(figures),
        "report.html": render_html(figures, samples, curves),
    }
    for name, text in files.items():
        (writer.path / name).write_text(text, encoding="utf-8")
