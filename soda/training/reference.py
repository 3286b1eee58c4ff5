"""Reference log-probabilities: computed once, before the loop, by the weights it starts from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from soda import storage
from soda.progress import progress
from soda.training.batch import Layout, TokenPair, micro_batches
from soda.training.logps import Logps, pair_logps

__all__ = ["Reference"]


class Reference:
    """The frozen model's log-probabilities of every pair, by the pair's id."""

    def __init__(self, chosen: dict[str, float], rejected: dict[str, float]):
        self._chosen = chosen
        self._rejected = rejected

    @classmethod
    def compute(
        cls,
        model: Any,
        pairs: Sequence[TokenPair],
        layout: Layout,
        accelerator: Any,
        micro_batch_size: int,
    ) -> "Reference":
        """Run the model once over all pairs, without gradients; each process takes a share."""
        from accelerate.utils import gather_object

        mine = pairs[accelerator.process_index :: accelerator.num_processes]
        found: list[tuple[str, float, float]] = []
        bar = progress("reference", total=len(mine), unit="pairs")
        with torch.no_grad():
            for batch in micro_batches(mine, micro_batch_size):
                logps = pair_logps(model, batch, layout)
                names = [pair.id for pair in batch]
                found += zip(names, logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
                bar.update(len(batch))
        bar.close()
        found = gather_object(found)
        return cls({row[0]: row[1] for row in found}, {row[0]: row[2] for row in found})

    @classmethod
    def load(cls, path: Path, pairs: Sequence[TokenPair]) -> "Reference":
        """Read what `save` wrote for the same pairs in the same order."""
        tensors = load_file(path)
        names = [pair.id for pair in pairs]
        return cls(
            dict(zip(names, tensors["chosen"].tolist(), strict=True)),
            dict(zip(names, tensors["rejected"].tolist(), strict=True)),
        )

    def save(self, path: Path, pairs: Sequence[TokenPair]) -> None:
        """Write the log-probabilities in the order of the pairs; all of them or none."""
        logps = self.of(pairs, "cpu")
        data = save({"chosen": logps.chosen, "rejected": logps.rejected})
        storage.write_atomically(path, data)

    def of(self, pairs: Sequence[TokenPair], device: Any) -> Logps:
        """Return the log-probabilities of these pairs, as the losses take them."""
        return Logps(
            torch.tensor([self._chosen[pair.id] for pair in pairs], device=device),
            torch.tensor([self._rejected[pair.id] for pair in pairs], device=device),
        )
