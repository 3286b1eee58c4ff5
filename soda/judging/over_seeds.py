"""What a judge said of several trainings of each variant: over prompts and seeds at once."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from soda.artifacts.kinds import Report
from soda.judging.opponents import STUDENT
from soda.judging.rates import relative_scores, win_rates
from soda.judging.references import REFERENCE
from soda.judging.verdicts import Verdict

__all__ = ["compare_judged"]

_ONCE = ("base", "teacher")  # models that are the same whatever was trained
# Who answered, who else, on which set -> the verdicts
_Verdicts = dict[tuple[str, str, str], list[Verdict]]


def compare_judged(
    variants: Mapping[str, Sequence[Report]], yardstick: str, *, samples: int, seed: int
) -> dict[str, Any] | None:
    """Return win rates and scores by set; None: no judge has seen the reports.

    A figure is that of a variant's seeds together. What a variant's score differs from the
    yardstick's by is paired by prompt and by place among the seeds; without as many seeds there is
    none.

    Args:
        variants: a variant's reports, one for each of its seeds.
        yardstick: the variant that others stand beside.
    """
    first = variants[yardstick][0].figures().get("judge")
    if first is None:
        return None
    read = {name: [_verdicts(each) for each in reports] for name, reports in variants.items()}
    of_first = read[yardstick][0]
    win = functools.partial(win_rates, samples=samples, seed=seed)
    score = functools.partial(relative_scores, samples=samples, seed=seed)

    def of(name: str, key: tuple[str, str, str]) -> list[list[Verdict]]:
        return [each.get(key, []) for each in read[name]]

    rates, scores = [], []
    for model, opponent, each in of_first:
        key = (model, opponent, each)
        if opponent != REFERENCE:
            trained = {name: win(of(name, key)) for name in variants}
            title = first["opponents"][opponent]["title"]
            rates.append({"opponent": opponent, "title": title, "set": each, "trained": trained})
        elif model == STUDENT:
            once = {
                other: score([of_first[other, REFERENCE, each]])
                for other in _ONCE
                if (other, REFERENCE, each) in of_first
            }
            trained = {name: score(of(name, key)) for name in variants}
            for name, found in trained.items():
                pairs = of(name, key), of(yardstick, key)
                paired = name != yardstick and len(pairs[0]) == len(pairs[1])
                found["beside"] = score(*pairs) if paired else None
            scores.append({"set": each, **once, "trained": trained})
    return {
        "name": first["name"],
        "protocol": first["protocol"],
        "win_rates": rates,
        "scores": scores,
    }


def _verdicts(report: Report) -> _Verdicts:
    """Return the verdicts of a report, in the order in which they were kept."""
    found: _Verdicts = {}
    for row in report.read_rows(Report.VERDICTS):
        key = (row.pop("candidate"), row.pop("opponent"), row.pop("set"))
        found.setdefault(key, []).append(Verdict.from_json(row))
    return found
