"""From a student and its pairs to a trained student: phases, checks, checkpoints, resuming."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load, save
from torch import nn

from soda import storage
from soda.progress import say
from soda.training.model.examples import Example
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.adversarial import Adversarial
from soda.training.objectives.gad import Adversary, Discriminator, Rollout, bradley_terry
from soda.training.objectives.losses import LOSSES
from soda.training.objectives.objectives import preference, sft, watch
from soda.training.objectives.reference import Reference, logps_of_answers
from soda.training.run.checkpoint import Checkpoint, Checkpoints, Position, local_tensors
from soda.training.run.health import Finding, Health, check_findings, step_findings
from soda.training.run.interrupt import Interrupt
from soda.training.run.loop import Phase, Trainee, Turn, TurnOf, run_phase
from soda.training.run.metrics import Metrics
from soda.training.run.optimizer import make_optimizer, restore_float32

__all__ = ["Keeper", "Sampled", "Settings", "Trainer"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a whole training."""

    beta: float
    sft_weight: float
    weight_decay: float
    half: bool  # weights in bf16, with what they lack of float32 beside them
    check_every_steps: int
    health: Health
    adversarial: Adversarial


@dataclass(frozen=True, slots=True)
class Sampled:
    """One answer that the policy gave to a validation prompt."""

    tokens: int
    repetitive: bool


