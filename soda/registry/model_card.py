"""The model card: lineage and figures -> Markdown with the hub's front matter."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soda.escape import escape_markdown

__all__ = ["render_card"]

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [distillation, {tags}]
---

# {name}

A small student distilled from {teacher}.

## How

{how}

| student | sha256 of the weights |
| --- | --- |
{weights}

## Data

{data}

## Held-out figures

Bootstrap 95 % intervals over {prompts} prompts of split `{split}`.

| metric | {models} | change from base |
| --- | {lines}--- |
{rows}
{judged}
## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("model")
model = AutoModelForCausalLM.from_pretrained("model")
```

## Limits

It was compared with its base on the prompts above only. It can be wrong, and it has the teacher's
faults and the base's.

## Licences

The teacher's answers: {licence}. The base model's own terms apply to the weights.

## Lineage

```json
{lineage}
```
"""

_HOW = {
    "sft": "Fine-tuning on the teacher's answers (SFT){alone}.",
    "dpo": "Preference training against the student it starts from, which is the frozen\n"
    "reference: the teacher's answers are chosen; {rejected} are rejected.\n"
    "The loss is {loss}.",
    "gad": "GAD (arXiv 2511.10643): after a warm-up on the teacher's answers a discriminator\n"
    "learns to tell them from the student's, and GRPO trains the student to pass.",
}
_SYMBOLS = {"before": "q_0", "warmed": "q_w", "after": "q_theta"}


def render_card(lineage: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return the card of one registered version."""
    trainings, weights = lineage["trainings"], lineage["weights"]
    models = figures["models"]
    methods = [training["method"] for training in trainings]
    return _CARD.format(
        name=lineage["name"],
        teacher=escape_markdown(lineage["teacher"]["model"]),
        tags=", ".join(methods) or "untrained",
        how=_how(trainings, weights["before"]),
        weights="\n".join(
            f"| {escape_markdown(text)}, {_SYMBOLS[name]} | `{weights[name]}` |"
            for name, text in models.items()
        ),
        prompts=figures["prompts"],
        split=escape_markdown(figures["split"]),
        models=" | ".join(map(escape_markdown, models.values())),
        lines="--- | " * len(models),
        rows="\n".join(_row(metric, models) for metric in figures["metrics"].values()),
        data=_data(figures),
        judged=_judged(figures),
        licence=escape_markdown(lineage["teacher"]["licence"]),
        lineage=json.dumps(lineage, indent=2, sort_keys=True),
    )


def _how(trainings: Sequence[Mapping[str, Any]], base: str) -> str:
    """Return what was done to the base student, whose weights' digest is given, step by step."""
    steps = []
    for number, training in enumerate(trainings, start=1):
        loss = training["loss"]["source"] if training["loss"] else ""
        alone = ", which alone is SeqKD" if len(trainings) == 1 else ": the warm-up"
        rejected = _rejected(training["rejected_sources"], base)
        text = _HOW[training["method"]].format(loss=loss, alone=alone, rejected=rejected)
        checkpoint = training["checkpoint"]
        logp = checkpoint["validation_logp"]
        found = "" if logp is None else f" ({logp:.3f} nats a token on validation)"
        steps.append(
            f"{number}. {text} {training['epochs']} epoch(s) over {training['train_rows']} rows,\n"
            f"   peak rate {training['learning_rate']:g}, batch {training['batch_size']}. It ends "
            f"with the checkpoint of step\n   {checkpoint['step']} of {checkpoint['steps']}, "
            f"chosen by {checkpoint['chosen_by']}{found}."
        )
    methods = [training["method"] for training in trainings]
    if methods == ["sft", "dpo"] and _are_own(trainings[1]["rejected_sources"], base):
        steps.insert(0, "SODA (arXiv 2604.03873), in two trainings:\n")
    return "\n".join(steps) or "It is the base student as it was imported."


def _rejected(sources: Sequence[str], base: str) -> str:
    """Return whose answers were rejected: the base student's own, or those of named models."""
    if _are_own(sources, base):
        return "the untouched base student's own, sampled once\nbefore any training,"
    return f"those of {', '.join(map(escape_markdown, sources))}"


def _are_own(sources: Sequence[str], base: str) -> bool:
    """Tell whether all are the base student: a snapshot names a model by its weights' digest."""
    return all(source.endswith(f"-{base[:8]}") for source in sources)


def _row(metric: Mapping[str, Any], models: Iterable[str]) -> str:
    change = metric["change"]
    interval = f"{change['mean']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    means = " | ".join(f"{metric[name]['mean']:.3f}" for name in models)
    return f"| {escape_markdown(metric['label'])} | {means} | {interval} |"


def _data(figures: Mapping[str, Any]) -> str:
    """Return how many prompts became pairs, and what was found of them before training."""
    rows, audit = figures["rows"], figures.get("audit")
    drops = (
        ", ".join(
            f"{count} {escape_markdown(why.replace('_', ' '))}"
            for why, count in sorted(rows["drops"].items())
        )
        or "none"
    )
    gap = (
        f"The teacher beside the student: {escape_markdown(audit['gap']['reason'])}."
        if audit
        else "Whether the teacher is better than the student was not measured."
    )
    return f"{rows['prompts']} prompts gave {rows['pairs']} pairs; dropped: {drops}.\n{gap}"


def _judged(figures: Mapping[str, Any]) -> str:
    """Return a judge's win rates, with the judge's own biases."""
    judge = figures.get("judge", {})
    lines = [f"- {escape_markdown(one['said'])}" for one in judge.get("opponents", {}).values()]
    if not lines:
        return ""
    name = escape_markdown(judge["name"])
    biases = [
        f"- {bias['label']}: {bias['rate']['mean']:.0%} of {bias['pairs']} planted pairs"
        for bias in judge["biases"]
        if bias["rate"]["mean"] is not None
    ]
    return "\n".join(
        [
            "",
            f"Judged by {name} ({judge['protocol']}):",
            "",
            *lines,
            *biases,
            "",
        ]
    )
