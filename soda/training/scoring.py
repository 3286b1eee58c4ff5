"""How likely a model finds answers that it need not have written."""

from collections.abc import Sequence
from pathlib import Path

from soda.artifacts.intermediate import Intermediate
from soda.student.chat import ChatFormat
from soda.student.generate import load_model
from soda.training.model.device import Device
from soda.training.model.examples import Example
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.reference import Reference

__all__ = ["logps_per_token"]


def logps_per_token(
    folder: Path, chat: ChatFormat, examples: Sequence[Example], kept: Intermediate
) -> dict[str, list[float]]:
    """Return the mean log-probability a token of every example's answers, by the example's id.

    Args:
        folder: the model's.
        examples: with answers of one token or more.
        kept: where finished parts are, and go. The key has to hold model, format and answers.
    """
    longest = max(len(one.prompt) + max(map(len, one.answers)) for one in examples)
    processes = Processes()
    policy = Policy(load_model(folder), chat.pad, longest)
    tokens = Device().tokens(processes.device.type)
    reference = Reference.compute(policy, examples, processes, tokens, kept)
    return {
        one.id: [
            logp / len(answer)
            for logp, answer in zip(reference.logps(one), one.answers, strict=True)
        ]
        for one in examples
    }
