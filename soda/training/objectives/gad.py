"""GAD, adversarial distillation on rollouts: the on-policy method that SODA is compared with.

Generative Adversarial Distillation (arXiv 2511.10643): a discriminator scores whole answers and
learns to tell the teacher's from the student's; the student learns, by GRPO, to score high. A step
samples rollouts, trains both on them, and throws them away.

Dimensions: N answer tokens, A answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from soda.training.model.examples import Example, plan_micro_batches
from soda.training.model.head import Objective, Sums
from soda.training.model.micro_batch import MicroBatch
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.adversarial import Adversarial
from soda.training.run.loop import Turn, accumulate, clip, local_micro_batches

__all__ = ["Adversary", "Discriminator", "Rollout", "advantages", "bradley_terry", "grpo"]

# From prompts' ids and a seed: a number of answers for each, as ids; None if it was interrupted.
Rollout = Callable[[Policy, list[list[int]], int], list[list[list[int]]] | None]


class Discriminator(nn.Module):
    """Scores answers: the student's own architecture, and a scalar head on the last token.

    The head begins at zero, so all scores do, and the first loss is ln 2.
    """

    def __init__(self, body: Policy):
        super().__init__()
        self.body = body
        words = body.model.get_input_embeddings().weight
        if body.model.get_output_embeddings().weight is not words:
            body.model.get_output_embeddings().requires_grad_(False)  # it is not used
        self.head = nn.Linear(words.shape[1], 1, bias=False, device=words.device)
        nn.init.zeros_(self.head.weight)

    def micro_batch(self, examples: Sequence[Example], temperature: float = 1.0) -> MicroBatch:
        """Return a batch for this model, still on the CPU."""
        return self.body.micro_batch(examples, temperature)

    def forward(self, batch: MicroBatch, objective: Objective) -> tuple[Tensor, Sums]:
        """Return the objective's loss and sums, from the score of each answer: (A,)."""
        last_AE = self.body.hidden(batch).flatten(0, 1)[batch.last_A]
        return objective(batch.examples, self.head(last_AE)[:, 0].float(), batch.lengths_A)


def bradley_terry(step: Sequence[Example]) -> Objective:
    """Return the discriminator's objective: an example's first answer beats each of the others.

    -log sigmoid(D(x, teacher's) - D(x, student's)), the mean over a step's answers of the student.
    """

    def objective(
        examples: Sequence[Example], scores_A: Tensor, lengths_A: Tensor
    ) -> tuple[Tensor, Sums]:
        scores = scores_A.view(len(examples), -1)
        ahead = scores[:, :1] - scores[:, 1:]
        losses = -F.logsigmoid(ahead).mean(1)
        return losses.sum() / len(step), {
            "loss": losses.sum(),
            "loss_of_reference": -F.logsigmoid(torch.zeros_like(losses)).sum(),
            "accuracy": (ahead > 0).float().mean(1).sum(),
            "margin": ahead.mean(1).sum(),
        }

    return objective


