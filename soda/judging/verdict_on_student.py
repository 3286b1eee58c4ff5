"""The trained student against one other: win rates by set, and what the judge itself prefers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from soda.judging.calibration import Bias, calibrate
from soda.judging.gap import rates_by_slice
from soda.judging.judges import Judge, judge_all
from soda.judging.opponents import Opponent
from soda.judging.rates import win_rates
from soda.judging.verdicts import Matchup, Verdict, tally
from soda.judging.verifiers import VerifierJudge

__all__ = ["compare_with", "judge_matchups", "measure_judge"]

_BLOCK = 4096  # matchups judged at once


def judge_matchups(matchups: Sequence[Matchup], judge: Judge | None) -> list[Verdict]:
    """Judge the student's answers beside an opponent's.

    Args:
        matchups: candidate the student, baseline the opponent.
        judge: None: verifiers, on what is checkable.
    """
    asked: Judge = judge or VerifierJudge()
    usable = matchups if judge else [one for one in matchups if one.check is not None]
    return list(judge_all(asked, usable, _BLOCK))


def compare_with(
    opponent: Opponent, verdicts: Mapping[str, Sequence[Verdict]], *, samples: int, seed: int
) -> dict[str, Any]:
    """Return the figures of one comparison as a JSON object.

    Args:
        verdicts: by set; the first is the held-out split, which the figures are of. Those of the
            other sets stand in "sets"; a set without any is one that the opponent did not answer.
    """
    (_, held_out), *others = verdicts.items()
    figures = _figures(held_out, samples=samples, seed=seed)
    rate, prompts = figures["win_rate"], figures["prompts"]
    said = f"the student against {opponent.title}: not measured, {prompts} clear verdicts"
    if rate["mean"] is not None:
        shown = f"{rate['mean']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
        said = f"the student beats {opponent.title} in {shown} of {prompts} prompts"
    return {
        "title": opponent.title,
        "digest": opponent.digest,
        "said": said,
        **figures,
        "slices": rates_by_slice(held_out),
        "changes": opponent.changes,
        "sets": {
            name: _figures(found, samples=samples, seed=seed) for name, found in others if found
        },
    }


def _figures(verdicts: Sequence[Verdict], *, samples: int, seed: int) -> dict[str, Any]:
    counts = dataclasses.asdict(tally(verdicts))
    return {**win_rates([verdicts], samples=samples, seed=seed), "counts": counts}


def measure_judge(
    judge: Judge | None, matchups: Sequence[Matchup], *, count: int, seed: int
) -> list[Bias]:
    """Return a judge's biases on planted pairs; a verifier has none."""
    if judge is None or not count:
        return []
    return calibrate(judge, matchups, count=count, seed=seed)
