"""What a model answers, and how likely it finds the good teacher's answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.quality.items import Item
from soda.evaluation.metrics import rouge_l
from soda.rows import Message, Prompt, Response
from soda.student.chat import ChatFormat
from soda.student.generate import Answer, Sampling, load_model, sample

__all__ = ["answers_of", "measure"]

_AT_ONCE = {"cpu": (32, 2048), "cuda": (512, 16384)}  # answers under way, tokens scored


def _answers(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[Message]],
    temperature: float,
    most: int,
    seed: int,
) -> list[Answer]:
    """Answer, without the paged cache that would take the whole card: several cells share it."""
    rows = _AT_ONCE[model.device.type][0]
    sampling = Sampling(temperature, 1.0, most, seed, rows)
    ids = [chat.prompt_ids(prompt) for prompt in prompts]
    found = dict(sample(model, chat, ids, sampling, may_page=False))
    return [found[place] for place in range(len(prompts))]


def answers_of(
    folder: Path, prompts: Sequence[list[Message]], most: int, seed: int
) -> list[Answer]:
    """Sample an answer to every prompt as a snapshot does, at temperature 0.7."""
    return _answers(load_model(folder), ChatFormat.load(folder), prompts, 0.7, most, seed)


def measure(folder: Path, items: Sequence[Item], most: int) -> dict[str, list[float | None]]:
    """Return, item by item, what a greedy answer of at most so many tokens is worth.

    Whether it is right (None: nobody can tell), its ROUGE-L to the good teacher's answer, that
    answer's log-likelihood a token, the tokens of its own, and whether it stopped.
    """
    model, chat = load_model(folder), ChatFormat.load(folder)
    answers = _answers(model, chat, [item.messages for item in items], 0.0, most, 0)
    texts = [answer.text for answer in answers]
    held = [item.holds(text) for item, text in zip(items, texts, strict=True)]
    return {
        "right": [None if each is None else int(each) for each in held],
        "logp": _likelihoods(model, chat, items),
        "rouge_l": [round(x, 3) for x in rouge_l([item.answer for item in items], texts)],
        "tokens": [answer.tokens for answer in answers],
        "stopped": [int(answer.stopped) for answer in answers],
    }


def _likelihoods(model: Any, chat: ChatFormat, items: Sequence[Item]) -> list[float]:
    from soda.training.model.examples import answered
    from soda.training.model.policy import Policy
    from soda.training.model.processes import Processes
    from soda.training.objectives.reference import logps_of_answers

    examples = [
        answered(
            Response(
                Prompt(str(place), item.messages, "test"),
                item.answer,
                "answered",
            ),
            chat,
        )
        for place, item in enumerate(items)
    ]
    policy = Policy(model, chat.pad, max(map(len, examples)))
    tokens = _AT_ONCE[model.device.type][1]
    logps = dict(logps_of_answers(policy, examples, Processes(), tokens))
    return [round(logps[one.id][0] / len(one.answers[0]), 4) for one in examples]
