"""Reference log-probabilities: computed once, before the loop, by the weights it starts from."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from safetensors.torch import load, save

from soda.progress import progress
from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.losses import Logps

__all__ = ["Reference", "logps_of_answers"]

_WINDOW = 512  # examples that are put into batches together


def logps_of_answers(
    policy: Policy,
    examples: Sequence[Example],
    processes: Processes,
    micro_batch_tokens: int,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[str, list[float]]]:
    """Yield each example's id and its answers' log-probabilities, of this process's share."""
    by_length = sorted(examples, key=len)
    for start in range(0, len(by_length), _WINDOW):
        batches = plan_micro_batches(
            by_length[start : start + _WINDOW], micro_batch_tokens, processes.count
        )
        for batch in batches[processes.index :: processes.count]:
            # all processes have to take the same number of turns, as they share the weights
            found = policy.answer_logps(batch or by_length[:1]).tolist()
            place = 0
            for example in batch:
                yield example.id, found[place : place + len(example.answers)]
                place += len(example.answers)
            done(len(batch))


class Reference:
    """The frozen model's log-probabilities of every pair, by the pair's id."""

    def __init__(self, logps: dict[str, list[float]]):
        self._logps = logps

    @classmethod
    def compute(
        cls, policy: Policy, pairs: Sequence[Example], processes: Processes, micro_batch_tokens: int
    ) -> "Reference":
        """Run the model once over all pairs; each process takes a share."""
        bar = progress("reference", total=len(pairs), unit="pairs")
        found = logps_of_answers(
            policy,
            pairs,
            processes,
            micro_batch_tokens,
            lambda count: bar.update(count * processes.count),
        )
        logps = dict(processes.gather(list(found)))
        bar.close()
        return cls(logps)

    @classmethod
    def from_bytes(cls, data: bytes, pairs: Sequence[Example]) -> "Reference":
        """Read what `to_bytes` gave for the same pairs in the same order."""
        names = [pair.id for pair in pairs]
        return cls(dict(zip(names, load(data)["logps"].tolist(), strict=True)))

    def to_bytes(self, pairs: Sequence[Example]) -> bytes:
        """Return the log-probabilities in the order of the pairs, chosen and rejected."""
        logps = torch.tensor([self._logps[pair.id] for pair in pairs], dtype=torch.float32)
        return save({"logps": logps})

    def of(self, pairs: Sequence[Example], device: Any) -> Logps:
        """Return the log-probabilities of these pairs, as the losses take them."""
        logps = torch.tensor([self._logps[pair.id] for pair in pairs], device=device)
        lengths = [[max(1, len(answer)) for answer in pair.answers] for pair in pairs]
        tokens = torch.tensor(lengths, device=device)
        return Logps(logps[:, 0], logps[:, 1], tokens[:, 0], tokens[:, 1])
