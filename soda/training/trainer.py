"""From a student and its pairs to a trained student: phases, checks, checkpoints, resuming."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from soda.progress import say
from soda.training.batch import Layout, TokenPair, micro_batches
from soda.training.checkpoint import Checkpoint, Position, load_latest, save_checkpoint
from soda.training.logps import pair_logps
from soda.training.loop import Metrics, Phase, mean_over_processes, run_phase
from soda.training.losses import LOSSES
from soda.training.objectives import Objective, preference, sft, watch
from soda.training.reference import Reference

__all__ = ["Trainer"]


@dataclass
class Trainer:
    """Runs the phases of one training; `work` holds all that a later process resumes from."""

    accelerator: Any
    policy: Any  # changed in place
    layout: Layout
    pairs: Sequence[TokenPair]
    validation: Sequence[TokenPair]  # may be empty: then nothing is watched
    loss: str  # a name from LOSSES
    beta: float
    weight_decay: float
    chosen_reward_floor: float  # mean over validation pairs, in nats times beta
    stop_below_floor: bool
    work: Path
    keep: Callable[[], None]  # lets what is in `work` outlive this machine

    def run(self, phases: Sequence[Phase]) -> str | None:
        """Train through all phases, from the newest checkpoint if there is one.

        Returns: why training stopped early, or None.
        """
        latest = load_latest(self.work)
        if latest is not None:
            latest.restore_weights(self.policy)
            say(f"train: going on from {latest.position.name}")
        metrics = Metrics(self.work / "metrics.jsonl", latest.position if latest else None)
        model = self.accelerator.prepare(self.policy)
        for phase in phases:
            if latest is not None and latest.position.phase > phase.number:
                continue
            begun = latest if latest is not None and latest.position.phase == phase.number else None
            problem = self._run_phase(phase, model, begun, metrics)
            if problem is not None:
                return problem
        return None

    def _run_phase(
        self, phase: Phase, model: Any, begun: Checkpoint | None, metrics: Metrics
    ) -> str | None:
        optimizer = self.accelerator.prepare(
            torch.optim.AdamW(
                self.policy.parameters(), lr=phase.learning_rate, weight_decay=self.weight_decay
            )
        )
        if begun is not None:
            begun.restore_optimizer(optimizer.optimizer)
        reference = self._reference(phase, model, compute=begun is None)
        problem = None

        def check(position: Position) -> bool:
            nonlocal problem
            problem = self._check(phase, position, model, reference, metrics)
            if problem is None and self.accelerator.is_main_process:
                save_checkpoint(self.work, position, self.policy, optimizer.optimizer)
                self.keep()
            self.accelerator.wait_for_everyone()
            return problem is None

        if begun is None:
            check(Position(phase.number, 0))
        run_phase(
            phase,
            self._objective(phase, reference),
            self.accelerator,
            model,
            optimizer,
            self.pairs,
            start=begun.position.step if begun else 0,
            metrics=metrics,
            check=check,
        )
        if problem is not None:
            last_good = load_latest(self.work)
            assert last_good is not None, "a phase begins with a checkpoint"
            last_good.restore_weights(self.policy)
            return f"{problem}; back to {last_good.position.name}"
        return None

    def _objective(self, phase: Phase, reference: Reference) -> Objective:
        if phase.name == "sft":
            return sft(self.layout)
        pair_loss = LOSSES[self.loss]
        return preference(pair_loss, self.beta, reference, self.layout)

    def _reference(self, phase: Phase, model: Any, *, compute: bool) -> Reference:
        """Return the log-probabilities of the model this phase starts from; SFT only watches."""
        pairs = [*self.validation, *([] if phase.name == "sft" else self.pairs)]
        path = self.work / f"reference-{phase.number}.safetensors"
        if not compute and path.is_file():
            return Reference.load(path, pairs)
        reference = Reference.compute(
            model, pairs, self.layout, self.accelerator, phase.micro_batch_size
        )
        if self.accelerator.is_main_process:
            reference.save(path, pairs)
        return reference

    def _check(
        self, phase: Phase, position: Position, model: Any, reference: Reference, metrics: Metrics
    ) -> str | None:
        """Look at the validation pairs; return what is wrong with the model, or None."""
        if not self.validation:
            return None
        mine = self.validation[self.accelerator.process_index :: self.accelerator.num_processes]
        sums: dict[str, float] = {}
        with torch.no_grad():
            for micro in micro_batches(mine, phase.micro_batch_size):
                logps = pair_logps(model, micro, self.layout)
                frozen = reference.of(micro, self.layout.device)
                for key, value in watch(micro, logps, frozen, self.beta).items():
                    sums[key] = sums.get(key, 0.0) + value
        figures = mean_over_processes(sums, len(self.validation), self.accelerator)
        if self.accelerator.is_main_process:
            metrics.write(position, f"{phase.name}-check", figures)
        say(
            f"train: {phase.name} step {position.step}, validation: chosen log-probability "
            f"{figures['chosen_logp']:.3f} a token, chosen reward {figures['chosen_reward']:+.3f}, "
            f"margin {figures['margin']:+.3f}"
        )
        if figures["chosen_reward"] >= self.chosen_reward_floor:
            return None
        problem = (
            f"the validation chosen reward fell to {figures['chosen_reward']:.3f}, below "
            f"{self.chosen_reward_floor}, at {phase.name} step {position.step}"
        )
        say(f"train: {problem}: {'stopping' if self.stop_below_floor else 'going on all the same'}")
        return problem if self.stop_below_floor else None
