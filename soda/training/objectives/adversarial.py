"""What GAD needs to be told beside what all methods share."""

from pydantic import Field

from soda.config import Group
from soda.limits import ANSWER_TOKENS, EPOCHS, SAMPLES

__all__ = ["Adversarial"]


class Adversarial(Group):
    """The defaults are those of GAD's public scripts (arXiv 2511.10643)."""

    sft_epochs: int = Field(
        default=1,
        ge=0,
        le=EPOCHS,
        description="of the student on the teacher's answers, first: the warm-up",
    )
    sft_learning_rate: float = Field(default=1e-6, gt=0)
    discriminator_epochs: int = Field(
        default=1,
        ge=0,
        le=EPOCHS,
        description="of the discriminator, after that and before both are trained",
    )
    discriminator_learning_rate: float = Field(default=1e-6, gt=0)
    rollouts: int = Field(
        default=8, ge=2, le=SAMPLES, description="answers sampled a prompt, in every step"
    )
    temperature: float = Field(default=0.8, gt=0)
    max_new_tokens: int = Field(
        default=1536, ge=1, le=ANSWER_TOKENS, description="where a rollout is cut"
    )
    kl: float = Field(default=0.001, ge=0, description="how strongly it is held to the start")
