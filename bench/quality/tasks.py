"""Checkable tasks that a 135M student can partly do: any number of prompts from a seed.

Wrong answers of the teacher are in the same words as the right ones, so that only what they say
tells them apart.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from soda.rows import Message

__all__ = ["TASKS", "TaskItem", "Tasks", "make_items"]

_WORDS = {
    "name": "Anna Ben Carla David Emma Felix Grace Hugo Irene Jonas Karla Leo Mina Noah",
    "city": "Lisbon Oslo Cairo Lima Tokyo Vienna Dublin Athens Nairobi Quito Prague Hanoi",
    "goods": "apples pens chairs tickets bottles books plates lamps keys maps",
    "month": "January March April May June July August October November December",
    "thing": "red stone river seven lamp green paper cloud table silver garden small window bread",
}

_HELD_OUT = 300  # at most, in any table


def _some(draw: random.Random, kind: str, count: int = 1) -> list[str]:
    return draw.sample(_WORDS[kind].split(), count)


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A prompt, the answer that is looked for, and a right and a wrong sentence of the teacher."""

    task: str
    prompt: str
    expected: str
    answer: str
    poor: str
    others: tuple[str, ...] = ()  # what the prompt offers beside it

    @property
    def messages(self) -> list[Message]:
        """The prompt as a conversation."""
        return [{"role": "user", "content": self.prompt}]

    def holds(self, answer: str) -> bool:
        """Whether an answer comes to what is expected, in these very letters.

        Of what is expected and what else the prompt offers, the answer's last word counts.
        """
        words = "|".join(map(re.escape, (self.expected, *self.others)))
        found = re.findall(rf"(?<!\w)(?:{words})(?!\w)", answer)
        return bool(found) and found[-1] == self.expected


def _arithmetic(draw: random.Random) -> TaskItem:
    one, other = draw.randint(2, 60), draw.randint(2, 40)
    sign, value = draw.choice([("+", one + other), ("-", one - other)])
    if value < 0:
        one, other, value = other, one, -value
    if value in (one, other):
        return _arithmetic(draw)
    near = value + draw.choice([-10, -2, -1, 1, 2, 10])
    text = f"{one} {sign} {other}"
    right, wrong = f"{text} is {value}.", f"{text} is {near}."
    return TaskItem(
        "arithmetic", f"What is {text}?", str(value), right, wrong, (str(one), str(other))
    )


def _lookup(draw: random.Random) -> TaskItem:
    names, ages = _some(draw, "name", 4), draw.sample(range(10, 90), 4)
    asked, other = draw.sample(range(4), 2)
    told = ", ".join(f"{name} is {age}" for name, age in zip(names, ages, strict=True))
    name = names[asked]
    return TaskItem(
        "lookup",
        f"{told}. How old is {name}?",
        str(ages[asked]),
        f"{name} is {ages[asked]} years old.",
        f"{name} is {ages[other]} years old.",
        tuple(str(age) for place, age in enumerate(ages) if place != asked),
    )


def _extract(draw: random.Random) -> TaskItem:
    number, (city, other) = draw.randint(1000, 9999), _some(draw, "city", 2)
    day, month = draw.randint(1, 28), _some(draw, "month")[0]
    said = f"Order {number} left {other} on {day} {month} and goes to {city}."
    return TaskItem(
        "extract",
        f"{said} Where does the order go to?",
        city,
        f"The order goes to {city}.",
        f"The order goes to {other}.",
        (other,),
    )


def _reorder(draw: random.Random) -> TaskItem:
    words = _some(draw, "thing", 3)
    back, wrong = " ".join(reversed(words)), " ".join([words[2], words[0], words[1]])
    return TaskItem(
        "reorder",
        f"Write these words in reverse order: {' '.join(words)}",
        back,
        f"In reverse order: {back}.",
        f"In reverse order: {wrong}.",
    )


def _format(draw: random.Random) -> TaskItem:
    goods, count = _some(draw, "goods")[0], draw.randint(2, 99)
    city, other = _some(draw, "city", 2)
    expected, wrong = f"{city}; {goods}; {count}", f"{other}; {goods}; {count}"
    return TaskItem(
        "format",
        f"Write city, goods and number with semicolons: {count} {goods} were sold in {city}.",
        expected,
        f"{expected}.",
        f"{wrong}." if draw.random() < 0.5 else f"{city}, {goods}, {count}.",
    )


def _compare(draw: random.Random) -> TaskItem:
    one, other = draw.sample(range(10, 999), 2)
    kind, right = draw.choice([("larger", max), ("smaller", min)])
    expected = right(one, other)
    wrong = one + other - expected
    return TaskItem(
        "compare",
        f"Which number is {kind}, {one} or {other}?",
        str(expected),
        f"The {kind} number is {expected}.",
        f"The {kind} number is {wrong}.",
        (str(wrong),),
    )


TASKS: dict[str, Callable[[random.Random], TaskItem]] = {
    "arithmetic": _arithmetic,
    "lookup": _lookup,
    "extract": _extract,
    "reorder": _reorder,
    "format": _format,
    "compare": _compare,
}


def make_items(count: int, seed: int) -> list[TaskItem]:
    """Return so many items with prompts that differ, the tasks in turn."""
    draw = random.Random(seed)
    found: dict[str, TaskItem] = {}
    makers = list(TASKS.values())
    while len(found) < count:
        item = makers[len(found) % len(makers)](draw)
        found.setdefault(item.prompt, item)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Tasks:
    """Items of all tasks in turn."""

    def held_out(self, count: int) -> list[TaskItem]:
        """Return so many held-out items."""
        return make_items(count, seed=0)

    def training(self, count: int, seed: int) -> list[TaskItem]:
        """Return a seed's first items that no table holds out."""
        held_out = {item.prompt for item in self.held_out(_HELD_OUT)}
        drawn = make_items(count + len(held_out), seed=1000 + seed)
        return [item for item in drawn if item.prompt not in held_out][:count]
