"""Checkable tasks that a 135M student can partly do: any number of prompts from a seed.

The teacher has a dial: it answers right with a given probability, and wrong answers are in the
same words, so that only what they say tells them apart.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TASKS", "Item", "make_items", "teacher_answer"]

_WORDS = {
    "name": "Anna Ben Carla David Emma Felix Grace Hugo Irene Jonas Karla Leo Mina Noah",
    "city": "Lisbon Oslo Cairo Lima Tokyo Vienna Dublin Athens Nairobi Quito Prague Hanoi",
    "goods": "apples pens chairs tickets bottles books plates lamps keys maps",
    "month": "January March April May June July August October November December",
    "thing": "red stone river seven lamp green paper cloud table silver garden small window bread",
}


def _some(draw: random.Random, kind: str, count: int = 1) -> list[str]:
    return draw.sample(_WORDS[kind].split(), count)


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, the answer that is looked for, and a right and a wrong sentence of the teacher."""

    task: str
    prompt: str
    expected: str
    right: str
    wrong: str
    others: tuple[str, ...] = ()  # what the prompt offers beside it

    def holds(self, answer: str) -> bool:
        """Whether an answer comes to what is expected, in these very letters.

        Of what is expected and what else the prompt offers, the answer's last word counts.
        """
        words = "|".join(map(re.escape, (self.expected, *self.others)))
        found = re.findall(rf"(?<!\w)(?:{words})(?!\w)", answer)
        return bool(found) and found[-1] == self.expected


def _arithmetic(draw: random.Random) -> Item:
    one, other = draw.randint(2, 60), draw.randint(2, 40)
    sign, value = draw.choice([("+", one + other), ("-", one - other)])
    if value < 0:
        one, other, value = other, one, -value
    if value in (one, other):
        return _arithmetic(draw)
    near = value + draw.choice([-10, -2, -1, 1, 2, 10])
    text = f"{one} {sign} {other}"
    right, wrong = f"{text} is {value}.", f"{text} is {near}."
    return Item("arithmetic", f"What is {text}?", str(value), right, wrong, (str(one), str(other)))


def _lookup(draw: random.Random) -> Item:
    names, ages = _some(draw, "name", 4), draw.sample(range(10, 90), 4)
    asked, other = draw.sample(range(4), 2)
    told = ", ".join(f"{name} is {age}" for name, age in zip(names, ages, strict=True))
    name = names[asked]
    return Item(
        "lookup",
        f"{told}. How old is {name}?",
        str(ages[asked]),
        f"{name} is {ages[asked]} years old.",
        f"{name} is {ages[other]} years old.",
        tuple(str(age) for place, age in enumerate(ages) if place != asked),
    )


def _extract(draw: random.Random) -> Item:
    number, (city, other) = draw.randint(1000, 9999), _some(draw, "city", 2)
    day, month = draw.randint(1, 28), _some(draw, "month")[0]
    said = f"Order {number} left {other} on {day} {month} and goes to {city}."
    return Item(
        "extract",
        f"{said} Where does the order go to?",
        city,
        f"The order goes to {city}.",
        f"The order goes to {other}.",
        (other,),
    )


def _reorder(draw: random.Random) -> Item:
    words = _some(draw, "thing", 3)
    back, wrong = " ".join(reversed(words)), " ".join([words[2], words[0], words[1]])
    return Item(
        "reorder",
        f"Write these words in reverse order: {' '.join(words)}",
        back,
        f"In reverse order: {back}.",
        f"In reverse order: {wrong}.",
    )


def _format(draw: random.Random) -> Item:
    goods, count = _some(draw, "goods")[0], draw.randint(2, 99)
    city, other = _some(draw, "city", 2)
    expected, wrong = f"{city}; {goods}; {count}", f"{other}; {goods}; {count}"
    return Item(
        "format",
        f"Write city, goods and number with semicolons: {count} {goods} were sold in {city}.",
        expected,
        f"{expected}.",
        f"{wrong}." if draw.random() < 0.5 else f"{city}, {goods}, {count}.",
    )


def _compare(draw: random.Random) -> Item:
    one, other = draw.sample(range(10, 999), 2)
    kind, right = draw.choice([("larger", max), ("smaller", min)])
    expected = right(one, other)
    wrong = one + other - expected
    return Item(
        "compare",
        f"Which number is {kind}, {one} or {other}?",
        str(expected),
        f"The {kind} number is {expected}.",
        f"The {kind} number is {wrong}.",
        (str(wrong),),
    )


TASKS: dict[str, Callable[[random.Random], Item]] = {
    "arithmetic": _arithmetic,
    "lookup": _lookup,
    "extract": _extract,
    "reorder": _reorder,
    "format": _format,
    "compare": _compare,
}


def make_items(count: int, seed: int) -> list[Item]:
    """Return so many items with prompts that differ, the tasks in turn."""
    draw = random.Random(seed)
    found: dict[str, Item] = {}
    makers = list(TASKS.values())
    while len(found) < count:
        item = makers[len(found) % len(makers)](draw)
        found.setdefault(item.prompt, item)
    return list(found.values())


def teacher_answer(item: Item, right_share: float, draw: random.Random) -> str:
    """Return the teacher's answer, right with the given probability."""
    return item.right if draw.random() < right_share else item.wrong
