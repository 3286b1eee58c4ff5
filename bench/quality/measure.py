"""What a model answers, and how likely it finds the right answers: of all prompts, or held-out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.quality.tasks import Item
from soda.evaluation.metrics import rouge_l
from soda.rows import Prompt, Response
from soda.student.chat import ChatFormat
from soda.student.generate import Answer, Sampling, load_model, sample

__all__ = ["answers_of", "measure"]

_AT_ONCE = {"cpu": (32, 2048), "cuda": (512, 16384)}  # answers under way, tokens scored


def _answers(
    model: Any, chat: ChatFormat, prompts: Sequence[str], temperature: float, most: int, seed: int
) -> list[Answer]:
    """Answer, without the paged cache that would take the whole card: several cells share it."""
    rows = _AT_ONCE[model.device.type][0]
    sampling = Sampling(temperature, 1.0, most, seed, rows)
    ids = [chat.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts]
    found = dict(sample(model, chat, ids, sampling, may_page=False))
    return [found[place] for place in range(len(prompts))]


def answers_of(folder: Path, prompts: Sequence[str], most: int, seed: int) -> list[Answer]:
    """Sample an answer to every prompt as a snapshot does, at temperature 0.7."""
    return _answers(load_model(folder), ChatFormat.load(folder), prompts, 0.7, most, seed)


def measure(folder: Path, items: Sequence[Item], most: int) -> dict[str, list[float]]:
    """Return, item by item: right (greedy), ROUGE-L to and log-likelihood a token of the right
    answer, tokens of the answer, and whether it stopped."""
    model, chat = load_model(folder), ChatFormat.load(folder)
    answers = _answers(model, chat, [item.prompt for item in items], 0.0, most, 0)
    texts = [answer.text for answer in answers]
    return {
        "right": [int(item.holds(text)) for item, text in zip(items, texts, strict=True)],
        "logp": _likelihoods(model, chat, items),
        "rouge_l": [round(x, 3) for x in rouge_l([item.right for item in items], texts)],
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
                Prompt(str(place), [{"role": "user", "content": item.prompt}], "test"),
                item.right,
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
