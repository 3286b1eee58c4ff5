"""What the students are trained on and measured with, and a teacher that is as good as asked.

A prompt has the good teacher's answer. The dial is the share of answers that are good: of the
checkable tasks the others are wrong, of free-form prompts they are the base student's own, so that
there the teacher is better than the student only on the rest.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from soda.rows import Message

__all__ = ["Item", "Source", "moved", "teacher_answers"]


class Item(Protocol):
    """A prompt with the answer of a good teacher."""

    @property
    def task(self) -> str:
        """What it has in common with others."""

    @property
    def messages(self) -> list[Message]:
        """The prompt."""

    @property
    def answer(self) -> str:
        """The teacher's, where it is good."""

    @property
    def poor(self) -> str | None:
        """The teacher's where it is not; None: what the base student says."""

    def holds(self, answer: str) -> bool | None:
        """Whether an answer is right; None where nobody can tell."""


class Source(Protocol):
    """Where items come from. No training item is among the held-out ones."""

    def held_out(self, count: int) -> Sequence[Item]:
        """Return at most so many, the same ones always."""

    def training(self, count: int, seed: int) -> Sequence[Item]:
        """Return so many; a smaller number of the same seed gives the first of them."""


def teacher_answers(
    items: Sequence[Item],
    good_share: float,
    seed: int,
    own: Callable[[list[Item]], list[str]],
) -> list[str]:
    """Return the teacher's answers, each good with a probability.

    Args:
        own: gives the base student's answers.
    """
    # A good answer stays good when the share grows: one random number an item.
    draw = random.Random(seed)
    poor: dict[int, Any] = {
        place: item.poor for place, item in enumerate(items) if draw.random() >= good_share
    }
    unwritten = [place for place, text in poor.items() if text is None]
    if unwritten:
        drawn = own([items[place] for place in unwritten])
        poor |= dict(zip(unwritten, drawn, strict=True))
    return [poor.get(place, item.answer) for place, item in enumerate(items)]


def moved(items: Sequence[Item], answers: Sequence[str]) -> list[str]:
    """Return for each item the answer to the next one of the same task."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item.task, []).append(place)
    found = list(answers)
    for own in places.values():
        for place, other in zip(own, own[1:] + own[:1], strict=True):
            found[place] = answers[other]
    return found
