"""One phase of a training, from its start or a checkpoint: steps, checks, saves, and going back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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

__all__ = ["PhaseRun"]


@dataclass
class PhaseRun:
    """Runs one phase, and watches it.

    Args:
        number: the phase's place among those of the training.
        micro_batch_tokens: how many go through a model at once.
    """

    setup: Setup
    phase: Phase
    number: int
    checkpoints: Checkpoints
    metrics: Metrics
    micro_batch_tokens: int
    _optimizers: dict[str, torch.optim.Optimizer] = field(init=False)
    _reference: Reference = field(init=False)
    _begun: Checkpoint | None = field(init=False)
    _done: Position = field(init=False)
    _steps: int = field(init=False)
    _problem: str | None = field(init=False, default=None)

    def begin(self, begun: Checkpoint | None, kept: Intermediate, *, first: bool) -> None:
        """Bring all to where the phase begins, or to a checkpoint of it.

        Args:
            kept: reference log-probabilities, finished or in part.
            first: no phase came before: the policy is as it was loaded.
        """
        setup, phase = self.setup, self.phase
        self._optimizers = {
            name: make_optimizer(
                phase.modules[name],
                rate,
                setup.config.optimizer.weight_decay,
                half=setup.processes.half,
            )
            for name, rate in phase.rates.items()
        }
        examples = [*setup.validation, *(setup.examples if phase.compares else [])]
        # before the checkpoint is put in: the reference is the model that the phase began with
        self._reference = Reference.compute(
            setup.policy,
            examples,
            setup.processes,
            self.micro_batch_tokens,
            kept,
            may_compute=first or begun is None,
        )
        self._begun = begun
        if begun is not None:
            begun.restore(phase.modules, self._optimizers)
        self._done = begun.position if begun else Position(self.number, 0)
        self._steps = len(plan_of(setup, phase, self.number))

    def run(self) -> str | None:
        """Return why training stopped, or None."""
        if not self._was_checked() and not self._check(self._done):
            if self._problem is None:
                self._leave()
            return self._back()
        start = Start(self._done.step, self._reference, self._optimizers, self.micro_batch_tokens)
        run_phase(self.setup, self.phase, self.number, start, watcher=self)
        if self.setup.interrupt.came:
            self._leave()
        if self._problem:
            return self._back()
        self._end()
        return None

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
        return self._done.step in self.metrics.checks(self.number)

    def sees(self, position: Position, figures: StepFigures) -> bool:
        """Look for what must not go on, before the weights change."""
        health = self.setup.config.health
        return self._heed(signs_in_step(health, figures, position.step - 1, self._steps), position)

    def reached(self, position: Position, figures: StepFigures) -> bool:
        """Write the figures down; check and save now and then, and at the end."""
        self._done = position
        self._write(position, figures)
        interrupt = self.setup.interrupt
        if self.setup.processes.total({"came": float(interrupt.came)})["came"]:
            interrupt.came = True
            return False
        return self._check(position) if self._is_due(position.step) else True

    def _write(self, position: Position, figures: StepFigures | CheckFigures) -> None:
        if self.setup.processes.main:
            self.metrics.write(Row(position, self.phase.name, figures))

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
            self._write(position, figures)
            say(
                f"train: {self.phase.name} step {position.step}, validation: chosen "
                f"log-probability {figures.chosen_logp:.3f} a token, chosen reward "
                f"{figures.chosen_reward:+.3f}, margin {figures.margin:+.3f}"
            )
            at_start = next(iter(self.metrics.checks(self.number).values()), figures)
            if not self._heed(
                signs_in_check(self.setup.config.health, figures, at_start), position
            ):
                return False
        self._save()
        return True

    def _save(self, *, now: bool = False) -> None:
        tensors = local_tensors(self.phase.modules, self._optimizers)
        self.checkpoints.save(self._done, tensors, self.metrics.read(), now=now)

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

    def _back(self) -> str:
        """Return to the last good checkpoint, and say why."""
        good = self.checkpoints.latest()
        if good is None:  # not even the start was good: the policy is as it came
            return f"{self._problem}; nothing was trained"
        good.restore(self.phase.modules, self._optimizers)
        self._end()
        return f"{self._problem}; back to {good.position.name}"

    def _end(self) -> None:
        self.checkpoints.wait()
        for name, optimizer in self._optimizers.items():
            restore_float32(self.phase.modules[name], optimizer)
