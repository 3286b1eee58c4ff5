"""Check before training: is the teacher better, and is the data fit to learn from."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from soda.artifacts.dataset_card import render_dataset_card
from soda.artifacts.kinds import Pairs, Responses
from soda.artifacts.writer import DROPS, Writer
from soda.audit.contamination import HeldOut, measure_recall
from soda.audit.funnel import build_funnel
from soda.audit.sensitive import SensitiveScan
from soda.audit.shortcuts import audit_shortcuts, length_balanced
from soda.config import Config
from soda.dataset.task_set import open_task_set
from soda.endpoint.budget import Price
from soda.endpoint.limits import Limits
from soda.errors import DataError
from soda.evaluation.audit_page import render_audit
from soda.judging.calibration import Bias, calibrate
from soda.judging.gap import (
    Gap,
    Inverted,
    equal_pairs,
    inverted_pairs,
    measure_gap,
    not_measured,
    random_order,
)
from soda.judging.judges import Judge, judge_all, same_family
from soda.judging.model import Bill, JudgeModel, open_judge
from soda.judging.verdicts import Matchup, Verdict
from soda.judging.verifiers import VerifierJudge
from soda.progress import say
from soda.rows import Expected, Pair, Split, digest
from soda.slices import slices_of
from soda.statistics.intervals import sample_size
from soda.storage import Place

__all__ = ["AuditConfig", "audit"]

_ENOUGH = 30  # checkable prompts that verifiers alone are asked about, at least
_BLOCK = 4096  # pairs judged at once, where all are
_SHOWN = 5_000  # pairs of which shortcuts are looked for
_SPARE = 2  # times as many prompts as planned, as some verdicts may be unclear
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
    held_out_digests: list[str] = Field([], description="of what is in them; filled in")
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
        values["held_out_digests"] = [open_task_set(each).digest for each in self.held_out]
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide the result."""
        return {**super().deciding(), "judge": self.judge.deciding()}


@dataclass(slots=True)
class _Found:
    """What the audit found, before anything is written."""

    gap: Gap
    inverted: Inverted
    judge: str
    protocol: str
    biases: list[Bias]
    bill: Bill
    verdicts: list[Verdict]
    why: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> reason, detail
    facts: dict[str, Any] = field(default_factory=dict)


def audit(*, pairs: Pairs, teacher: Responses, config: AuditConfig, out: Place) -> Pairs:
    """Keep the pairs that are fit for training, and stop where the teacher is not clearly better.

    A judge compares chosen and rejected answers of a random sample of training prompts; without one
    verifiers do, where enough prompts are checkable. Inverted and equal pairs, contaminated ones
    and, if asked for, those with sensitive data or of unbalanced length are dropped with their
    reason. Validation and test pairs stay as they are. `audit.json` and `audit.html` say what was
    found; the drops of pair-build are kept, so that the funnel's sums are exact.

    Raises:
        DataError: the gate says stop: the win rate is not shown to reach the threshold, or over
            35 % of the judged pairs are inverted.
    """
    expected = {row.prompt.id: row.prompt.expected for row in teacher.rows()}
    share = digest([pairs.digest, config.stage()])
    model = open_judge(
        config.judge,
        out.store(),
        stage=config.stage(),
        share=share,
        price=config.price,
        limits=config.limits,
    )
    with (
        Pairs.create(out, config=config, inputs={"pairs": pairs, "teacher": teacher}) as writer,
        model as (judge, bill),
    ):
        taught_by = str(teacher.manifest.facts["teacher"]["model"])
        found = _judged(pairs, expected, judge, bill, config)
        _check(found, config, taught_by)
        _contaminated(pairs, teacher, config, found)
        with _scan(config) as scan:
            _sensitive(pairs, scan, config, found)
        _shortcuts(pairs, config, found)
        _write(writer, pairs, found, config)
    return Pairs.open(out)


