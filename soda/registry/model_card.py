"""The model card: lineage and figures -> Markdown with the hub's front matter."""

import json
from collections.abc import Mapping
from typing import Any

from soda.config import summary
from soda.training.objectives.losses import LOSSES

__all__ = ["render_card"]

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [distillation, {method}]
---

# {name}

A small student distilled from `{teacher}` with {how}

## Held-out figures

Bootstrap 95 % intervals over {prompts} prompts of split `{split}`.

| metric | before | after | change |
| --- | --- | --- | --- |
{rows}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("model")
model = AutoModelForCausalLM.from_pretrained("model")
```

## Limits

It was compared with its base on the prompts above only. It can be wrong, and it has the teacher's
faults and the base's. The terms of teacher and base model apply.

## Lineage

```json
{lineage}
```
"""

_HOW = {
    "soda": "SODA (arXiv 2604.03873): the teacher's answers are chosen, the base\n"
    "student's own answers, sampled once before training, are rejected. {sft}The loss:\n"
    "{loss}.",
    "seqkd": "SeqKD: fine-tuning on the teacher's answers.",
    "gad": "GAD (arXiv 2511.10643). {sft}A discriminator learns to tell\n"
    "the teacher's answers from the student's, and GRPO trains the student to pass.",
}


def render_card(lineage: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return the card of one registered version."""
    train = lineage["train_config"]
    sft = f"{train['sft_epochs']} epoch(s) of SFT came first. " if train["sft_epochs"] else ""
    how = _HOW[train["method"]].format(sft=sft, loss=summary(LOSSES[train["loss"]["name"]]))
    return _CARD.format(
        name=lineage["name"],
        teacher=lineage["teacher"]["model"],
        method=train["method"],
        how=how,
        prompts=figures["prompts"],
        split=figures["split"],
        rows="\n".join(_row(metric) for metric in figures["metrics"].values()),
        lineage=json.dumps(lineage, indent=2, sort_keys=True),
    )


def _row(metric: Mapping[str, Any]) -> str:
    before, after = metric["before"]["mean"], metric["after"]["mean"]
    change = metric["change"]
    interval = f"{change['mean']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    return f"| {metric['label']} | {before:.3f} | {after:.3f} | {interval} |"
