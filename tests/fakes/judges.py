"""Judges whose biases are known: they prefer the better answer, and also what they should not."""

import re
from collections.abc import Callable

import numpy as np

from soda.endpoint.answer import Answer
from soda.judging.verdicts import Matchup, Reading, Verdict

PROMPT = [{"role": "user", "content": "What is the capital of France?"}]
_SHOWN = re.compile(r"<answer-([AB])-\w+>\n(.*?)\n</answer-\1-\w+>", re.DOTALL)


def matchup(name="m1", candidate="Paris.", baseline="Lyon.", **more):
    return Matchup(name, PROMPT, candidate, baseline, **more)


def shown(messages):
    """Return the answers a judge was shown, A's and B's."""
    return [text for _, text in _SHOWN.findall(messages[-1]["content"])]


def verdict(score, name="m1", slices=None):
    """A verdict of both orders: 1, 0.5 or 0; None is a reply that cannot be read."""
    readings = [Reading(first, score, "text") for first in ("candidate", "baseline")]
    return Verdict(name, "fake", "pairwise", readings, [10, 5], slices or {})


class BiasedAsk:
    """Answers pairwise requests; log-odds of preferring A are quality plus what biases it.

    Args:
        quality: an answer's text -> how good it is.
        order: log-odds for the answer shown first.
        length: log-odds for the longer answer.
        ties: how often it says that neither is better.
        broken: how often its reply cannot be read.
    """

    def __init__(
        self,
        quality: Callable[[str], float] = lambda text: 0.0,
        *,
        order=0.0,
        length=0.0,
        ties=0.0,
        broken=0.0,
        seed=0,
    ):
        self.quality, self.order, self.length = quality, order, length
        self.ties, self.broken = ties, broken
        self.draw = np.random.default_rng(seed)
        self.asked = 0

    def __call__(self, conversations):
        return [Answer(self.reply(messages), "answered") for messages in conversations]

    def reply(self, messages):
        """Return what the judge says to one request."""
        self.asked += 1
        first, second = shown(messages)
        odds = self.quality(first) - self.quality(second) + self.order
        odds += self.length * np.sign(len(first) - len(second))
        if self.draw.random() < self.broken:
            return "I would rather not say."
        if self.draw.random() < self.ties:
            return "Both are fine.\n[[C]]"
        return "[[A]]" if self.draw.random() < 1 / (1 + np.exp(-odds)) else "[[B]]"
