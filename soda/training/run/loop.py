"""The training loop: one for every objective, on one process or many."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from soda.progress import progress
from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.head import Objective, Sums
from soda.training.model.micro_batch import MicroBatch
from soda.training.model.processes import Processes, whole
from soda.training.run.checkpoint import Position
from soda.training.run.metrics import peak_memory_gib

__all__ = [
    "Phase",
    "Trainee",
    "Turn",
    "TurnOf",
    "Watcher",
    "accumulate",
    "ahead",
    "clip",
    "learning_rate",
    "local_micro_batches",
    "run_phase",
    "step_plan",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Phase:
    """One run over the pairs with one objective."""

    number: int
    name: str  # `sft`, or the name of a preference loss
    learning_rate: float
    epochs: int
    batch_size: int  # pairs a step, over all processes
    micro_batch_tokens: int  # at once on one process: memory and speed, not the result
    warmup_share: float
    max_grad_norm: float
    seed: int

    def plan(self, pairs: int) -> list[list[int]]:
        """Return the pairs' places of every step."""
        return step_plan(pairs, self.batch_size, self.epochs, self.seed + self.number)


class Trainee(Protocol):
    """A module that is trained: the policy, or GAD's discriminator."""

    def micro_batch(self, examples: Sequence[Example], temperature: float = 1.0) -> MicroBatch:
        """Return a batch for it, still on the CPU."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Return its weights."""

    def __call__(self, batch: MicroBatch, objective: Objective) -> Any:
        """Return the objective's loss and sums."""


def _nothing() -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step trains on, and how."""

    examples: Sequence[Example]
    objective: Objective
    sums: Sums = field(default_factory=dict)  # over the examples, worth watching beside the loss
    finish: Callable[[], None] = _nothing  # what else changes when the weights do
    temperature: float = 1.0


# From a step's number and its examples; None if it was interrupted.
TurnOf = Callable[[int, Sequence[Example]], Turn | None]


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


def local_micro_batches(
    trainee: Trainee,
    examples: Sequence[Example],
    processes: Processes,
    micro_batch_tokens: int,
    temperature: float = 1.0,
) -> list[tuple[MicroBatch, float]]:
    """Return this process's batches of one step on its device, and what each weighs.

    A process that has fewer than the others takes a turn that weighs nothing, as all take part in
    sharing weights and adding gradients up.
    """
    batches = plan_micro_batches(examples, micro_batch_tokens, processes.count)
    mine = batches[processes.index :: processes.count]
    return [
        (
            trainee.micro_batch(batch or examples[:1], temperature).to(processes.device),
            1.0 if batch else 0.0,
        )
        for batch in mine
    ]


def ahead(make: Callable[[int], T], numbers: Iterable[int]) -> Iterator[tuple[int, T]]:
    """Yield each number and what is made of it, in the background while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for number in numbers:
            coming = number, pool.submit(make, number)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def accumulate(
    trainee: Trainee,
    processes: Processes,
    batches: Sequence[tuple[MicroBatch, float]],
    objective: Objective,
    interrupted: Callable[[], bool],
) -> Sums | None:
    """Add up the gradients of one step's batches; return the sums, or None if interrupted."""
    sums: Sums = {}
    for number, (batch, weight) in enumerate(batches, start=1):
        processes.sync_gradients(trainee, number == len(batches))
        loss, found = trainee(batch, objective)
        # gradients are averaged over processes; the loss is a share of one mean
        (loss * weight * processes.count).backward()
        sums = {key: sums.get(key, 0) + weight * value.detach() for key, value in found.items()}
        if interrupted():
            return None
    return sums


def clip(trainee: Trainee, max_grad_norm: float) -> Tensor:
    """Scale gradients down to a norm, and return the norm that they had."""
    return whole(torch.nn.utils.clip_grad_norm_(trainee.parameters(), max_grad_norm))


class Watcher(Protocol):
    """What looks at a phase as it goes, and can end it."""

    def interrupted(self) -> bool:
        """Tell whether to leave in the middle of a step."""

    def sees(self, position: Position, steps: int, figures: dict[str, float]) -> bool:
        """Look at a step's figures before any weight changes by it; False ends the phase."""

    def reached(self, position: Position, steps: int, figures: dict[str, float]) -> bool:
        """Look at the policy after a step; False ends the phase."""


def run_phase(
    phase: Phase,
    turn_of: TurnOf,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    processes: Processes,
    examples: Sequence[Example],
    *,
    start: int,
    watcher: Watcher,
    alone: bool = False,
) -> None:
    """Train from step `start` to the phase's end, or until the watcher ends it.

    Args:
        alone: a turn needs the weights of the step before; otherwise it is made during that step.
    """
    plan = phase.plan(len(examples))
    bar = progress(phase.name, total=len(plan), unit="steps", done=start)

    def prepare(step: int) -> tuple[Turn, list[tuple[MicroBatch, float]]] | None:
        turn = turn_of(step, [examples[place] for place in plan[step]])
        if turn is None:
            return None
        tokens = phase.micro_batch_tokens
        batches = local_micro_batches(trainee, turn.examples, processes, tokens, turn.temperature)
        return turn, batches

    begun = time.monotonic()
    numbers = range(start, len(plan))
    turns = ((number, prepare(number)) for number in numbers) if alone else ahead(prepare, numbers)
    for step, prepared in turns:
        if prepared is None:
            break
        turn, batches = prepared
        position = Position(phase.number, step + 1)
        rate = learning_rate(step, len(plan), phase.learning_rate, phase.warmup_share)

        sums = accumulate(trainee, processes, batches, turn.objective, watcher.interrupted)
        if sums is None:
            break
        norm = clip(trainee, phase.max_grad_norm)
        added = processes.total(sums | turn.sums)
        figures = {key: value / len(turn.examples) for key, value in added.items()}
        figures |= {"learning_rate": rate, "gradient_norm": float(norm)}
        if not watcher.sees(position, len(plan), figures):
            break
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        turn.finish()

        seconds = time.monotonic() - begun
        tokens = sum(map(len, turn.examples))
        figures |= {"seconds": seconds, "tokens_per_second": tokens / seconds}
        figures |= {"peak_memory_gib": peak_memory_gib()}
        shown = {key: f"{figures[key]:.4g}" for key in ("loss", "accuracy") if key in figures}
        bar.set_postfix(shown)
        bar.update()
        if not watcher.reached(position, len(plan), figures):
            break
        begun = time.monotonic()
    bar.close()
