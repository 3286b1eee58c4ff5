"""The training loop: one for every objective, on one process or many."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from soda.progress import progress
from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.head import Objective, Sums
from soda.training.model.micro_batch import MicroBatch
from soda.training.model.processes import Processes, whole
from soda.training.run.metrics import StepFigures, peak_memory_gib
from soda.training.run.phase import Phase, Setup, Start, Trainee, Turn
from soda.training.run.position import Position
from soda.training.run.schedule import learning_rate, step_plan

__all__ = [
    "Watcher",
    "accumulate",
    "ahead",
    "clip",
    "local_micro_batches",
    "plan_of",
    "run_phase",
]

T = TypeVar("T")


def plan_of(setup: Setup, phase: Phase, number: int) -> list[list[int]]:
    """Return the places of the examples that each step of a phase sees."""
    _, _, batch_size = setup.config.schedule
    seed = setup.config.seed + number
    return step_plan(len(setup.examples), batch_size, phase.epochs, seed)


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

    def sees(self, position: Position, figures: StepFigures) -> bool:
        """Look at a step's figures before any weight changes by it; False ends the phase."""

    def reached(self, position: Position, figures: StepFigures) -> bool:
        """Look at the policy after a step; False ends the phase."""


def run_phase(setup: Setup, phase: Phase, number: int, start: Start, watcher: Watcher) -> None:
    """Train to the phase's end, or until the watcher ends it or SIGTERM comes.

    Args:
        number: the phase's place among those of the training.
    """
    plan = plan_of(setup, phase, number)
    turn_of, trainee = phase.begin(start), phase.trainee
    optimizer = start.optimizers[next(iter(phase.rates))]
    settings = setup.config.optimizer
    bar = progress(phase.name, total=len(plan), unit="steps", done=start.step)

    def prepare(step: int) -> tuple[Turn, list[tuple[MicroBatch, float]]] | None:
        turn = turn_of(step, [setup.examples[place] for place in plan[step]])
        if turn is None:
            return None
        return turn, local_micro_batches(
            trainee, turn.examples, setup.processes, start.micro_batch_tokens, turn.temperature
        )

    begun = time.monotonic()
    steps = range(start.step, len(plan))
    turns = ((step, prepare(step)) for step in steps) if phase.alone else ahead(prepare, steps)
    for step, prepared in turns:
        if prepared is None:
            break
        turn, batches = prepared
        position = Position(number, step + 1)
        rate = learning_rate(step, len(plan), phase.learning_rate, settings.warmup_share)

        sums = accumulate(trainee, setup.processes, batches, turn.objective, setup.interrupted)
        if sums is None:
            break
        norm = clip(trainee, settings.clipped_at)
        added = setup.processes.total(sums | turn.sums)
        means = {key: value / len(turn.examples) for key, value in added.items()}
        figures = StepFigures(means.pop("loss"), float(norm), rate, means)
        if not watcher.sees(position, figures):
            break
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        turn.finish()

        seconds = time.monotonic() - begun
        tokens = sum(map(len, turn.examples))
        figures = replace(
            figures,
            seconds=seconds,
            tokens_per_second=tokens / seconds,
            peak_memory_gib=peak_memory_gib(),
        )
        shown = {"loss": figures.loss} | {k: v for k, v in means.items() if k == "accuracy"}
        bar.set_postfix({key: f"{value:.4g}" for key, value in shown.items()})
        bar.update()
        if not watcher.reached(position, figures):
            break
        begun = time.monotonic()
    bar.close()
