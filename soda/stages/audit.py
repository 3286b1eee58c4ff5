"""Check before training: is the teacher better, and is the data fit to learn from."""

import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from soda.artifacts.dataset_card import render_dataset_card
from soda.artifacts.kinds import Pairs, Responses
from soda.artifacts.writer import DROPS, Writer
from soda.audit.funnel import build_funnel
from soda.audit.training_pairs import balance, find_contaminated, find_sensitive, find_shortcuts
from soda.config import Config
from soda.dataset.task_set import open_task_set, task_set_digests
from soda.endpoint.budget import Price
from soda.endpoint.limits import Limits
from soda.errors import DataError
from soda.evaluation.audit_page import render_audit
from soda.judging.judged_pairs import JudgedPairs, Plan, judge_pairs
from soda.judging.judges import same_family
from soda.judging.model import JudgeModel, judge_of
from soda.progress import say
from soda.rows import Pair, Split, digest
from soda.storage import Place

__all__ = ["AuditConfig", "audit"]

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class AuditConfig(Config):
    """How far the teacher has to be ahead, who judges it, and what is dropped."""

    aside: ClassVar[tuple[str, ...]] = ("price", "limits", "held_out")

    judge: JudgeModel = Field(
        JudgeModel(), description="who compares the answers; its key is in SODA_JUDGE_API_KEY"
    )
    judged: Literal["sample", "all"] = Field(
        "sample", description="'all': every pair, so that every inverted one is dropped"
    )
    gate: Literal["stop", "warn"] = Field(
        "stop", description="what happens where the teacher is not shown to be better"
    )
    threshold: float = Field(0.60, gt=0, lt=1, description="the teacher's least win rate")
    width: float = Field(0.10, gt=0, lt=1, description="of the interval, which plans the sample")
    balance_length: bool = Field(
        False, description="drop pairs until chosen answers are as often the shorter"
    )
    held_out: list[str] = Field(
        [],
        description="what must not stand in the prompts, beside the validation and test prompts: "
        "task sets (vicuna-80=FILE) and files",
    )
    held_out_digests: dict[str, str] = Field({}, description="of what is in them; filled in")
    sensitive: Literal["off", "report", "drop"] = Field(
        "report", description="secrets and personal data in prompts and answers"
    )
    seed: int = 0
    price: Price = Field(Price(), description="USD per million tokens of the judge")
    limits: Limits = Field(Limits(), description="as of teacher-gen; usd is for this stage")

    def pin(self) -> Self:
        """Write the judge from the environment, and digests of the held-out sets, into it."""
        values = self.model_dump()
        values["judge"] = self.judge.pinned()
        values["held_out_digests"] = task_set_digests(self.held_out)
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide the result."""
        return {**super().deciding(), "judge": self.judge.deciding()}


def audit(*, pairs: Pairs, teacher: Responses, config: AuditConfig, out: Place) -> Pairs:
    """Keep the pairs that are fit for training, and stop where the teacher is not clearly better.

    A judge compares chosen and rejected answers of a random sample of training prompts; without one
    verifiers do, where enough prompts are checkable. Inverted and equal pairs, contaminated ones
    and, if asked for, those with sensitive data or of unbalanced length are dropped with their
    reason. Validation and test pairs stay as they are. `audit.json` and `audit.html` say what was
    found; the drops of pair-build are kept, so that the funnel's sums are exact. A judge's key is
    read from SODA_JUDGE_API_KEY.

    Raises:
        DataError: the gate says stop: the win rate is not shown to reach the threshold, or over
            35 % of the judged pairs are inverted.
    """
    expected = {row.prompt.id: row.prompt.expected for row in teacher.rows()}
    plan = Plan(
        config.threshold,
        config.width,
        config.judged == "all",
        config.judge.calibration,
        config.seed,
    )
    with Pairs.create(out, config=config, inputs={"pairs": pairs, "teacher": teacher}) as writer:
        with judge_of(config, pairs, out) as (judge, account):
            judged = judge_pairs(lambda: pairs.rows("train"), expected, judge, plan)
        writer.account.update(judge=account())
        _check(judged, config, str(teacher.manifest.facts["teacher"]["model"]))
        drops = dict(judged.drops)
        facts = judged.to_json() | _look(pairs, _items(teacher, config), config, drops)
        _write(writer, pairs, facts, drops, judged)
    return Pairs.open(out)


def _check(judged: JudgedPairs, config: AuditConfig, teacher: str) -> None:
    """Say what the reader has to know, and stop where the gate says so.

    Raises:
        DataError: it does.
    """
    gap, inverted = judged.gap, judged.inverted
    if same_family(judged.judge, teacher) and judged.judge:
        say(
            f"audit: the judge {judged.judge} is of the teacher's family ({teacher}), which judges "
            "tend to favour"
        )
    for bias in judged.biases:
        if not bias.fair:
            say(f"audit: the judge is not fair: {bias.label} in {bias.rate.mean:.0%} of cases")
    if gap.decision == "not measured":
        say(f"audit: THE GAP IS NOT MEASURED: {gap.reason}; nobody knows if the teacher is better")
        return
    say(f"audit: {gap.decision}: {gap.reason}")
    problems = [] if gap.decision == "pass" else [gap.reason]
    share = f"the rejected answer is the better one in {inverted.share:.0%} of judged pairs"
    if inverted.action == "stop":
        problems.append(share)
    elif inverted.action == "warn":
        say(f"audit: {share}")
    if problems and config.gate == "stop":
        raise DataError(
            f"audit: expected a teacher that is clearly better, found: {'; '.join(problems)}; "
            "choose another teacher, or set audit.gate to warn to go on and see the page"
        )


def _items(teacher: Responses, config: AuditConfig) -> dict[str, str]:
    """Return what must not stand in the training prompts: id -> text."""
    items = {
        f"{row.prompt.split}:{row.prompt.id}": row.prompt.messages[-1]["content"]
        for row in teacher.rows()
        if row.prompt.split != "train"
    }
    for each in config.held_out:
        items |= {task.id: task.text for task in open_task_set(each).tasks()}
    return items


def _look(
    pairs: Pairs, items: dict[str, str], config: AuditConfig, drops: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """Check what needs no judge; return the facts, and add to the drops."""

    def left() -> Iterator[Pair]:
        return (row for row in pairs.rows("train") if row.id not in drops)

    contamination, found = find_contaminated(left, items, config.seed)
    drops.update(found)
    sensitive = None
    if config.sensitive != "off":
        sensitive, found = find_sensitive(left)
        if config.sensitive == "drop":
            drops.update(found)
    if config.balance_length:
        drops.update(balance(left, config.seed))
    facts, shortcuts = find_shortcuts(left, config.seed)
    for one in shortcuts:
        if one.warn:
            say(
                f"audit: {one.feature} alone tells the chosen answer with an AUC of {one.auc:.2f}: "
                "the student may learn that instead; audit.balance_length helps against length"
            )
    return {"contamination": contamination, "sensitive": sensitive, "shortcuts": facts}


def _write(
    writer: Writer,
    pairs: Pairs,
    facts: dict[str, Any],
    drops: dict[str, tuple[str, str]],
    judged: JudgedPairs,
) -> None:
    """Write what is kept, what was dropped here and before, and the page."""
    for row in pairs.read_rows(DROPS):
        writer.drop(row["id"], row["reason"], row["detail"])
    for split in _SPLITS:
        for pair in pairs.rows(split):
            if split == "train" and pair.id in drops:
                writer.drop(pair.id, *drops[pair.id])
            else:
                writer.write(f"{split}.jsonl", pair.to_json())
    if not writer.rows["train.jsonl"]:
        dropped = ", ".join(f"{count} {reason}" for reason, count in writer.drops.items())
        raise DataError(f"audit: expected pairs to train on, found none left; dropped: {dropped}")
    splits = [split for split in _SPLITS if writer.rows[f"{split}.jsonl"]]
    kept = sum(writer.rows[f"{split}.jsonl"] for split in splits)
    prompts = len(pairs) + sum(pairs.manifest.drops.values())
    steps = build_funnel(prompts, writer.drops, kept).steps
    facts = _plain(facts | {"funnel": [dataclasses.asdict(step) for step in steps]})
    for verdict in judged.verdicts:
        writer.write(Pairs.VERDICTS, verdict.to_json())
    files = {
        Pairs.AUDIT: json.dumps(facts, indent=2, allow_nan=False),
        Pairs.PAGE: render_audit(facts),
        "README.md": render_dataset_card(splits, digest([pairs.digest, sorted(drops)])),
    }
    for name, text in files.items():
        (writer.path / name).write_text(text, encoding="utf-8")
    writer.facts.update(pairs.manifest.facts)
    writer.facts["gap"] = {"decision": judged.gap.decision, "reason": judged.gap.reason}


def _plain(value: Any) -> Any:
    """Put null for what is no number: JSON has no NaN."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
    return value
