"""What a training is told. Each group is defined beside the code that it is for."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from soda.config import Config
from soda.errors import ConfigError
from soda.limits import EPOCHS
from soda.training.methods import METHODS, defaults_of
from soda.training.model.device import Device
from soda.training.model.lora import Lora
from soda.training.objectives.adversarial import Adversarial
from soda.training.objectives.losses import Dpo, Loss
from soda.training.run.health import Health
from soda.training.run.schedule import Optimizer

__all__ = ["TrainConfig"]


class TrainConfig(Config):
    """How a student is trained. Each default says whether it is the paper's or ours."""

    aside: ClassVar[tuple[str, ...]] = ("checkpoint_minutes", "device")

    method: Literal["dpo", "sft", "gad"] = Field(
        "dpo",
        description="; ".join(f"{name}: {method.text}" for name, method in METHODS.items()),
    )
    loss: Loss = Field(Dpo(), description="for the method dpo; paper: dpo with beta 0.1")
    sft_weight: float = Field(
        0.0,
        ge=0,
        description="of the SFT loss on chosen answers, added to the loss of pairs; paper: none",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak, then a cosine (paper); " + defaults_of("learning_rate"),
    )
    epochs: int | None = Field(
        None,
        ge=0,
        le=EPOCHS,
        description=f"0: the model comes back as it is; {defaults_of('epochs')}",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description=f"examples a step, over all processes; {defaults_of('batch_size')}; "
        "256 for SeqKD in GAD's paper",
    )
    max_tokens: int = Field(
        3584, ge=2, description="prompt and one answer; longer rows are dropped, never cut (paper)"
    )
    optimizer: Optimizer = Field(Optimizer(), description="AdamW (ours: the paper names none)")
    check_every_steps: int = Field(
        20, ge=1, description="look at the validation rows, and save (ours)"
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="save at least as often: so much work can be lost (ours)"
    )
    health: Health = Field(
        Health(), description="signs of trouble, and what to do about each (ours)"
    )
    adversarial: Adversarial = Field(Adversarial(), description="what only gad needs")
    lora: Lora | None = Field(
        None, description="train adapters only, which are merged at the end; paper: all weights"
    )
    save_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bf16 rounds most of a short run at a small rate away (ours)"
    )
    seed: int = Field(0, ge=0)
    device: Device = Field(Device(), description="speed and memory; the result is the same")

    @model_validator(mode="before")
    @classmethod
    def _warm_up_is_a_run(cls, values: Any) -> Any:
        """Say what to write where a recipe has the warm-up within the training."""
        old = {"sft_epochs", "sft_learning_rate"}
        if isinstance(values, Mapping) and (found := sorted(old & values.keys())):
            raise ValueError(
                f"unknown key '{found[0]}': the warm-up is a run of its own; write 'warm-up: "
                "{method: sft, epochs: ..., learning_rate: ...}' beside 'train: {method: dpo}'"
            )
        return values

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
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
        """Write the method's own defaults down."""
        values = METHODS[self.method].values()
        norm = {"max_grad_norm": values.pop("max_grad_norm")}
        update = {key: value for key, value in values.items() if getattr(self, key) is None}
        if self.optimizer.max_grad_norm is None:
            update["optimizer"] = self.optimizer.model_copy(update=norm)
        return self.model_copy(update=update)

    @property
    def rollout_tokens(self) -> int:
        """The most tokens of an answer that is sampled to be trained on."""
        return self.adversarial.max_new_tokens if self.method == "gad" else 0

    @property
    def schedule(self) -> tuple[float, int, int]:
        """Peak learning rate, epochs and batch size, once the method's defaults are in."""
        assert self.learning_rate is not None, "the config is pinned"
        assert self.epochs is not None and self.batch_size is not None, "the config is pinned"
        return self.learning_rate, self.epochs, self.batch_size
