"""What a training is told. Each group is defined beside the code that it is for."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from soda.config import Config
from soda.errors import ConfigError
from soda.training.model.device import Device
from soda.training.model.lora import Lora
from soda.training.objectives.adversarial import Adversarial
from soda.training.objectives.losses import Dpo, Loss
from soda.training.run.health import Health
from soda.training.run.schedule import Optimizer

__all__ = ["TrainConfig"]

# What a method leaves to itself if the recipe says nothing. GAD's are those of its public scripts.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "soda": {"learning_rate": 1e-6, "sft_epochs": 0, "sft_learning_rate": 5e-6},
    "seqkd": {"learning_rate": 5e-6, "sft_epochs": 0, "sft_learning_rate": 5e-6},
    "gad": {"learning_rate": 1e-6, "sft_epochs": 1, "sft_learning_rate": 1e-6},
}
_MAX_GRAD_NORM = {"soda": 1.0, "seqkd": 1.0, "gad": 0.2}


class TrainConfig(Config):
    """SODA's training; the defaults are ours, as the paper does not publish its own."""

    aside: ClassVar[tuple[str, ...]] = ("device",)

    method: Literal["soda", "seqkd", "gad"] = Field(
        "soda",
        description="seqkd: fine-tuning on the teacher's answers; gad: adversarial, on-policy",
    )
    loss: Loss = Field(Dpo(), description="for the method soda, which is dpo in the paper")
    sft_weight: float = Field(
        0.0, ge=0, description="of the SFT loss on chosen answers, added to the preference loss"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak: after the warm-up, before the cosine; 1e-6, or 5e-6 for seqkd",
    )
    epochs: int = Field(1, ge=0, description="over the pairs with the method's loss")
    sft_epochs: int | None = Field(
        None,
        ge=0,
        description="before them, on the teacher's answers alone: a warm-up; 0, or 1 for gad",
    )
    sft_learning_rate: float | None = Field(None, gt=0, description="5e-6, or 1e-6 for gad")
    batch_size: int = Field(256, ge=1, description="pairs a step, over all processes")
    optimizer: Optimizer = Field(Optimizer(), description="AdamW")
    check_every_steps: int = Field(20, ge=1, description="look at validation pairs and checkpoint")
    health: Health = Field(Health(), description="signs of trouble, and what to do about each")
    adversarial: Adversarial = Field(Adversarial(), description="what only gad needs")
    lora: Lora | None = Field(None, description="train adapters only, which are merged at the end")
    save_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bf16 rounds most of a short run at a small rate away"
    )
    seed: int = Field(0, ge=0)
    device: Device = Field(Device(), description="speed and memory; the result is the same")

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        if self.method == "seqkd" and (self.sft_epochs or self.sft_weight):
            raise ValueError("expected no sft_epochs and sft_weight with seqkd, which is SFT")
        if self.method == "gad" and self.lora is not None:
            raise ValueError("expected no lora with gad, whose discriminator is trained whole")
        return self

    def check_processes(self, count: int) -> None:
        """Refuse a number of processes that the method cannot use.

        Raises:
            ConfigError: gad, and more than one.
        """
        if self.method == "gad" and count > 1:
            raise ConfigError(
                f"train.method: gad trains in one process, found {count}; "
                "its rollouts are sampled from weights that are whole"
            )

    def pin(self) -> Self:
        """Write the method's own values down."""
        update: dict[str, Any] = {
            key: value
            for key, value in _DEFAULTS[self.method].items()
            if getattr(self, key) is None
        }
        if self.optimizer.max_grad_norm is None:
            norm = {"max_grad_norm": _MAX_GRAD_NORM[self.method]}
            update["optimizer"] = self.optimizer.model_copy(update=norm)
        return self.model_copy(update=update)