class Keeper(Protocol):
    """Where reference log-probabilities of the untrained student outlive one run."""

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, or None."""

    def write(self, name: str, data: bytes) -> None:
        """Keep something under a name."""


@dataclass
class Trainer:
    """Runs the phases of one training.

    Args:
        policy: changed in place.
        validation: may be empty; then nothing is watched but the steps.
        work: the folder that a later process resumes from.
        log: the file that takes the figures of every step.
        keep: lets `work` outlive this machine; it is told whether it has to be done at once.
        references: of an earlier run, and for a later one.
        sample: answers some validation prompts.
        rollout: for GAD: samples answers from the policy.
        load: for GAD: returns the untrained student once more, on the device.
    """

    policy: Policy
    processes: Processes
    pairs: Sequence[Example]
    validation: Sequence[Example]
    settings: Settings
    work: Path
    log: Path
    interrupt: Interrupt
    keep: Callable[[bool], None]
    references: Keeper
    sample: Callable[[Policy], list[Sampled]]
    rollout: Rollout
    load: Callable[[], Policy]
    discriminator: Discriminator | None = field(init=False, default=None)
    checkpoints: Checkpoints = field(init=False)
    metrics: Metrics = field(init=False)

    def run(self, phases: Sequence[Phase]) -> str | None:
        """Train through all phases, from the newest checkpoint if there is one.

        Returns: why training stopped early, or None.

        Raises:
            SystemExit: SIGTERM came; the state is saved, and the code is 143.
        """
        self.checkpoints = Checkpoints(self.work, self.processes, self.keep)
        latest = self.checkpoints.latest()
        self.metrics = Metrics(self.log, latest.metrics if latest else b"")
        if latest is not None:
            say(f"train: going on from {latest.position.name}")
        for phase in phases:
            if latest is not None and latest.position.phase > phase.number:
                continue
            begun = latest if latest is not None and latest.position.phase == phase.number else None
            if phase.name in ("discriminator", "gad") and self.discriminator is None:
                self.discriminator = Discriminator(self.load())
            problem = _PhaseRun(self, phase, begun, first=phase is phases[0]).run()
            if problem is not None:
                return problem
        return None


class _Interrupted(Exception):  # noqa: N818 - it says what happened
    """SIGTERM came while the validation pairs were looked at."""


class _PhaseRun:
    """One phase of a trainer, from its start or from a checkpoint."""

    def __init__(self, trainer: Trainer, phase: Phase, begun: Checkpoint | None, *, first: bool):
        self._trainer = trainer
        self._phase = phase
        self._policy = trainer.policy
        self._modules: dict[str, nn.Module] = {"policy": trainer.policy}
        self._optimizers = {}
        if phase.name != "discriminator":
            self._optimizers["policy"] = self._optimizer(trainer.policy, phase.learning_rate)
        if trainer.discriminator is not None:
            self._modules["discriminator"] = trainer.discriminator
            rate = trainer.settings.adversarial.discriminator_learning_rate
            self._optimizers["discriminator"] = self._optimizer(trainer.discriminator, rate)
        self._begun = begun
        if begun is not None:
            begun.restore(self._modules, self._optimizers)
        self._reference = self._find_reference(of_base=first)
        self._done = begun.position if begun else Position(phase.number, 0)
        self._steps = len(phase.plan(len(trainer.pairs)))
        self._problem: str | None = None

    def _optimizer(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        settings = self._trainer.settings
        return make_optimizer(module, rate, settings.weight_decay, half=settings.half)

    def run(self) -> str | None:
        """Return why training stopped, or None."""
        trainer, phase = self._trainer, self._phase
        if not self._was_checked() and not self._check(self._done):
            if self._problem is None:
                self._leave()
            return self._back()
        trainee: Trainee = self._policy
        if phase.name == "discriminator":
            assert trainer.discriminator is not None, "a phase of GAD"
            trainee = trainer.discriminator
        run_phase(
            phase,
            self._turns(),
            trainee,
            next(iter(self._optimizers.values())),
            trainer.processes,
            trainer.pairs,
            start=self._done.step,
            watcher=self,
            alone=phase.name == "gad",
        )
        if trainer.interrupt.came:
            self._leave()
        if self._problem:
            return self._back()
        self._end()
        return None

    def _turns(self) -> TurnOf:
        """Return what each step of the phase trains on."""
        settings = self._trainer.settings
        if self._phase.name == "gad":
            return self._adversary().turn
        if self._phase.name in LOSSES:
            loss = LOSSES[self._phase.name]
            objective_of = preference(loss, settings.beta, self._reference, settings.sft_weight)
        else:
            objective_of = sft if self._phase.name == "sft" else bradley_terry

        def turn(step: int, pairs: Sequence[Example]) -> Turn:
            examples = [pair.first() for pair in pairs] if self._phase.name == "sft" else pairs
            return Turn(examples, objective_of(examples))

        return turn

    def _adversary(self) -> Adversary:
        trainer, phase = self._trainer, self._phase
        assert trainer.discriminator is not None, "GAD has one"
        return Adversary(
            self._policy,
            self._frozen(),
            trainer.discriminator,
            self._optimizers["discriminator"],
            trainer.processes,
            trainer.rollout,
            trainer.settings.adversarial,
            phase.max_grad_norm,
            phase.micro_batch_tokens,
            self.interrupted,
        )

    @torch.no_grad()
    def _frozen(self) -> Policy:
        """Return the policy as it was when the phase began, also when the run is resumed."""
        path = self._trainer.work / "frozen.safetensors"
        if self._done.step == 0:
            storage.write_atomically(path, save(local_tensors({"policy": self._policy}, {})))
        kept = load(path.read_bytes())
        frozen = self._trainer.load()
        for name, tensor in local_tensors({"policy": frozen}, {}).items():
            tensor.copy_(kept[name])
        return frozen.to(next(self._policy.parameters()).dtype).requires_grad_(False)

    def _find_reference(self, *, of_base: bool) -> Reference:
        """Return the log-probabilities of the model this phase starts from; some only watch."""
        trainer, phase = self._trainer, self._phase
        compares = phase.name in LOSSES
        pairs = [*trainer.validation, *(trainer.pairs if compares else [])]
        name = f"reference-{phase.number}.safetensors"
        kept = "pairs.safetensors" if compares else "validation.safetensors"
        data = None
        if (trainer.work / name).is_file():
            data = (trainer.work / name).read_bytes()
        elif of_base:
            data = trainer.references.read(kept)
        if all(trainer.processes.gather([data is not None])) and data is not None:
            if trainer.processes.main:
                storage.write_atomically(trainer.work / name, data)
            return Reference.from_bytes(data, pairs)
        assert self._begun is None, "a phase's first checkpoint comes after its reference"
        reference = Reference.compute(
            self._policy, pairs, trainer.processes, phase.micro_batch_tokens
        )
        if trainer.processes.main:
            data = reference.to_bytes(pairs)
            storage.write_atomically(trainer.work / name, data)
            if of_base:
                trainer.references.write(kept, data)
        return reference

    def _is_due(self, step: int) -> bool:
        every = self._trainer.settings.check_every_steps
        return step % every == 0 or step == self._steps

    def _was_checked(self) -> bool:
        """Tell whether the state was looked at before it was saved; SIGTERM leaves no time to."""
        if self._begun is None:
            return False
        watched = self._watches and self._is_due(self._done.step)
        return not watched or self._trainer.metrics.has(self._done, f"{self._phase.name}-check")

    @property
    def _watches(self) -> bool:
        """Whether there are validation pairs, and a policy that changes in this phase."""
        return bool(self._trainer.validation) and self._phase.name != "discriminator"

    def interrupted(self) -> bool:
        """Tell whether to leave at once; several processes leave together, after a step."""
        return self._trainer.interrupt.came and self._trainer.processes.count == 1

    def _may_go_on(self, count: int) -> None:
        if self.interrupted():
            raise _Interrupted

    def sees(self, position: Position, steps: int, figures: dict[str, float]) -> bool:
        """Look for what must not go on, before the weights change."""
        health = self._trainer.settings.health
        return self._heed(step_findings(health, figures, position.step - 1, steps), position)

    def reached(self, position: Position, steps: int, figures: dict[str, float]) -> bool:
        """Write the figures down; check and save now and then, and at the end."""
        trainer = self._trainer
        self._done = position
        if trainer.processes.main:
            trainer.metrics.write(position, self._phase.name, figures)
        if trainer.processes.total({"came": float(trainer.interrupt.came)})["came"]:
            trainer.interrupt.came = True
            return False
        return self._check(position) if self._is_due(position.step) else True

    def _heed(self, findings: list[Finding], position: Position) -> bool:
        """Say what was found; return whether to go on."""
        for finding in findings:
            where = f"at {self._phase.name} step {position.step}"
            say(f"train: {finding.text}, {where}: {'stopping' if finding.stop else 'going on'}")
            if finding.stop and self._problem is None:
                self._problem = f"{finding.text}, {where}"
        return self._problem is None

    def _check(self, position: Position) -> bool:
        """Look at the validation pairs, then save; return whether to go on.

        SIGTERM ends it: there is time to save the state, and the resumed run looks first.
        """
        trainer, name = self._trainer, f"{self._phase.name}-check"
        if self._watches:
            try:
                figures = self._figures()
            except _Interrupted:
                return False
            if trainer.processes.main:
                trainer.metrics.write(position, name, figures)
            say(
                f"train: {self._phase.name} step {position.step}, validation: chosen "
                f"log-probability {figures['chosen_logp']:.3f} a token, chosen reward "
                f"{figures['chosen_reward']:+.3f}, margin {figures['margin']:+.3f}"
            )
            at_start = trainer.metrics.first(position.phase, name)
            if not self._heed(check_findings(trainer.settings.health, figures, at_start), position):
                return False
        self._save()
        return True

    def _figures(self) -> dict[str, float]:
        """Return the means over the validation pairs, and over sampled answers."""
        trainer = self._trainer
        found = logps_of_answers(
            self._policy,
            trainer.validation,
            trainer.processes,
            self._phase.micro_batch_tokens,
            self._may_go_on,
        )
        policy = dict(trainer.processes.gather(list(found)))
        logps = Reference(policy).of(trainer.validation, "cpu")
        frozen = self._reference.of(trainer.validation, "cpu")
        sums = watch(logps, frozen, trainer.settings.beta)
        sums["chosen_fall"] = (frozen.chosen - logps.chosen).sum()
        figures = {key: float(value) / len(trainer.validation) for key, value in sums.items()}
        sampled = trainer.sample(self._policy)
        if sampled:
            figures["repetitive"] = sum(one.repetitive for one in sampled) / len(sampled)
            figures["answer_tokens"] = sum(one.tokens for one in sampled) / len(sampled)
        return figures

    def _save(self, *, now: bool = False) -> None:
        trainer = self._trainer
        tensors = local_tensors(self._modules, self._optimizers)
        trainer.checkpoints.save(self._done, tensors, trainer.metrics.read(), now=now)

    def _leave(self) -> None:
        """Save the state after the last whole step, and end the process as SIGTERM would."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        if self._trainer.checkpoints.newest != self._done:
            self._save(now=True)
        self._trainer.checkpoints.wait()
        say(
            f"train: stopped by SIGTERM, saved {self._done.name}; "
            "run the same command to go on from there"
        )
        raise SystemExit(143)

    def _back(self) -> str:
        """Return to the last good checkpoint, and say why."""
        good = self._trainer.checkpoints.latest()
        if good is None:  # not even the start was good: the policy is as it came
            return f"{self._problem}; nothing was trained"
        good.restore(self._modules, self._optimizers)
        self._end()
        return f"{self._problem}; back to {good.position.name}"

    def _end(self) -> None:
        self._trainer.checkpoints.wait()
        for key, optimizer in self._optimizers.items():
            restore_float32(self._modules[key], optimizer)
