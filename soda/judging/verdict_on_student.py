"""The trained student against one other: win rates with their intervals, over held-out prompts."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soda.judging.calibration import Bias, calibrate
from soda.judging.gap import rates_by_slice
from soda.judging.judges import Judge, judge_all
from soda.judging.verdicts import Matchup, Verdict, relative_score, tally
from soda.judging.verifiers import VerifierJudge
from soda.statistics.bootstrap import resample
from soda.statistics.intervals import Estimate
from soda.statistics.length_control import length_controlled

__all__ = ["Opponent", "compare_with", "measure_judge"]

_BLOCK = 4096  # matchups judged at once
_LEAST = 10  # clear verdicts, for an interval
_UNKNOWN = Estimate(math.nan, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Opponent:
    """Whom the student is compared with.

    Args:
        title: its name for people.
        answers: prompt -> its answer.
        changes: metric -> how the student's mean differs from its own, and which way is better.
        digest: of its own report, if it has one.
    """

    title: str
    answers: dict[str, str]
    changes: dict[str, dict[str, Any]]
    digest: str


def compare_with(
    opponent: Opponent,
    matchups: Sequence[Matchup],
    judge: Judge | None,
    *,
    samples: int,
    seed: int,
) -> tuple[dict[str, Any], list[Verdict]]:
    """Return the figures of one comparison as a JSON object, and the verdicts.

    Args:
        matchups: candidate the student, baseline the opponent.
        judge: None: verifiers, on what is checkable.
    """
    asked: Judge = judge or VerifierJudge()
    usable = matchups if judge else [one for one in matchups if one.check is not None]
    verdicts = list(judge_all(asked, usable, _BLOCK))
    clear = [one for one in verdicts if one.score is not None]
    win = equal = _UNKNOWN
    if len(clear) >= _LEAST:
        scores = np.array([[one.score for one in clear]], dtype=float)
        lengths = np.array([[one.lengths[0] - one.lengths[1] for one in clear]], dtype=float)
        win = resample(scores, samples=samples, seed=seed, within=(0, 1))
        equal = length_controlled(scores, lengths, samples=samples, seed=seed)
    counts = tally(verdicts)
    shown = f"{win.mean:.1%} ({win.low:.1%} to {win.high:.1%})"
    said = f"the student beats {opponent.title} in {shown} of {len(clear)} prompts"
    if len(clear) < _LEAST:
        said = f"the student against {opponent.title}: not measured, {len(clear)} clear verdicts"
    figures = {
        "title": opponent.title,
        "digest": opponent.digest,
        "prompts": len(clear),
        "seeds": 1,
        "said": said,
        "win_rate": _plain(win),
        "length_controlled": _plain(equal),
        "relative_score": relative_score(verdicts),
        "counts": dataclasses.asdict(counts),
        "slices": rates_by_slice(verdicts),
        "changes": opponent.changes,
    }
    return figures, verdicts


def measure_judge(
    judge: Judge | None, matchups: Sequence[Matchup], *, count: int, seed: int
) -> list[Bias]:
    """Return a judge's biases on planted pairs; a verifier has none."""
    if judge is None or not count:
        return []
    return calibrate(judge, matchups, count=count, seed=seed)


def _plain(found: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON, which has no NaN."""
    mean = None if math.isnan(found.mean) else found.mean
    return {"mean": mean, "low": found.low, "high": found.high}
