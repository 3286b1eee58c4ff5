"""A phase of training: what it trains, on what, and how it is watched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from soda.student.chat import ChatFormat
from soda.training.config import TrainConfig
from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums
from soda.training.model.micro_batch import MicroBatch
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.reference import Reference
from soda.training.run.interrupt import Interrupt

__all__ = ["Phase", "Setup", "Start", "Trainee", "Turn", "TurnOf"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all phases of one training share.

    Args:
        policy: changed in place.
        validation: may be empty; then nothing is watched but the steps.
        work: the folder that a later process resumes from.
    """

    config: TrainConfig
    policy: Policy
    chat: ChatFormat
    processes: Processes
    examples: Sequence[Example]
    validation: Sequence[Example]
    work: Path
    interrupt: Interrupt

    def interrupted(self) -> bool:
        """Tell whether to leave at once; several processes leave together, after a step."""
        return self.interrupt.came and self.processes.count == 1


class Trainee(Protocol):
    """A module that is trained: the policy, or GAD's discriminator."""

    def micro_batch(self, examples: Sequence[Example], temperature: float = 1.0) -> MicroBatch:
        """Return a micro-batch for it, still on the CPU."""

    def parameters(self) -> Iterator[nn.Parameter]:
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


@dataclass(frozen=True, slots=True)
class Start:
    """What a phase begins with, or goes on with.

    Args:
        step: how many steps are done; 0: it begins.
        reference: the log-probabilities of the model that the phase began with, if it compares.
        optimizers: of what it trains, by name.
        micro_batch_tokens: how many go through a model at once.
    """

    step: int
    reference: Reference | None
    optimizers: Mapping[str, torch.optim.Optimizer]
    micro_batch_tokens: int


@dataclass(frozen=True, slots=True)
class Phase:
    """One run over the examples with one objective. What runs it knows none by name.

    Args:
        rates: the peak learning rates of what it trains, by module. The loop's own trainee is the
            first, and the rate that rises and falls is its; others keep theirs.
        modules: what changes in this phase or one before: a checkpoint has all of it.
        begin: returns what each step trains on.
        largest: the largest example that a step may make of one; it has to fit into memory.
        compares: its objective needs the reference's log-probabilities of the training examples.
        watched: validation examples are looked at as it goes, as the policy changes.
        keeps_best: it ends at the checkpoint where validation was best, not at its last step.
        alone: a turn needs the weights of the step before; otherwise it is made during that step.
    """

    name: str
    epochs: int
    modules: Mapping[str, nn.Module]
    rates: Mapping[str, float]
    begin: Callable[[Start], TurnOf]
    largest: Callable[[Example], Example] = lambda example: example
    compares: bool = False
    watched: bool = True
    keeps_best: bool = False
    alone: bool = False

    @property
    def trainee(self) -> Any:
        """What the loop trains."""
        return self.modules[next(iter(self.rates))]

    @property
    def learning_rate(self) -> float:
        """The peak of the loop's rate."""
        return next(iter(self.rates.values()))
