"""Every model's answers beside the judge's own: the protocol of SODA's Table 1.

"GPT-4o scores the answer and a reference answer of GPT-4o, 1 to 10 each" (arXiv 2604.03873,
appendix B).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soda.judging.judges import ChatJudge, judge_all
from soda.judging.verdicts import Matchup, Verdict
from soda.rows import Message

__all__ = ["REFERENCE", "References", "ask_references"]

REFERENCE = "reference"  # what verdicts call the judge as an opponent

_BLOCK = 4096  # matchups judged at once


@dataclass(frozen=True, slots=True)
class References:
    """The judge's own answers: by prompt, and how many ended in which way."""

    judge: ChatJudge
    answers: dict[str, str]
    outcomes: dict[str, int]

    def score(
        self, samples: Iterable[Mapping[str, Any]], answers: Mapping[str, str]
    ) -> list[Verdict]:
        """Let the judge score one model's answers beside its own.

        Args:
            samples: a report's; those without an answer or a reference are left out.
            answers: prompt -> the model's answer.
        """
        matchups = (
            Matchup(row["id"], row["prompt"], answers[row["id"]], self.answers[row["id"]])
            for row in samples
            if row["id"] in answers and row["id"] in self.answers
        )
        return list(judge_all(self.judge, matchups, _BLOCK))


def ask_references(judge: ChatJudge, samples: Sequence[Mapping[str, Any]]) -> References:
    """Ask the judge every prompt once, however many models are scored.

    An answer that was cut at the limit still counts, as the students' do; one that was refused or
    is empty does not, and its prompt has no score.
    """
    prompts: list[list[Message]] = [row["prompt"] for row in samples]
    found = judge.answer(prompts)
    answers = {
        row["id"]: answer.text
        for row, answer in zip(samples, found, strict=True)
        if answer.outcome in ("answered", "truncated")
    }
    outcomes = Counter(str(answer.outcome) for answer in found)
    return References(judge, answers, dict(outcomes))
