"""Who the teacher is, by what it says to fixed probe prompts.

A vendor may put another model behind the same name. Answers to the same short prompts are mostly
the same words from the same model, and mostly others from another. Some teachers cannot be made to
repeat themselves, so each is asked more than once and compared with its own spread.
"""

import asyncio
import functools
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from statistics import fmean
from typing import Any, Literal, Self

from soda.endpoint.answer import Answer
from soda.endpoint.failures import Busy, Refused, Unanswered, Unusable
from soda.endpoint.request import Request
from soda.errors import EndpointError
from soda.rows import normalized

__all__ = ["PROBES", "Fingerprint", "Verdict", "take_fingerprint", "verdict"]

PROBES = (
    "Write the first eight prime numbers.",
    "Complete the sentence in five words: The old lighthouse keeper",
    "Translate into French: The teacher asks and the student answers.",
    "Name three rivers of Asia, longest first.",
    "What is 17 * 23 + 9? Answer with the number.",
    "Which model are you, and who made you?",
)
_FAILED = (Unanswered, Busy, Refused, Unusable)
_FEW = 2  # answers to each probe, and of a teacher that does not repeat itself
_MANY = 4
_REPEATS = 0.75  # so often two of its answers are the same: then a teacher repeats itself
_COMPARED = 4  # probes, at least
_CHANCE = 0.02  # how seldom the same teacher may be called changed by chance,
_CHANCE_OF_SPREAD = 0.005  # and one that does not repeat itself
_ALIKE = 0.2  # answers of one teacher that are less alike than this tell nothing
_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a teacher said to the probe prompts at one time."""

    model: str | None  # as served
    fingerprint: str | None  # the server's own
    created: int | None  # seconds since 1970
    answers: tuple[tuple[str, ...], ...]  # to each of PROBES, as often as it was answered
    tokens: tuple[int, int]  # used by prompts and answers

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read it back from its JSON form."""
        answers = tuple(tuple(each) for each in value["answers"])
        prompt_tokens, tokens = value["tokens"]
        return cls(**{**value, "answers": answers, "tokens": (prompt_tokens, tokens)})

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a teacher is the one it was; `unclear` where its answers do not tell."""

    kind: Literal["same", "changed", "unclear"]
    why: str


async def take_fingerprint(
    ask: Callable[[Request], Awaitable[Answer]], endpoint: str, body: Mapping[str, Any]
) -> Fingerprint | None:
    """Ask the probe prompts: twice each, and four times where the answers differ.

    They go with the recipe's own fields, so that a teacher that thinks has room for it, and with
    temperature 0 if the teacher takes that.

    Args:
        ask: sends one request.
        endpoint: the address as it counts in keys.
        body: a request's other fields.

    Returns: None if no probe was answered.

    Raises:
        EndpointError: the teacher answers nobody, or says nothing.
    """
    run = uuid.uuid4().hex  # asked anew by every run that asks anything
    fields = {**body, "temperature": 0}
    got: list[list[Answer]] = [[] for _ in PROBES]

    async def put(place: int, time: int) -> Exception | None:
        asked = {**fields, "messages": [{"role": "user", "content": PROBES[place]}]}
        try:
            got[place].append(await ask(Request.of(endpoint, asked, run=run, time=str(time))))
        except _FAILED as error:
            return error
        return None

    async def put_all(places: Sequence[int], time: int) -> None:
        await asyncio.gather(*(put(place, time) for place in places))

    places = range(len(PROBES))
    if isinstance(await put(0, 0), Refused):
        fields = dict(body)  # some models take no temperature
        await put(0, 0)
    await put_all(places[1:], 0)
    _refuse_silence(endpoint, got)
    for time in range(1, _MANY):
        await put_all(places, time)
        texts = [[answer.text for answer in each] for each in got]
        if time + 1 == _FEW and _agreement(texts, texts, _equal) >= _REPEATS:
            break
    return _fingerprint(got)


def _refuse_silence(endpoint: str, got: Sequence[Sequence[Answer]]) -> None:
    """Raise if the teacher answers and says nothing: it would do so to every prompt, for money."""
    answers = [answer for each in got for answer in each]
    if answers and not any(answer.text.strip() for answer in answers):
        why = answers[0].detail or answers[0].outcome
        raise EndpointError(
            f"{endpoint}: expected an answer to a probe prompt, found none: {why}; a teacher that "
            "thinks needs a higher max_tokens in sampling, or to be told to think less"
        )


def _fingerprint(got: Sequence[Sequence[Answer]]) -> Fingerprint | None:
    answers = [answer for each in got for answer in each]
    if not answers:
        return None
    [(first, _)] = Counter(answer.model for answer in answers).most_common(1)
    return Fingerprint(
        first,
        answers[0].fingerprint,
        answers[0].created,
        tuple(tuple(answer.text for answer in each) for each in got),
        (
            sum(answer.prompt_tokens or 0 for answer in answers),
            sum(answer.tokens or 0 for answer in answers),
        ),
    )


Texts = Sequence[Sequence[str]]
Likeness = Callable[[str, str], float]


def verdict(before: Fingerprint, now: Fingerprint) -> Verdict:
    """Say whether a teacher is the one it was.

    Answers of before and now are compared with each other and among themselves. `changed` takes
    both a clear difference and one that the teacher's own spread would seldom make by chance, by a
    permutation test within each probe.
    """
    if before.model != now.model:
        return Verdict("changed", f"it is served as '{now.model}', before as '{before.model}'")
    both = [pair for pair in zip(before.answers, now.answers, strict=False) if all(pair)]
    if len(both) < _COMPARED:
        return Verdict(
            "unclear", f"only {len(both)} of {len(PROBES)} probe prompts can be compared"
        )
    one, other = [first for first, _ in both], [second for _, second in both]
    repeats = _own(one, other, _equal) >= _REPEATS
    alike = _equal if repeats else _overlap
    own = _own(one, other, alike)
    share = _agreement(one, other, alike) / own if own else 1.0
    same = sum(any(_equal(a, b) for a in first for b in second) for first, second in both)
    told = f"it gives the same answer to {same} of {len(both)} probe prompts"
    if not repeats and own < _ALIKE:
        return Verdict("unclear", f"{told}, but it hardly repeats itself at all")
    if share >= (0.5 if repeats else 0.9):
        return Verdict("same", told if repeats else "its answers to the probes vary as they did")
    chance = _CHANCE if repeats else _CHANCE_OF_SPREAD
    if (repeats or share < 0.8) and _chance(both, alike) <= chance:
        return Verdict("changed", f"{told} only")
    return Verdict("unclear", f"{told}, which may be its own spread")


def _equal(one: str, other: str) -> float:
    return float(normalized(one) == normalized(other))


@functools.lru_cache(4096)
def _overlap(one: str, other: str) -> float:
    """Return the share of runs of three characters that two texts have in common."""
    mine, theirs = (
        Counter(text[at : at + 3] for at in range(max(1, len(text) - 2)))
        for text in (normalized(one), normalized(other))
    )
    return 2 * (mine & theirs).total() / (mine.total() + theirs.total())


def _agreement(one: Texts, other: Texts, alike: Likeness) -> float:
    """Return how alike two sets of answers are, or the answers of one set among themselves."""
    found = [
        fmean(alike(a, b) for a, b in pairs)
        for first, second in zip(one, other, strict=True)
        if (pairs := list(combinations(first, 2) if one is other else product(first, second)))
    ]
    return fmean(found) if found else 1.0


def _own(one: Texts, other: Texts, alike: Likeness) -> float:
    return fmean([_agreement(one, one, alike), _agreement(other, other, alike)])


def _chance(both: Sequence[tuple[Sequence[str], Sequence[str]]], alike: Likeness) -> float:
    """Return how often answers dealt at random to before and now would differ as much as they do.

    Each probe's answers are dealt among themselves; 10,000 deals, the same each time.
    """
    seen, deals = 0.0, []
    for first, second in both:
        pool = [*first, *second]
        gaps = []
        for chosen in combinations(range(len(pool)), len(first)):
            mine = [pool[place] for place in chosen]
            theirs = [text for place, text in enumerate(pool) if place not in chosen]
            cross = _agreement([mine], [theirs], alike)
            gaps.append(_own([mine], [theirs], alike) - cross)
        seen += gaps[0]
        deals.append(gaps)
    drawn = random.Random(0)
    sums = (sum(map(drawn.choice, deals)) for _ in range(_DRAWS))
    return sum(found >= seen - 1e-9 for found in sums) / _DRAWS
