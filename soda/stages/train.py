"""Train the student on the pairs."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from soda.artifact import Artifact, work_folder
from soda.chat import ChatFormat
from soda.config import Config
from soda.errors import DataError
from soda.kinds import Model, Pairs
from soda.progress import say
from soda.weights import load_causal_lm, weights_digest
from soda.writer import LOGS, WORK, Writer

if TYPE_CHECKING:
    from soda.training.loop import Phase
    from soda.training.trainer import Trainer

__all__ = ["TrainConfig", "train"]


class TrainConfig(Config):
    """SODA's training; the defaults are ours, as the paper does not publish its own."""

    loss: Literal["dpo", "ipo"] = Field("dpo", description="SODA is dpo")
    beta: float = Field(0.1, gt=0, description="how strongly the policy is held to the reference")
    learning_rate: float = Field(
        1e-6, gt=0, description="peak: after the warm-up, before the cosine"
    )
    epochs: int = Field(1, ge=0, description="over the pairs with the preference loss")
    sft_epochs: int = Field(0, ge=0, description="before it, on the teacher's answers alone")
    sft_learning_rate: float = Field(5e-6, gt=0)
    batch_size: int = Field(256, ge=1, description="pairs a step, over all processes")
    micro_batch_size: int = Field(8, ge=1, description="pairs at once on a device: memory, speed")
    warmup_share: float = Field(0.1, ge=0, le=1, description="of the steps, with a rising rate")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    check_every_steps: int = Field(20, ge=1, description="look at validation pairs and checkpoint")
    falling_chosen_reward: Literal["stop", "warn"] = Field(
        "stop", description="what to do when teacher answers become less likely on validation"
    )
    chosen_reward_floor: float = Field(
        -0.05, le=0, description="mean validation chosen reward below which it counts as fallen"
    )
    save_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bf16 rounds most of a short run at a small rate away"
    )
    seed: int = 0


def train(*, pairs: Pairs, model: Model, config: TrainConfig, out: Path) -> Model:
    """Train the student with DPO against its frozen self: SODA.

    With sft_epochs it is first fine-tuned on the teacher's answers; the reference is always the
    model that DPO starts from, so the first loss is ln 2. Validation pairs are looked at as it
    goes: where the teacher's answers become less likely than at the start, training stops at the
    last good checkpoint (or warns). A run that was killed goes on from its newest checkpoint.
    Figures of every step are in logs/metrics.jsonl.
    """
    from soda.training.batch import Layout, tokenize
    from soda.training.trainer import Trainer

    chat = ChatFormat.load(model.path)
    rows = [tokenize(row, chat) for row in pairs.rows("train")]
    validation = [tokenize(row, chat) for row in pairs.rows("validation")]
    if not rows:
        raise DataError(f"{pairs.path}: expected pairs to train on, found none")
    accelerator, policy = _load(model.path)
    layout = Layout.of(policy, chat.pad, accelerator.device)
    how = "share their prompt" if layout.share else "have a row each"
    say(f"train: {policy.config.model_type}: chosen and rejected {how}")
    inputs = {"pairs": pairs, "model": model}
    with _main_process_creates(accelerator, out, config, inputs) as writer:
        trainer = Trainer(
            accelerator,
            policy,
            layout,
            rows,
            validation,
            loss=config.loss,
            beta=config.beta,
            weight_decay=config.weight_decay,
            chosen_reward_floor=config.chosen_reward_floor,
            stop_below_floor=config.falling_chosen_reward == "stop",
            work=work_folder(out, config, inputs) / WORK,
            keep=lambda: None if writer is None else writer.keep(),
        )
        stopped = trainer.run(_phases(config))
        if writer is not None:
            _write(writer, trainer, model, config, stopped)
    accelerator.wait_for_everyone()
    return Model.open(out)


def _load(folder: Path) -> tuple[Any, Any]:
    """Return an accelerator and the policy: float32 weights, bf16 arithmetic on a GPU.

    The policy stays in eval mode: dropout would make the first loss another than ln 2.
    """
    import torch
    from accelerate import Accelerator

    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision="bf16" if cuda else "no", cpu=not cuda)
    return accelerator, load_causal_lm(folder, torch.float32)


@contextlib.contextmanager
def _main_process_creates(
    accelerator: Any, out: Path, config: TrainConfig, inputs: dict[str, Artifact]
) -> Iterator[Writer | None]:
    """Yield the writer in the main process, after it has made the work folder, else None."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield None
        return
    with Model.create(out, config=config, inputs=inputs) as writer:
        accelerator.wait_for_everyone()
        yield writer


def _phases(config: TrainConfig) -> "list[Phase]":
    from soda.training.loop import Phase

    shared = config.model_dump(
        include={
            "batch_size",
            "micro_batch_size",
            "warmup_share",
            "max_grad_norm",
            "check_every_steps",
            "seed",
        }
    )
    wanted = [
        ("sft", config.sft_learning_rate, config.sft_epochs),
        (config.loss, config.learning_rate, config.epochs),
    ]
    return [
        Phase(number, name, rate, epochs, **shared)
        for number, (name, rate, epochs) in enumerate(wanted)
        if epochs
    ]


def _write(
    writer: Writer, trainer: "Trainer", model: Model, config: TrainConfig, stopped: str | None
) -> None:
    """Write the trained model as a folder like the one it came from, and what happened."""
    import torch

    policy = trainer.policy.to(getattr(torch, config.save_dtype))
    policy.save_pretrained(writer.path)
    for name in model.manifest["files"]:
        if not name.endswith((".safetensors", ".safetensors.index.json")) and name != "config.json":
            (writer.path / name).unlink(missing_ok=True)
            shutil.copyfile(model.path / name, writer.path / name)
    (writer.path / LOGS).mkdir()
    shutil.copyfile(trainer.work / "metrics.jsonl", writer.path / LOGS / "metrics.jsonl")
    writer.facts.update(
        model.manifest["facts"],
        base_weights_digest=model.weights_digest,
        weights_digest=weights_digest(writer.path),
        train_pairs=len(trainer.pairs),
        validation_pairs=len(trainer.validation),
        stopped_early=stopped,
    )
