"""The training loop: one for every objective; on one process or, through accelerate, on many."""

import contextlib
import json
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from soda.progress import progress
from soda.training.batch import TokenPair, micro_batches
from soda.training.checkpoint import Position
from soda.training.objectives import Objective, Sums

__all__ = ["Metrics", "Phase", "learning_rate", "mean_over_processes", "run_phase", "step_plan"]


@dataclass(frozen=True, slots=True)
class Phase:
    """One run over the pairs with one objective."""

    number: int
    name: str  # `sft`, or the name of a preference loss
    learning_rate: float
    epochs: int
    batch_size: int  # pairs a step, over all processes
    micro_batch_size: int  # pairs at once on one process: memory and speed, not the result
    warmup_share: float
    max_grad_norm: float
    check_every_steps: int
    seed: int

    def plan(self, pairs: int) -> list[list[int]]:
        """Return the pairs' places of every step."""
        return step_plan(pairs, self.batch_size, self.epochs, self.seed + self.number)


def step_plan(pairs: int, batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Shuffle each epoch anew and cut it into steps; the last of an epoch may be smaller."""
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for _ in range(epochs):
        order = torch.randperm(pairs, generator=generator).tolist()
        steps += [order[start : start + batch_size] for start in range(0, pairs, batch_size)]
    return steps


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then a half cosine towards 0."""
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Metrics:
    """Lines of figures, one a step; a resumed run cuts what came after its checkpoint."""

    def __init__(self, path: Path, resumed_at: Position | None):
        self.path = path
        kept = []
        if resumed_at is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                with contextlib.suppress(ValueError):
                    values = json.loads(line)
                    if Position(values["phase"], values["step"]) <= resumed_at:
                        kept.append(line)
        path.write_text("".join(kept), encoding="utf-8")

    def write(self, position: Position, name: str, figures: dict[str, Any]) -> None:
        """Append the figures of one step, or of one check."""
        line = {"phase": position.phase, "step": position.step, "name": name, **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def run_phase(
    phase: Phase,
    objective: Objective,
    accelerator: Any,
    model: Any,
    optimizer: Any,
    pairs: Sequence[TokenPair],
    *,
    start: int,
    metrics: Metrics,
    check: Callable[[Position], bool],
) -> None:
    """Train from step `start` to the phase's end, or until `check` returns False.

    `check` is called every `check_every_steps`, and at the end.
    """
    plan = phase.plan(len(pairs))
    bar = progress(phase.name, total=len(plan), unit="steps", done=start)
    begun = time.monotonic()
    for step in range(start, len(plan)):
        rate = learning_rate(step, len(plan), phase.learning_rate, phase.warmup_share)
        step_pairs = [pairs[place] for place in plan[step]]
        sums: Sums = {}

        for group in optimizer.param_groups:
            group["lr"] = rate
        for micro, sync, weight in _local_micro_batches(step_pairs, phase, accelerator):
            with contextlib.nullcontext() if sync else accelerator.no_sync(model):
                loss, found = objective(model, micro, step_pairs)
                # accelerate averages gradients over processes; the loss is a share of a sum
                accelerator.backward(loss * weight * accelerator.num_processes)
            sums = {key: sums.get(key, 0.0) + weight * value for key, value in found.items()}
        norm = accelerator.clip_grad_norm_(model.parameters(), phase.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

        position = Position(phase.number, step + 1)
        figures = mean_over_processes(sums, len(step_pairs), accelerator)
        figures |= {"learning_rate": rate, "gradient_norm": float(norm)}
        figures |= _speed(step_pairs, begun)
        begun = time.monotonic()
        if accelerator.is_main_process:
            metrics.write(position, phase.name, figures)
        bar.set_postfix(
            {key: f"{figures[key]:.4g}" for key in ("loss", "accuracy") if key in figures}
        )
        bar.update()
        if (step + 1) % phase.check_every_steps == 0 or step + 1 == len(plan):
            if not check(position):
                break
            begun = time.monotonic()
    bar.close()


def _local_micro_batches(
    pairs: Sequence[TokenPair], phase: Phase, accelerator: Any
) -> Iterator[tuple[list[TokenPair], bool, float]]:
    """Yield this process's micro-batches, whether each is its last, which syncs, and its weight.

    A step smaller than the number of processes gives some of them a pair that weighs nothing, as
    all have to take part in the sync.
    """
    mine = pairs[accelerator.process_index :: accelerator.num_processes]
    batches = list(micro_batches(mine or pairs[:1], phase.micro_batch_size))
    for number, batch in enumerate(batches, start=1):
        yield batch, number == len(batches), 1.0 if mine else 0.0


def mean_over_processes(sums: Sums, count: int, accelerator: Any) -> dict[str, float]:
    """Add up every process's sums and divide by a count; all must have the same names."""
    names = sorted(sums)
    total = torch.tensor([sums[name] for name in names], device=accelerator.device)
    total = accelerator.reduce(total, reduction="sum") / count
    return dict(zip(names, total.tolist(), strict=True))


def _speed(pairs: Sequence[TokenPair], begun: float) -> dict[str, float]:
    seconds = time.monotonic() - begun
    if torch.cuda.is_available():
        peak = float(torch.cuda.max_memory_allocated())
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return {
        "seconds": seconds,
        "tokens_per_second": sum(map(len, pairs)) / seconds,
        "peak_memory_gib": peak / 2**30,
    }
