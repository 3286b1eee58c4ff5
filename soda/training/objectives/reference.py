"""Reference log-probabilities: computed once, before the loop, by the weights it starts from."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from safetensors.torch import load, save

from soda.artifacts.intermediate import Intermediate
from soda.progress import progress, say
from soda.rows import digest
from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.losses import Logps

__all__ = ["Reference", "logps_of_answers"]

_WINDOW = 512  # examples that are put into micro-batches together, and kept together


def logps_of_answers(
    policy: Policy,
    examples: Sequence[Example],
    processes: Processes,
    micro_batch_tokens: int,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[str, list[float]]]:
    """Yield each example's id and its answers' log-probabilities, of this process's share."""
    for window in _windows(examples):
        batches = plan_micro_batches(window, micro_batch_tokens, processes.count)
        for batch in batches[processes.index :: processes.count]:
            # all processes have to take the same number of turns, as they share the weights
            found = policy.answer_logps(batch or window[:1]).tolist()
            place = 0
            for example in batch:
                yield example.id, found[place : place + len(example.answers)]
                place += len(example.answers)
            done(len(batch))


def _windows(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Yield the examples in order of length, some at a time."""
    by_length = sorted(examples, key=len)
    for start in range(0, len(by_length), _WINDOW):
        yield by_length[start : start + _WINDOW]


class Reference:
    """The frozen model's log-probabilities of every example's answers, by the example's id."""

    def __init__(self, logps: dict[str, list[float]]):
        self._logps = logps

    @classmethod
    def compute(
        cls,
        policy: Policy,
        examples: Sequence[Example],
        processes: Processes,
        micro_batch_tokens: int,
        kept: Intermediate | None = None,
    ) -> "Reference":
        """Run the model once over all examples; each process takes a share.

        Args:
            kept: where finished parts are read from, and kept for a run that goes on.
        """
        windows = list(_windows(examples))
        names = [f"{digest([one.id for one in window])[:16]}.safetensors" for window in windows]
        logps: dict[str, list[float]] = {}
        missing = []
        for name, window in zip(names, windows, strict=True):
            data = kept.read(name) if kept else None
            if all(processes.gather([data is not None])):
                logps |= _unpacked(data, window)
            else:
                missing.append((name, window))
        if logps:
            say(f"{len(logps)} reference log-probabilities are of an earlier run")
        if not missing:
            return cls(logps)
        bar = progress("reference", total=len(examples), unit="examples", done=len(logps))
        for name, window in missing:
            found = logps_of_answers(policy, window, processes, micro_batch_tokens)
            part = dict(processes.gather(list(found)))
            if kept and processes.main:
                kept.write(name, _packed(part, window))
            logps |= part
            bar.update(len(window))
        bar.close()
        return cls(logps)

    def mean(self, examples: Sequence[Example]) -> float:
        """Return the mean log-probability of the examples' first answers, in nats an answer."""
        return sum(self._logps[one.id][0] for one in examples) / len(examples)

    def mean_logp(self, examples: Sequence[Example]) -> float:
        """Return the same in nats a token: the mean over answers of each one's mean."""
        return sum(self._logps[one.id][0] / len(one.answers[0]) for one in examples) / len(examples)

    def logps(self, example: Example) -> list[float]:
        """Return the log-probability of each of an example's answers, in nats an answer."""
        return self._logps[example.id]

    def of(self, examples: Sequence[Example], device: Any) -> Logps:
        """Return the log-probabilities of these pairs, as the losses take them."""
        logps = torch.tensor([self._logps[one.id] for one in examples], device=device)
        lengths = [[max(1, len(answer)) for answer in one.answers] for one in examples]
        tokens = torch.tensor(lengths, device=device)
        return Logps(logps[:, 0], logps[:, 1], tokens[:, 0], tokens[:, 1])


def _packed(logps: dict[str, list[float]], examples: Sequence[Example]) -> bytes:
    """Write log-probabilities down, in the order of the examples and their answers."""
    values = [value for one in examples for value in logps[one.id]]
    return save({"logps": torch.tensor(values, dtype=torch.float32)})


def _unpacked(data: Any, examples: Sequence[Example]) -> dict[str, list[float]]:
    values = iter(load(data)["logps"].tolist())
    return {one.id: [next(values) for _ in one.answers] for one in examples}
