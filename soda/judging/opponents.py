"""Whom the trained student is compared with: others' answers to the prompts of its report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soda.artifacts.kinds import Report
from soda.errors import DataError
from soda.progress import say

__all__ = ["STUDENT", "Opponent", "opponent_in", "opponents_of", "scored"]

STUDENT = "student"
# Opponents that the report itself has: their key in its samples, and in its metrics the change.
_OWN = {"base": ("before", "change"), "warmed": ("warmed", "change_since_warm_up")}
_TEACHER = "teacher"


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


def opponents_of(
    samples: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Opponent]:
    """Return those of some opponents whose answers stand in the student's own report.

    Args:
        samples: the report's.
        figures: the same report's.
        names: base, warmed or teacher; others are left out.
    """
    found: dict[str, Opponent] = {}
    for name in names:
        if name == _TEACHER:  # it was not asked the prompts of task sets
            answers = {row["id"]: row[name] for row in samples if row[name] is not None}
            found[name] = Opponent(name, answers, {}, "")
        elif name in _OWN and _OWN[name][0] in figures["models"]:
            key, change = _OWN[name]
            changes = {
                each: {"mean": metric[change]["mean"], "better": metric["better"]}
                for each, metric in figures["metrics"].items()
            }
            answers = {row["id"]: row[key] for row in samples}
            found[name] = Opponent(figures["models"][key], answers, changes, "")
    return found


def opponent_in(
    name: str,
    other: Report,
    samples: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
) -> Opponent:
    """Return the trained student of another report.

    Args:
        name: what it is called.
        other: the report.
        samples: those of the report that is judged.
        figures: the same report's.

    Raises:
        DataError: it has no answer to any of the prompts.
    """
    asked = {row["id"]: row["prompt"] for row in samples}
    answers = {
        row["id"]: row["after"]
        for row in other.read_rows(Report.SAMPLES)
        if asked.get(row["id"]) == row["prompt"]
    }
    if not answers:
        raise DataError(f"{other.path}: expected answers to the same prompts, found none ({name})")
    if len(answers) < len(asked):
        say(f"judge: {name} has answers to {len(answers)} of {len(asked)} prompts")
    theirs = other.figures()["metrics"]
    changes = {
        each: {
            "mean": metric["after"]["mean"] - theirs[each]["after"]["mean"],
            "better": metric["better"],
        }
        for each, metric in figures["metrics"].items()
        if each in theirs
    }
    return Opponent(name, answers, changes, other.digest)


def scored(
    samples: Sequence[Mapping[str, Any]], opponents: Mapping[str, Opponent]
) -> dict[str, Opponent]:
    """Return all that get a score of their own, in the order of SODA's Table 1.

    Base and warmed-up student (SeqKD), the student, then everybody else.
    """
    student = Opponent(STUDENT, {row["id"]: row["after"] for row in samples}, {}, "")
    before = {name: one for name, one in opponents.items() if name in _OWN}
    return {**before, STUDENT: student, **opponents}
