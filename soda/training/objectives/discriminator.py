"""GAD's discriminator: it learns to tell the teacher's answers from the student's.

Generative Adversarial Distillation (arXiv 2511.10643).

Dimensions: A answers, E width of the model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums
from soda.training.model.micro_batch import MicroBatch
from soda.training.model.policy import Policy
from soda.training.objectives.rollouts import draw_rollouts
from soda.training.run.phase import Phase, Setup, Turn

__all__ = ["Discriminator", "bradley_terry", "discriminator_phase"]


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

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.body.device

    @property
    def recomputes(self) -> bool:
        """Whether activations are recomputed in the backward."""
        return self.body.recomputes

    def recompute_activations(self) -> None:
        """Keep each layer's input only, and compute the rest again in the backward."""
        self.body.recompute_activations()

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


def discriminator_phase(setup: Setup, discriminator: Discriminator) -> Phase:
    """Return the phase that trains the discriminator on pairs; the policy stays as it is.

    Where an example has the teacher's answer only, the policy samples one beside it.
    """
    settings = setup.config.adversarial
    sampled = any(len(example.answers) == 1 for example in setup.examples)

    def turn(step: int, examples: Sequence[Example]) -> Turn | None:
        if not sampled:
            return Turn(examples, bradley_terry(examples))
        numbers = range(settings.rollouts, settings.rollouts + 1)  # after those of the last phase
        drawn = draw_rollouts(setup, examples, step, numbers)
        if drawn is None:
            return None
        pairs = [
            Example(one.id, one.prompt, (one.answers[0], *other.answers))
            for one, other in zip(examples, drawn, strict=True)
        ]
        return Turn(pairs, bradley_terry(pairs))

    return Phase(
        "discriminator",
        settings.discriminator_epochs,
        modules={"policy": setup.policy, "discriminator": discriminator},
        rates={"discriminator": settings.discriminator_learning_rate},
        begin=lambda start: turn,
        watched=False,
        alone=sampled,
    )