def advantages(rewards: Tensor) -> Tensor:
    """Return how far each reward is above its prompt's others, in standard deviations.

    Shao et al. 2024 (GRPO, arXiv 2402.03300), section 4.1.2. Shape: (prompts, rollouts).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-6)


def grpo(
    step: Sequence[Example],
    advantage_of: dict[str, Tensor],
    frozen_of: dict[str, Tensor],
    kl: float,
) -> Objective:
    """Return GRPO's objective, the mean over the tokens of a step's rollouts.

    Shao et al. 2024 (arXiv 2402.03300), equation 3, with one update for each set of rollouts: the
    policy is the one that sampled them, so the ratio is 1 and clipping never comes in. The KL
    estimate is their equation 4.

    Args:
        advantage_of: each example's advantages, one a rollout.
        frozen_of: the frozen model's log-probability of each of its rollouts' tokens.
        kl: its weight.
    """
    tokens = sum(example.answer_tokens for example in step)

    def objective(
        examples: Sequence[Example], logps_N: Tensor, lengths_A: Tensor
    ) -> tuple[Tensor, Sums]:
        advantage_A = torch.cat([advantage_of[example.id] for example in examples])
        advantage_N = advantage_A.repeat_interleave(lengths_A.to(advantage_A.device))
        away_N = torch.cat([frozen_of[example.id] for example in examples]) - logps_N
        kl_N = away_N.exp() - away_N - 1
        ratio_N = (logps_N - logps_N.detach()).exp()
        loss = (kl * kl_N - advantage_N * ratio_N).sum() / tokens
        share = len(step) / tokens
        return loss, {"loss": loss * len(step), "kl": kl_N.sum() * share}

    return objective


@dataclass
class Adversary:
    """What a step of GAD needs beside the policy.

    Args:
        frozen: the policy as it was when the phase began, for the KL.
        rollout: samples answers from a policy.
        interrupted: tells whether to leave in the middle of a step.
    """

    policy: Policy
    frozen: Policy
    discriminator: Discriminator
    optimizer: torch.optim.Optimizer  # the discriminator's
    processes: Processes
    rollout: Rollout
    settings: Adversarial
    max_grad_norm: float
    micro_batch_tokens: int
    interrupted: Callable[[], bool]

    def turn(self, step: int, pairs: Sequence[Example]) -> Turn | None:
        """Sample, score and judge one step's rollouts; None if it was interrupted.

        The discriminator's gradients are made here, in the pass that scores; its weights change
        with the policy's, at the end of the step, so that a step is done whole or not at all.
        """
        drawn = self.rollout(self.policy, [pair.prompt.tolist() for pair in pairs], step)
        if drawn is None:
            return None
        rollouts = [
            Example.of(pair.id, pair.prompt, *answers)
            for pair, answers in zip(pairs, drawn, strict=True)
        ]
        judged = [
            Example(one.id, one.prompt, (pair.answers[0], *one.answers))
            for pair, one in zip(pairs, rollouts, strict=True)
        ]
        rewards: dict[str, Tensor] = {}
        told = bradley_terry(judged)

        def objective(
            examples: Sequence[Example], scores_A: Tensor, lengths_A: Tensor
        ) -> tuple[Tensor, Sums]:
            scores = scores_A.detach().view(len(examples), -1)[:, 1:]
            rewards.update(zip([example.id for example in examples], scores, strict=True))
            return told(examples, scores_A, lengths_A)

        batches = local_micro_batches(
            self.discriminator, judged, self.processes, self.micro_batch_tokens
        )
        sums = accumulate(self.discriminator, self.processes, batches, objective, self.interrupted)
        if sums is None:
            return None
        advantage_of = {key: advantages(reward[None])[0] for key, reward in rewards.items()}
        figures = {f"discriminator_{key}": value for key, value in sums.items()}
        figures["reward"] = torch.stack([reward.mean() for reward in rewards.values()]).sum()
        figures["rollout_tokens"] = torch.tensor(
            sum(one.answer_tokens for one in rollouts) / self.settings.rollouts
        )
        return Turn(
            rollouts,
            grpo(rollouts, advantage_of, self._frozen_logps(rollouts), self.settings.kl),
            figures,
            self._update_discriminator,
            self.settings.temperature,
        )

    @torch.no_grad()
    def _frozen_logps(self, rollouts: Sequence[Example]) -> dict[str, Tensor]:
        """Return the log-probability of each rollout token as the frozen model samples."""
        found = {}
        for examples in plan_micro_batches(rollouts, self.micro_batch_tokens):
            batch = self.frozen.micro_batch(examples, self.settings.temperature)
            logps_N = self.frozen(batch.to(self.processes.device))
            lengths = [example.answer_tokens for example in examples]
            for example, logps in zip(examples, logps_N.split(lengths), strict=True):
                found[example.id] = logps
        return found

    def _update_discriminator(self) -> None:
        clip(self.discriminator, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
