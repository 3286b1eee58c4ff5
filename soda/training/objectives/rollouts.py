"""Answers that the policy samples as it is, to be trained on and thrown away."""

from collections.abc import Sequence

from soda.student.generate import Sampling, sample_ids
from soda.training.model.examples import Example
from soda.training.run.phase import Setup

__all__ = ["draw_rollouts"]

_AT_ONCE = 256  # answers under way


def draw_rollouts(
    setup: Setup, examples: Sequence[Example], step: int, numbers: range
) -> list[Example] | None:
    """Return each example's prompt with answers of the policy's; None if SIGTERM came.

    Args:
        numbers: of the answers to each prompt. With seed and step they decide what is drawn.
    """
    settings, seed, count = setup.config.adversarial, setup.config.seed, len(numbers)
    sampling = Sampling(settings.temperature, 1, settings.max_new_tokens, seed, _AT_ONCE)
    prompts = [example.prompt.tolist() for example in examples for _ in numbers]
    seeds = [[seed, step, place, n] for place in range(len(examples)) for n in numbers]
    may_page = not setup.policy.packed
    with setup.policy.answering() as model:
        drawn = sample_ids(
            model, setup.chat, prompts, sampling, seeds, setup.interrupted, may_page=may_page
        )
        found = dict(drawn)
    if setup.interrupted():
        return None
    return [
        Example.of(
            example.id,
            example.prompt,
            *(found[place] for place in range(first, first + count)),
        )
        for first, example in zip(range(0, len(found), count), examples, strict=True)
    ]
