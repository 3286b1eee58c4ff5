"""One interface for all that can judge, and the judge that is a chat model."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from soda.endpoint.answer import Answer
from soda.judging.protocols import ChatProtocol
from soda.judging.verdicts import SAME_ANSWER, SIDES, Matchup, Reading, Verdict
from soda.rows import Message

__all__ = ["Ask", "ChatJudge", "Judge", "judge_all", "same_family"]

Ask = Callable[[list[list[Message]]], list[Answer]]  # many at once, answered in their order

_FAMILIES = {  # parts of model names, by who trained what they are made of
    "openai": r"gpt|chatgpt|o[134]",
    "anthropic": "claude",
    "google": "gemini|gemma|palm",
    "meta": r"\w*llama\d*|vicuna|alpaca",
    "alibaba": r"qwen\d*|qwq",
    "mistral": "mistral|ministral|mixtral|codestral|magistral|devstral",
    "deepseek": "deepseek",
    "microsoft": r"phi\d*",
    "xai": "grok",
    "cohere": "command|aya",
    "zhipu": r"chatglm\d*|glm\d*",
    "moonshot": "kimi",
    "hugging face": r"smollm\d*|zephyr",
    "ibm": "granite",
    "ai2": r"olmo\d*|tulu\d*",
}


class Judge(Protocol):
    """Says of each matchup which answer is better."""

    @property
    def name(self) -> str:
        """What verdicts call it."""

    def judge(self, matchups: Iterable[Matchup]) -> Iterator[Verdict]:
        """Return one verdict a matchup, in their order."""


@dataclass(frozen=True, slots=True)
class ChatJudge:
    """A chat model that is shown every matchup in both orders.

    Args:
        name: the model's.
        ask: sends requests and returns the answers; it journals, retries and pays.
    """

    name: str
    protocol: ChatProtocol
    ask: Ask

    def answer(self, prompts: Sequence[list[Message]]) -> list[Answer]:
        """Answer prompts itself, as a chat model does that is asked them."""
        return self.ask(list(prompts)) if prompts else []

    def judge(self, matchups: Iterable[Matchup]) -> Iterator[Verdict]:
        """Return one verdict a matchup, in their order."""
        shown = [(matchup, first) for matchup in matchups for first in SIDES]
        answers = self.ask([self.protocol.messages(*one) for one in shown]) if shown else []
        readings: list[Reading] = []
        for (matchup, first), answer in zip(shown, answers, strict=True):
            readings.append(self.protocol.read(_reply(answer), first))
            if len(readings) == len(SIDES):
                yield Verdict.of(matchup, self.name, self.protocol.name, readings)
                readings = []


def _reply(answer: Answer) -> str | None:
    """Return what a judge said; None: it refused, or gave no answer."""
    return answer.text if answer.outcome in ("answered", "truncated") else None


def judge_all(judge: Judge, matchups: Iterable[Matchup], block: int = 32) -> Iterator[Verdict]:
    """Judge matchups block by block; answers that are the same tie, and nobody is asked.

    Args:
        block: how many are judged before the caller can stop.
    """
    held: list[Matchup] = []
    for matchup in matchups:
        held.append(matchup)
        if len(held) == block:
            yield from _judge_block(judge, held)
            held = []
    yield from _judge_block(judge, held)


def _judge_block(judge: Judge, block: list[Matchup]) -> Iterator[Verdict]:
    asked = iter(judge.judge([matchup for matchup in block if not matchup.same]))
    for matchup in block:
        if matchup.same:
            yield Verdict.of(matchup, judge.name, SAME_ANSWER, [Reading("candidate", 0.5, "")])
        else:
            yield next(asked)


def same_family(one: str, other: str) -> bool:
    """Say whether two models' names have a family in common: judges tend to favour their own."""
    return bool(_families(one) & _families(other))


def _families(name: str) -> set[str]:
    words = re.split(r"[^a-z0-9]+", name.casefold())
    found = {
        family
        for family, pattern in _FAMILIES.items()
        if any(re.fullmatch(pattern, word) for word in words)
    }
    return found or {name.casefold()}
