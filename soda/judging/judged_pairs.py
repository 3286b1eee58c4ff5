"""Pairs judged before training: the gap, and pairs that teach nothing or the wrong way."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from soda.judging.judges import Judge, judge_all
from soda.judging.verdicts import SAME_ANSWER, Matchup, Verdict
from soda.judging.verifiers import VerifierJudge
from soda.rows import Expected, Pair
from soda.slices import slices_of
from soda.statistics.intervals import sample_size

__all__ = ["JudgedPairs", "Plan", "judge_pairs"]

_ENOUGH = 30  # checkable prompts that verifiers alone are asked about, at least
_BLOCK = 20_000  # pairs judged at once, where all are
_SPARE = 2  # times as many prompts as planned, as some verdicts may be unclear


@dataclass(frozen=True, slots=True)
class Plan:
    """What is judged, and what for.

    Args:
        threshold: the teacher's least win rate.
        width: of the interval, which plans the sample.
        everything: all pairs, not the sample alone.
        calibration: planted pairs of each kind, which measure the judge's biases.
    """

    threshold: float
    width: float
    everything: bool
    calibration: int
    seed: int


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """What judging found; `drops` are inverted and equal pairs: id -> reason, detail."""

    gap: Gap
    inverted: Inverted
    judge: str = ""
    protocol: str = ""
    biases: list[Bias] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    drops: dict[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all but verdicts and drops as a JSON object."""
        return {
            "gap": dataclasses.asdict(self.gap),
            "inverted": dataclasses.asdict(self.inverted),
            "judge": {
                "name": self.judge,
                "protocol": self.protocol,
                "biases": [bias.to_json() for bias in self.biases],
            },
        }


def judge_pairs(
    rows: Callable[[], Iterable[Pair]],
    expected: Mapping[str, Expected | None],
    judge: Judge | None,
    plan: Plan,
) -> JudgedPairs:
    """Compare chosen and rejected answers of a random sample of pairs, or of all.

    Args:
        rows: gives the pairs, the same each time.
        expected: what a right answer holds, by prompt.
        judge: who compares; None: verifiers, if enough prompts are checkable.
    """
    asked: Judge = judge or VerifierJudge()
    ids = [row.id for row in rows() if judge or expected.get(row.id) is not None]
    if judge is None and len(ids) < _ENOUGH:
        reason = f"there is no judge, and {len(ids)} pairs are checkable, fewer than {_ENOUGH}"
        return JudgedPairs(not_measured(plan.threshold, reason), inverted_pairs([]))
    order = random_order(ids, plan.seed)[: _SPARE * sample_size(plan.width)]
    wanted = set(order)
    sample = {row.id: _matchup(row, expected) for row in rows() if row.id in wanted}
    matchups = [sample[each] for each in order]
    verdicts: list[Verdict] = []
    stream = _kept(judge_all(asked, matchups), verdicts)
    gap = measure_gap(stream, threshold=plan.threshold, width=plan.width)
    biases = []
    if judge is not None and plan.calibration:
        biases = calibrate(judge, matchups, count=plan.calibration, seed=plan.seed)
    if plan.everything:
        done, all_ids = {verdict.id for verdict in verdicts}, set(ids)
        others = (
            _matchup(row, expected) for row in rows() if row.id in all_ids and row.id not in done
        )
        verdicts.extend(judge_all(asked, others, _BLOCK))
    protocols = {one.protocol for one in verdicts if one.protocol != SAME_ANSWER}
    return JudgedPairs(
        gap,
        inverted_pairs(verdicts),
        asked.name,
        ", ".join(sorted(protocols)),
        biases,
        verdicts,
        _drops(asked.name, verdicts, judge is not None),
    )


def _drops(judge: str, verdicts: list[Verdict], sees_quality: bool) -> dict[str, tuple[str, str]]:
    """Return what to drop; a verifier does not see which of two right answers is the better one."""
    inverted = ("inverted", f"{judge} prefers the rejected answer in every order")
    equal = ("judged_equal", f"{judge} prefers neither answer in any order")
    drops = dict.fromkeys(inverted_pairs(verdicts).ids, inverted)
    return drops | dict.fromkeys(equal_pairs(verdicts) if sees_quality else (), equal)


def _kept(verdicts: Iterable[Verdict], into: list[Verdict]) -> Iterator[Verdict]:
    for verdict in verdicts:
        into.append(verdict)
        yield verdict


def _matchup(row: Pair, expected: Mapping[str, Expected | None]) -> Matchup:
    wanted = expected.get(row.id)
    check = None if wanted is None else {"kind": "expected", "expected": wanted}
    chosen, rejected = row.chosen[0]["content"], row.rejected[0]["content"]
    return Matchup(row.id, row.prompt, chosen, rejected, check, slices_of(row.prompt, wanted))
