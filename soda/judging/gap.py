"""The gap gate: is the teacher clearly better than the student? SODA assumes it is."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from soda.judging.verdicts import Tally, Verdict, tally
from soda.statistics.intervals import Estimate, sample_size, wilson
from soda.statistics.sequential import SequentialTest

__all__ = [
    "Gap",
    "Inverted",
    "equal_pairs",
    "inverted_pairs",
    "measure_gap",
    "not_measured",
    "random_order",
    "rates_by_slice",
]

Decision = Literal["pass", "fail", "not shown", "not measured"]
_DECISIONS: dict[str, Decision] = {"pass": "pass", "fail": "fail", "open": "not shown"}
_SAID = {"pass": "reached", "fail": "missed", "not shown": "within the interval"}
_MOST_UNCLEAR = 0.1  # of verdicts: beyond, what is left is no random sample
_WARN_INVERTED, _STOP_INVERTED = 0.20, 0.35


@dataclass(frozen=True, slots=True)
class Gap:
    """What the gap gate found.

    `pass`: the win rate is at least the threshold. `fail`: it is below. `not shown`: the interval
    holds the threshold. `not measured`: nobody could judge, or too much was unclear.
    """

    decision: Decision
    reason: str
    threshold: float
    win_rate: Estimate  # the teacher's, ties half
    counts: Tally
    stopped_early: bool
    slices: dict[str, dict[str, Any]]  # {"language: en": {"count", "mean", "low", "high"}}


@dataclass(frozen=True, slots=True)
class Inverted:
    """The judged pairs whose student answer is the better one in both orders."""

    ids: list[str]
    share: float  # of judged pairs
    action: Literal["keep going", "warn", "stop"]


def random_order(ids: Iterable[str], seed: int) -> list[str]:
    """Return ids in a random order that depends on the ids alone, whatever order they came in."""
    return sorted(ids, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())


def not_measured(threshold: float, reason: str) -> Gap:
    """Return the gap where nobody can judge."""
    return Gap("not measured", reason, threshold, wilson(0, 0), tally([]), False, {})


def measure_gap(
    verdicts: Iterable[Verdict],
    *,
    threshold: float = 0.60,
    width: float = 0.10,
    confidence: float = 0.95,
) -> Gap:
    """Decide whether the teacher's win rate is at least the threshold.

    Verdicts are taken one after the other, and no more than are needed: the test stops as soon as
    it is decided, and the reported interval holds at that look. At the planned count it is
    Wilson's, and the gate passes if its lower end reaches the threshold. A teacher at or below the
    threshold passes with probability (1 - confidence) / 2 at most.

    Args:
        verdicts: candidate the teacher, baseline the student, in a random order of prompts.
        threshold: the least win rate, ties half.
        width: of Wilson's interval, from end to end, where all that is planned is judged.
    """
    test = SequentialTest(threshold, sample_size(width, confidence), confidence)
    taken: list[Verdict] = []
    score, count, found = 0.0, 0, "open"
    for verdict in verdicts:
        taken.append(verdict)
        if verdict.score is not None:
            score, count = score + verdict.score, count + 1
            found = test.look(score, count)
            if found != "open" or count == test.planned:
                break
    early = found != "open" and count < test.planned
    counts, rate = tally(taken), test.interval(score, count, last=not early)
    if not count or counts.unclear > _MOST_UNCLEAR * len(taken):
        decision: Decision = "not measured"
        reason = f"the judge gave no clear verdict on {counts.unclear} of {len(taken)} prompts"
    else:
        decision = _DECISIONS[test.look(score, count, last=not early)]
        reason = (
            f"the teacher wins {rate.mean:.1%} ({rate.low:.1%} to {rate.high:.1%}) of {count} "
            f"prompts; {threshold:.0%} is {_SAID[decision]}"
        )
    return Gap(decision, reason, threshold, rate, counts, early, rates_by_slice(taken, confidence))


def rates_by_slice(
    verdicts: Sequence[Verdict], confidence: float = 0.95
) -> dict[str, dict[str, Any]]:
    """Return the win rate of each slice: to be looked at, not tested, as the slices are many."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        for key, value in verdict.slices.items():
            groups.setdefault(f"{key}: {value}", []).append(verdict)
    found = {}
    for name, group in sorted(groups.items()):
        counts = tally(group)
        if not counts.clear:
            continue
        rate = wilson(counts.score, counts.clear, confidence)
        found[name] = {
            "count": counts.clear,
            "mean": rate.mean,
            "low": rate.low,
            "high": rate.high,
        }
    return found


def inverted_pairs(verdicts: Iterable[Verdict]) -> Inverted:
    """Return the pairs that would teach the wrong way: every order prefers the student's answer.

    They are dropped and listed. Over 20 % of clear verdicts is a warning, over 35 % stops the run:
    then the teacher is not the better one.
    """
    clear = [verdict for verdict in verdicts if verdict.score is not None]
    ids = [verdict.id for verdict in clear if verdict.score == 0]
    share = len(ids) / len(clear) if clear else 0.0
    if share > _STOP_INVERTED:
        return Inverted(ids, share, "stop")
    return Inverted(ids, share, "warn" if share > _WARN_INVERTED else "keep going")


def equal_pairs(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the pairs that teach nothing: the same answer, or one no better in any order.

    A pair whose orders disagree is not among them: the judge could not decide it.
    """
    return [verdict.id for verdict in verdicts if verdict.agreed and verdict.score == 0.5]