def _judged(
    pairs: Pairs,
    expected: dict[str, Expected | None],
    judge: Judge | None,
    bill: Bill,
    config: AuditConfig,
) -> _Found:
    """Measure the gap, and find inverted and equal pairs among what was judged."""
    planned = sample_size(config.width)
    ids = [row.id for row in pairs.rows("train") if judge or expected.get(row.id) is not None]
    order = random_order(ids, config.seed)[: _SPARE * planned]
    name, protocol = (judge.name, config.judge.protocol) if judge else ("verifiers", "")
    biases: list[Bias] = []
    verdicts: list[Verdict] = []
    if judge is None and len(ids) < _ENOUGH:
        reason = f"there is no judge, and of the pairs {len(ids)} are checkable, fewer than"
        gap = not_measured(config.threshold, f"{reason} {_ENOUGH}")
        return _Found(gap, inverted_pairs([]), "", "", biases, bill, verdicts)
    wanted = set(order)
    sample = {row.id: _matchup(row, expected) for row in pairs.rows("train") if row.id in wanted}
    matchups = [sample[each] for each in order]
    judge = judge or VerifierJudge()
    stream = _kept(judge_all(judge, matchups), verdicts)
    gap = measure_gap(stream, threshold=config.threshold, width=config.width)
    if isinstance(judge, VerifierJudge):
        protocol = "right or wrong"
    elif config.judge.calibration:
        biases = calibrate(judge, matchups, count=config.judge.calibration, seed=config.seed)
    if config.judged == "all":
        done = {verdict.id for verdict in verdicts}
        others = (
            _matchup(row, expected)
            for row in pairs.rows("train")
            if row.id not in done and (config.judge.name or expected.get(row.id) is not None)
        )
        verdicts.extend(judge_all(judge, others, _BLOCK))
    found = _Found(gap, inverted_pairs(verdicts), name, protocol, biases, bill, verdicts)
    for row_id in found.inverted.ids:
        found.why[row_id] = ("inverted", f"{name} prefers the rejected answer in every order")
    for row_id in equal_pairs(verdicts):
        found.why[row_id] = ("judged_equal", f"{name} prefers neither answer in any order")
    return found


def _kept(verdicts: Iterable[Verdict], into: list[Verdict]) -> Iterator[Verdict]:
    for verdict in verdicts:
        into.append(verdict)
        yield verdict


def _matchup(row: Pair, expected: dict[str, Expected | None]) -> Matchup:
    wanted = expected.get(row.id)
    check = None if wanted is None else {"kind": "expected", "expected": wanted}
    chosen, rejected = row.chosen[0]["content"], row.rejected[0]["content"]
    return Matchup(row.id, row.prompt, chosen, rejected, check, slices_of(row.prompt, wanted))


def _check(found: _Found, config: AuditConfig, teacher: str) -> None:
    """Say what the reader has to know, and stop where the gate says so.

    Raises:
        DataError: it does.
    """
    gap, inverted = found.gap, found.inverted
    if found.judge and same_family(found.judge, teacher):
        say(
            f"audit: the judge {found.judge} is of the teacher's family ({teacher}), which judges "
            "tend to favour"
        )
    for bias in found.biases:
        if not bias.fair:
            say(f"audit: the judge is biased: {bias.label} in {bias.rate.mean:.0%} of cases")
    if gap.decision == "not measured":
        say(f"audit: THE GAP IS NOT MEASURED: {gap.reason}; nobody knows if the teacher is better")
        return
    say(f"audit: {gap.decision}: {gap.reason}")
    problem = "" if gap.decision == "pass" else f"the gap is not shown: {gap.reason}"
    if inverted.action != "keep going":
        text = f"of {inverted.share:.0%} of judged pairs the rejected answer is the better one"
        problem = f"{problem}; {text}" if problem else text
        if inverted.action == "warn" and gap.decision == "pass":
            say(f"audit: {text}")
            return
    if problem and config.gate == "stop":
        raise DataError(
            f"audit: expected a teacher that is clearly better; {problem}; training would teach "
            "little: choose another teacher, or set audit.gate to warn to go on and see the page"
        )
    if problem:
        say(f"audit: {problem}")


def _contaminated(pairs: Pairs, teacher: Responses, config: AuditConfig, found: _Found) -> None:
    """Find held-out items in the training prompts."""
    items = {
        f"{row.prompt.split}:{row.prompt.id}": row.prompt.messages[-1]["content"]
        for row in teacher.rows()
        if row.prompt.split != "train"
    }
    for each in config.held_out:
        items |= {task.id: task.text for task in open_task_set(each).tasks()}
    index, hits = HeldOut(items.items()), []
    for row in pairs.rows("train"):
        text = "\n".join(turn["content"] for turn in row.prompt)
        matches = [index.find(text), index.find(row.prompt[-1]["content"])]
        match = next((one for one in matches if one is not None), None)
        if match is not None:
            hits.append({"id": row.id, "item": match.item, "how": match.how})
            found.why.setdefault(row.id, ("contaminated", f"{match.item}, {match.how}"))
    found.facts["contamination"] = {
        "items": len(items),
        "found": len(hits),
        "examples": hits[:20],
        "recall": measure_recall(items, seed=config.seed),
    }


