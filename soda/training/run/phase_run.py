"""One phase of a training, from its start or a checkpoint: steps, checks, saves, and going back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from soda.artifacts.intermediate import Intermediate
from soda.progress import say
from soda.training.objectives.reference import Reference
from soda.training.run.checkpoint import Checkpoint, Checkpoints, local_tensors
from soda.training.run.health import Sign, signs_in_check, signs_in_step
from soda.training.run.loop import plan_of, run_phase
from soda.training.run.metrics import CheckFigures, Metrics, Row, StepFigures
from soda.training.run.optimizer import make_optimizer, restore_float32
from soda.training.run.phase import Phase, Setup, Start
from soda.training.run.position import Position
from soda.training.run.validation import check_figures

__all__ = ["Ending", "PhaseRun"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Which weights a phase ends with.

    Args:
        step: after how many steps, of `steps`.
        chosen_by: why these: `last step`, `validation log-likelihood` or `health`.
        problem: why training stopped early, or None.
    """

    step: int
    steps: int
    chosen_by: str
    chosen_logp: float | None = None  # of a token of the teacher's validation answers
    problem: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {
            "step": self.step,
            "steps": self.steps,
            "chosen_by": self.chosen_by,
            "validation_logp": self.chosen_logp,
        }


@dataclass
class PhaseRun:
    """Runs one phase, and watches it.

    Args:
        number: the phase's place among those of the training.
        micro_batch_tokens: how many go through a model at once.
        clock: seconds that only grow.
    """

    setup: Setup
    phase: Phase
    number: int
    checkpoints: Checkpoints
    metrics: Metrics
    micro_batch_tokens: int
    clock: Callable[[], float]
    _optimizers: dict[str, torch.optim.Optimizer] = field(init=False)
    _reference: Reference | None = field(init=False, default=None)
    _begun: Checkpoint | None = field(init=False)
    _done: Position = field(init=False)
    _steps: int = field(init=False)
    _saved_at: float = field(init=False)
    _problem: str | None = field(init=False, default=None)

    def begin(self, begun: Checkpoint | None, kept: Intermediate | None) -> None:
        """Bring all to where the phase begins, or to a checkpoint of it.

        Args:
            kept: reference log-probabilities, finished or in part. Only a training's first phase
                can have them: there the policy is still as it was loaded.
        """
        setup, phase = self.setup, self.phase
        decay, half = setup.config.optimizer.weight_decay, setup.processes.half
        self._optimizers = {
            name: make_optimizer(phase.modules[name], rate, decay, half=half)
            for name, rate in phase.rates.items()
        }
        if phase.compares:
            assert kept is not None, "a phase that compares comes first"
            examples = [*setup.validation, *setup.examples]
            tokens = self.micro_batch_tokens
            self._reference = Reference.compute(
                setup.policy, examples, setup.processes, tokens, kept
            )
        self._begun = begun
        if begun is not None:
            begun.restore(phase.modules, self._optimizers)
        self._done = begun.position if begun else Position(self.number, 0)
        self._steps = len(plan_of(setup, phase, self.number))
        self._saved_at = self.clock()

    def run(self) -> Ending:
        """Train to the end, or to the last good checkpoint where something goes wrong.

        Raises:
            SystemExit: SIGTERM came; the state is saved, and the code is 143.
        """
        if self._was_checked() or self._check(self._done):
            start = Start(
                self._done.step, self._reference, self._optimizers, self.micro_batch_tokens
            )
            run_phase(self.setup, self.phase, self.number, start, watcher=self)
        if self.setup.interrupt.came and not self._problem:
            self._leave()
        return self._end()

    @property
    def _watched(self) -> bool:
        return self.phase.watched and bool(self.setup.validation)

    def _is_due(self, step: int) -> bool:
        return step % self.setup.config.check_every_steps == 0 or step == self._steps

    def _was_checked(self) -> bool:
        """Tell whether the state was looked at before it was saved; SIGTERM leaves no time to."""
        if self._begun is None:
            return False
        if not (self._watched and self._is_due(self._done.step)):
            return True
        return self._done in self.metrics.checks(self.number)

    def sees(self, position: Position, figures: StepFigures) -> bool:
        """Look for what must not go on, before the weights change."""
        health = self.setup.config.health
        return self._heed(signs_in_step(health, figures, position.step - 1, self._steps), position)

    def reached(self, position: Position, figures: StepFigures) -> bool:
        """Write the figures down; check and save now and then, and at the end."""
        self._done = position
        self.metrics.write(Row(position, self.phase.name, figures))
        interrupt, processes = self.setup.interrupt, self.setup.processes
        overdue = self.clock() - self._saved_at >= 60 * self.setup.config.checkpoint_minutes
        asked = {"came": float(interrupt.came), "overdue": float(overdue and processes.main)}
        asked = processes.total(asked)
        if asked["came"]:
            interrupt.came = True
            return False
        if self._is_due(position.step):
            return self._check(position)
        if asked["overdue"]:
            self._save()
        return True

    def _heed(self, signs: Sequence[Sign], position: Position) -> bool:
        """Say what was seen; return whether to go on."""
        for sign in signs:
            where = f"at {self.phase.name} step {position.step}"
            say(f"train: {sign.text}, {where}: {'stopping' if sign.stop else 'going on'}")
            if sign.stop and self._problem is None:
                self._problem = f"{sign.text}, {where}"
        return self._problem is None

    def _check(self, position: Position) -> bool:
        """Look at the validation examples, then save; return whether to go on.

        SIGTERM ends it: there is time to save the state, and the resumed run looks first.
        """
        if self._watched:
            figures = check_figures(self.setup, self._reference, self.micro_batch_tokens)
            if figures is None:
                return False
            self.metrics.write(Row(position, self.phase.name, figures))
            say(f"train: {self.phase.name} step {position.step}, validation: {_told(figures)}")
            at_start = next(iter(self.metrics.checks(self.number).values()))
            signs = signs_in_check(self.setup.config.health, figures, at_start)
            if not self._heed(signs, position):
                return False
        self._save()
        return True

    def _best(self) -> Position | None:
        """Return where validation was best, of what was saved; the first of equals."""
        checks = self.metrics.checks(self.number)
        saved = [position for position in checks if position <= self._done]
        if not (self.phase.keeps_best and saved):
            return None
        return max(saved, key=lambda position: checks[position].chosen_logp)

    def _save(self, *, now: bool = False) -> None:
        tensors = local_tensors(self.phase.modules, self._optimizers)
        metrics, best = self.metrics.read(), self._best()
        self.checkpoints.save(self._done, tensors, metrics, best=best, now=now)
        self._saved_at = self.clock()

    def _leave(self) -> None:
        """Save the state after the last whole step, and end the process as SIGTERM would."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        if self.checkpoints.newest != self._done:
            self._save(now=True)
        self.checkpoints.wait()
        say(
            f"train: stopped by SIGTERM, saved {self._done.name}; "
            "run the same command to go on from there"
        )
        raise SystemExit(143)

    def _end(self) -> Ending:
        """Put the weights in that the phase ends with, in float32, and say which they are."""
        chosen_by, problem = "last step", self._problem
        if problem:
            good = self.checkpoints.latest()
            if good is None or good.position.phase < self.number:  # all is as it came
                self._restore_float32()
                problem = f"{problem}; nothing was trained"
                return Ending(0, self._steps, "health", problem=problem)
            self._put(good)
            chosen_by, problem = "health", f"{problem}; back to {good.position.name}"
        best = self._best()
        if best is not None:
            chosen_by = "validation log-likelihood"
            if best != self._done:
                self._put(self.checkpoints.read(best))
        self.checkpoints.wait()
        self._restore_float32()
        check = self.metrics.checks(self.number).get(self._done)
        logp = check.chosen_logp if check else None
        ending = Ending(self._done.step, self._steps, chosen_by, logp, problem)
        if self.phase.keeps_best:
            say(f"train: {_chosen(ending)}")
        return ending

    def _restore_float32(self) -> None:
        for name, optimizer in self._optimizers.items():
            restore_float32(self.phase.modules[name], optimizer)

    def _put(self, checkpoint: Checkpoint) -> None:
        checkpoint.restore(self.phase.modules, self._optimizers)
        self._done = checkpoint.position


def _told(figures: CheckFigures) -> str:
    text = f"chosen log-probability {figures.chosen_logp:.3f} a token"
    if figures.chosen_reward is not None and figures.margin is not None:
        text += f", chosen reward {figures.chosen_reward:+.3f}, margin {figures.margin:+.3f}"
    return text


def _chosen(ending: Ending) -> str:
    where = f"the checkpoint of step {ending.step} of {ending.steps}"
    if ending.chosen_logp is None:
        return f"keeping {where}: without validation rows, the last one"
    return (
        f"keeping {where}: the best by validation log-likelihood, "
        f"{ending.chosen_logp:.3f} nats a token"
    )
