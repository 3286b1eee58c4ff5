"""GAD, adversarial distillation on rollouts: the on-policy method that SODA is compared with.

Generative Adversarial Distillation (arXiv 2511.10643): a discriminator scores whole answers and
learns to tell the teacher's from the student's; the student learns, by GRPO, to score high. A step
samples rollouts, trains both on them, and throws them away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from soda import storage
from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.head import Sums
from soda.training.model.policy import Policy
from soda.training.objectives.discriminator import Discriminator, bradley_terry
from soda.training.objectives.grpo import advantages, grpo
from soda.training.objectives.rollouts import draw_rollouts
from soda.training.run.checkpoint import local_tensors
from soda.training.run.loop import accumulate, clip, local_micro_batches
from soda.training.run.phase import Phase, Setup, Start, Turn, TurnOf

__all__ = ["Adversary", "adversarial_phase"]

_FROZEN = "frozen.safetensors"


@dataclass
class Adversary:
    """What a step of GAD needs beside the policy.

    Args:
        frozen: the policy as it was when the phase began, for the KL.
        optimizer: the discriminator's.
    """

    setup: Setup
    frozen: Policy
    discriminator: Discriminator
    optimizer: torch.optim.Optimizer
    micro_batch_tokens: int

    def turn(self, step: int, examples: Sequence[Example]) -> Turn | None:
        """Sample, score and judge one step's rollouts; None if it was interrupted.

        The discriminator's gradients are made here, in the pass that scores; its weights change
        with the policy's, at the end of the step, so that a step is done whole or not at all.
        """
        settings = self.setup.config.adversarial
        rollouts = draw_rollouts(self.setup, examples, step, range(settings.rollouts))
        if rollouts is None:
            return None
        judged = [
            Example(one.id, one.prompt, (example.answers[0], *one.answers))
            for example, one in zip(examples, rollouts, strict=True)
        ]
        rewards: dict[str, Tensor] = {}
        told = bradley_terry(judged)

        def objective(
            examples: Sequence[Example], scores_A: Tensor, lengths_A: Tensor
        ) -> tuple[Tensor, Sums]:
            scores = scores_A.detach().view(len(examples), -1)[:, 1:]
            rewards.update(zip([example.id for example in examples], scores, strict=True))
            return told(examples, scores_A, lengths_A)

        processes, interrupted = self.setup.processes, self.setup.interrupted
        batches = local_micro_batches(
            self.discriminator, judged, processes, self.micro_batch_tokens
        )
        sums = accumulate(self.discriminator, processes, batches, objective, interrupted)
        if sums is None:
            return None
        advantage_of = {key: advantages(reward[None])[0] for key, reward in rewards.items()}
        figures = {f"discriminator_{key}": value for key, value in sums.items()}
        figures["reward"] = torch.stack([reward.mean() for reward in rewards.values()]).sum()
        figures["rollout_tokens"] = torch.tensor(
            sum(one.answer_tokens for one in rollouts) / settings.rollouts
        )
        objective_of_rollouts = grpo(
            rollouts, advantage_of, self._frozen_logps(rollouts), settings.kl
        )
        return Turn(
            rollouts,
            objective_of_rollouts,
            figures,
            self._update_discriminator,
            settings.temperature,
        )

    @torch.no_grad()
    def _frozen_logps(self, rollouts: Sequence[Example]) -> dict[str, Tensor]:
        """Return the log-probability of each rollout token as the frozen model samples."""
        found = {}
        for examples in plan_micro_batches(rollouts, self.micro_batch_tokens):
            batch = self.frozen.micro_batch(examples, self.setup.config.adversarial.temperature)
            logps_N = self.frozen(batch.to(self.setup.processes.device))
            lengths = [example.answer_tokens for example in examples]
            for example, logps in zip(examples, logps_N.split(lengths), strict=True):
                found[example.id] = logps
        return found

    def _update_discriminator(self) -> None:
        clip(self.discriminator, self.setup.config.optimizer.clipped_at)
        self.optimizer.step()
        self.optimizer.zero_grad()


def adversarial_phase(
    setup: Setup,
    discriminator: Discriminator,
    frozen: Policy,
    learning_rate: float,
    epochs: int,
) -> Phase:
    """Return the phase that trains the policy to pass, and the discriminator beside it.

    Args:
        frozen: a copy of the policy that is not trained; it is brought to where the phase begins.
    """
    settings = setup.config.adversarial
    [longest] = Example.of("", [], [0] * settings.max_new_tokens).answers  # one for all examples

    def begin(start: Start) -> TurnOf:
        _freeze(setup, frozen, begins=start.step == 0)
        optimizer = start.optimizers["discriminator"]
        tokens = start.micro_batch_tokens
        return Adversary(setup, frozen, discriminator, optimizer, tokens).turn

    def largest(example: Example) -> Example:
        rollouts = [longest] * settings.rollouts
        return Example(example.id, example.prompt, (example.answers[0], *rollouts))

    return Phase(
        "gad",
        epochs,
        modules={"policy": setup.policy, "discriminator": discriminator},
        rates={
            "policy": learning_rate,
            "discriminator": settings.discriminator_learning_rate,
        },
        begin=begin,
        largest=largest,
        alone=True,
    )


@torch.no_grad()
def _freeze(setup: Setup, frozen: Policy, *, begins: bool) -> None:
    """Bring a copy to where the policy was when the phase began, also when the run is resumed."""
    path = setup.work / _FROZEN
    if begins:
        storage.write_atomically(path, save(local_tensors({"policy": setup.policy}, {})))
    kept = load(path.read_bytes())
    for name, parameter in frozen.named_parameters():
        parameter.copy_(kept[f"policy/{name}"])