def _scan(config: AuditConfig) -> contextlib.AbstractContextManager[SensitiveScan | None]:
    return contextlib.nullcontext() if config.sensitive == "off" else SensitiveScan()


def _sensitive(
    pairs: Pairs, scan: SensitiveScan | None, config: AuditConfig, found: _Found
) -> None:
    """Count secrets and personal data, by kind; what they are is never kept."""
    if scan is None:
        found.facts["sensitive"] = None
        return
    kinds: dict[str, int] = {}
    rows = 0
    for row in pairs.rows("train"):
        texts = [turn["content"] for turn in (*row.prompt, *row.chosen, *row.rejected)]
        here = scan.kinds("\n".join(texts))
        rows += bool(here)
        for kind in here:
            kinds[kind] = kinds.get(kind, 0) + 1
        if here and config.sensitive == "drop":
            found.why.setdefault(row.id, ("sensitive", ", ".join(here)))
    found.facts["sensitive"] = {"rows": rows, "kinds": dict(sorted(kinds.items()))}


def _shortcuts(pairs: Pairs, config: AuditConfig, found: _Found) -> None:
    """Measure what chosen answers can be told by, of those that are left."""
    left = [row.id for row in pairs.rows("train") if row.id not in found.why]
    if config.balance_length:
        lengths = [
            (len(row.chosen[0]["content"]), len(row.rejected[0]["content"]))
            for row in pairs.rows("train")
            if row.id not in found.why
        ]
        balanced = {left[place] for place in length_balanced(lengths, config.seed)}
        for row_id in left:
            if row_id not in balanced:
                found.why[row_id] = ("unbalanced", "")
        left = [row_id for row_id in left if row_id in balanced]
    sample = set(random_order(left, config.seed)[:_SHOWN])
    answers = [
        (row.chosen[0]["content"], row.rejected[0]["content"])
        for row in pairs.rows("train")
        if row.id in sample
    ]
    shortcuts = audit_shortcuts(answers, config.seed)
    found.facts["shortcuts"] = [{**dataclasses.asdict(one), "warn": one.warn} for one in shortcuts]
    for one in shortcuts:
        if one.warn:
            say(
                f"audit: by {one.feature} alone the chosen answer is told in {one.auc:.0%} of "
                "pairs: the student may learn that instead; see audit.balance_length"
            )


def _write(writer: Writer, pairs: Pairs, found: _Found, config: AuditConfig) -> None:
    """Write what is kept, what was dropped here and before, and the page."""
    for row in pairs.read_rows(DROPS):
        writer.drop(row["id"], row["reason"], row["detail"])
    for split in _SPLITS:
        for pair in pairs.rows(split):
            if split == "train" and pair.id in found.why:
                writer.drop(pair.id, *found.why[pair.id])
            else:
                writer.write(f"{split}.jsonl", pair.to_json())
    if not writer.rows["train.jsonl"]:
        drops = ", ".join(f"{count} {reason}" for reason, count in writer.drops.items())
        raise DataError(f"audit: expected pairs to train on, found none left; dropped: {drops}")
    kept = sum(writer.rows[f"{split}.jsonl"] for split in _SPLITS)
    prompts = len(pairs) + sum(pairs.manifest.drops.values())
    funnel = build_funnel(prompts, writer.drops, kept)
    facts = {
        "gap": _gap_facts(found, config),
        "inverted": dataclasses.asdict(found.inverted),
        "judge": {
            "name": found.judge,
            "protocol": found.protocol,
            "biases": [bias.to_json() for bias in found.biases],
        },
        "funnel": [dataclasses.asdict(step) for step in funnel.steps],
        **found.facts,
    }
    for verdict in found.verdicts:
        writer.write(Pairs.VERDICTS, verdict.to_json())
    card = render_dataset_card(
        (split for split in _SPLITS if writer.rows[f"{split}.jsonl"]),
        digest([pairs.digest, sorted(found.why)]),
    )
    files = {
        Pairs.AUDIT: json.dumps(_plain(facts), indent=2, allow_nan=False),
        Pairs.PAGE: render_audit(_plain(facts)),
        "README.md": card,
    }
    for name, text in files.items():
        (writer.path / name).write_text(text, encoding="utf-8")
    writer.account.update(judge=found.bill.to_json())
    writer.facts.update(pairs.manifest.facts)
    writer.facts["gap"] = {"decision": found.gap.decision, "reason": found.gap.reason}


def _gap_facts(found: _Found, config: AuditConfig) -> dict[str, Any]:
    gap = dataclasses.asdict(found.gap)
    return {**gap, "gate": config.gate, "clear": found.gap.counts.clear}


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
