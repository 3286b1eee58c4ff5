"""From a student and its examples to a trained student: one phase after the other, and resuming."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soda.artifacts.intermediate import Intermediate
from soda.progress import say
from soda.storage import Place
from soda.training.run.checkpoint import Checkpoints
from soda.training.run.metrics import Metrics
from soda.training.run.phase import Phase, Setup
from soda.training.run.phase_run import PhaseRun

__all__ = ["Trainer"]


@dataclass
class Trainer:
    """Runs the phases of one training.

    Args:
        micro_batch_tokens: how many go through a model at once.
        log: the file that takes the figures of every step.
        push: lets the work folder outlive this machine; it is told whether it has to be done now.
        references: log-probabilities of the untrained student, which other runs share.
    """

    setup: Setup
    micro_batch_tokens: int
    log: Path
    push: Callable[[bool], None]
    references: Intermediate

    def run(self, phases: Sequence[Phase]) -> str | None:
        """Train through all phases, from the newest checkpoint if there is one.

        Returns: why training stopped early, or None.

        Raises:
            SystemExit: SIGTERM came; the state is saved, and the code is 143.
        """
        setup = self.setup
        checkpoints = Checkpoints(setup.work, setup.processes, self.push)
        latest = checkpoints.latest()
        metrics = Metrics(self.log, latest.metrics if latest else b"")
        if latest is not None:
            say(f"train: going on from {latest.position.name}")
        references: Intermediate | None = self.references
        for number, phase in enumerate(phases):
            if not phase.epochs:
                continue
            kept = references or Intermediate(Place.of(setup.work / f"reference-{number}"))
            first, references = references is not None, None
            if latest is not None and latest.position.phase > number:
                continue
            begun = latest if latest is not None and latest.position.phase == number else None
            run = PhaseRun(setup, phase, number, checkpoints, metrics, self.micro_batch_tokens)
            run.begin(begun, kept, first=first)
            problem = run.run()
            if problem is not None:
                return problem
        return None
