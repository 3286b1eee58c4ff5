"""The frozen rows of judging: two answers to one prompt, and what a judge said of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from soda.rows import Message, normalized

__all__ = ["SAME_ANSWER", "SIDES", "Matchup", "Reading", "Side", "Tally", "Verdict", "tally"]

SAME_ANSWER = "same answer"  # the protocol of a verdict that nobody was asked for
Side = Literal["candidate", "baseline"]
SIDES: tuple[Side, Side] = ("candidate", "baseline")


@dataclass(frozen=True, slots=True)
class Matchup:
    """One prompt with two answers: the gap gate's candidate is the teacher, later the student."""

    id: str
    prompt: list[Message]
    candidate: str
    baseline: str
    check: dict[str, Any] | None = None  # how a right answer is known, where it can be
    slices: dict[str, str] = field(default_factory=dict)  # {"language": "en", "topic": "law"}

    @property
    def same(self) -> bool:
        """Whether nothing but case, white space or the width of characters tells them apart."""
        return normalized(self.candidate) == normalized(self.baseline)


@dataclass(frozen=True, slots=True)
class Reading:
    """One reply of a judge, which was shown the answers in one order."""

    first: Side  # whose answer was shown first
    preference: float | None  # 1: the candidate's, 0: the baseline's, 0.5: neither; None: unclear
    text: str | None  # the reply as it came; None: there was none
    scores: list[float] | None = None  # the candidate's and the baseline's, from judges that score


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge said of one matchup, one reading for each order it was shown in."""

    id: str
    judge: str
    protocol: str
    readings: list[Reading]
    lengths: list[int]  # characters of the candidate's and the baseline's answer
    slices: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, matchup: Matchup, judge: str, protocol: str, readings: Iterable[Reading]) -> Self:
        """Return the verdict on a matchup."""
        lengths = [len(matchup.candidate), len(matchup.baseline)]
        return cls(matchup.id, judge, protocol, list(readings), lengths, matchup.slices)

    @property
    def score(self) -> float | None:
        """The candidate's score, 1 to 0: 0.5 where orders disagree, None where one is unclear."""
        found = {reading.preference for reading in self.readings}
        if None in found:
            return None
        return found.pop() if len(found) == 1 else 0.5

    @property
    def agreed(self) -> bool:
        """Whether every order gave the same preference, and a clear one."""
        return self.score is not None and len({one.preference for one in self.readings}) == 1

    @property
    def relative_score(self) -> float | None:
        """The mean of S / (S + R) x 100 over the orders, 50 for parity.

        S is the candidate's score and R the baseline's (arXiv 2604.03873, appendix B); None: there
        are no scores in every order.
        """
        if self.protocol == SAME_ANSWER:
            return 50.0
        scores = [one.scores for one in self.readings if one.scores is not None]
        if not scores or len(scores) < len(self.readings):
            return None
        return 100 * sum(ours / (ours + theirs) for ours, theirs in scores) / len(scores)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a row back from its JSON form."""
        return cls(**{**value, "readings": [Reading(**one) for one in value["readings"]]})

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        readings = [{key: getattr(one, key) for key in one.__slots__} for one in self.readings]
        return {key: getattr(self, key) for key in self.__slots__} | {"readings": readings}


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts counted; what is unclear is counted apart, and is no part of a rate."""

    wins: int
    ties: int
    losses: int
    unparsed: int  # a reply that the protocol cannot read
    unanswered: int  # no reply
    disagreements: int  # of the ties: where the order decided

    @property
    def clear(self) -> int:
        """How many verdicts a rate is made of."""
        return self.wins + self.ties + self.losses

    @property
    def unclear(self) -> int:
        """How many verdicts say nothing."""
        return self.unparsed + self.unanswered

    @property
    def score(self) -> float:
        """Wins plus half of the ties."""
        return self.wins + self.ties / 2


def tally(verdicts: Iterable[Verdict]) -> Tally:
    """Count what a judge said."""
    counts = dict.fromkeys(Tally.__slots__, 0)
    for verdict in verdicts:
        if verdict.score is None:
            silent = any(one.text is None for one in verdict.readings if one.preference is None)
            counts["unanswered" if silent else "unparsed"] += 1
        else:
            counts[{1.0: "wins", 0.5: "ties", 0.0: "losses"}[verdict.score]] += 1
            counts["disagreements"] += not verdict.agreed
    return Tally(**counts)
