"""From a student and its examples to a trained student: one phase after the other, and resuming."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soda.artifacts.intermediate import Intermediate
from soda.progress import say
from soda.training.run.checkpoint import Checkpoints
from soda.training.run.metrics import Metrics
from soda.training.run.phase import Phase, Setup
from soda.training.run.phase_run import Ending, PhaseRun

__all__ = ["Trainer"]


@dataclass
class Trainer:
    """Runs the phases of one training.

    Args:
        micro_batch_tokens: how many go through a model at once.
        log: the file that takes the figures of every step.
        push: lets the work folder outlive this machine; it is told whether it has to be done now.
        references: log-probabilities of the untrained student, which other runs share.
        clock: seconds that only grow.
    """

    setup: Setup
    micro_batch_tokens: int
    log: Path
    push: Callable[[bool], None]
    references: Intermediate
    clock: Callable[[], float] = time.monotonic

    def run(self, phases: Sequence[Phase]) -> Ending:
        """Train through all phases, from the newest checkpoint if there is one.

        Returns: how the last phase ended, or the one in which something went wrong.

        Raises:
            SystemExit: SIGTERM came; the state is saved, and the code is 143.
        """
        setup = self.setup
        checkpoints = Checkpoints(setup.work, setup.processes, self.push)
        latest = checkpoints.latest()
        metrics = Metrics(self.log, latest.metrics if latest else b"")
        if latest is not None:
            say(f"train: going on from {latest.position.name}")
        ending = Ending(0, 0, "last step")
        for number, phase in enumerate(phases):
            if not phase.epochs or (latest is not None and latest.position.phase > number):
                continue
            begun = latest if latest is not None and latest.position.phase == number else None
            run = PhaseRun(
                setup, phase, number, checkpoints, metrics, self.micro_batch_tokens, self.clock
            )
            run.begin(begun, self.references if number == 0 else None)
            ending = run.run()
            if ending.problem is not None:
                break
        return ending
