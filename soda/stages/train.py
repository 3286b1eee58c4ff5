"""Train the student on the pairs."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from soda import storage
from soda.artifact import Artifact, work_folder
from soda.chat import ChatFormat
from soda.config import Config
from soda.errors import DataError, MissingObject
from soda.evaluation.metrics import repeats
from soda.kinds import Model, Pairs
from soda.places import remote_location, store_of
from soda.progress import say
from soda.rows import digest
from soda.training.health import Health
from soda.training.lora import Lora, add_adapters, load_quantized, merge_adapters
from soda.weights import load_causal_lm, weights_digest
from soda.writer import LOGS, WORK, Writer

if TYPE_CHECKING:
    from soda.training.loop import Phase
    from soda.training.policy import Policy
    from soda.training.trainer import Sampled, Settings

__all__ = ["TrainConfig", "train"]

_RATES = {"soda": 1e-6, "seqkd": 5e-6}
_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}


class TrainConfig(Config):
    """SODA's training; the defaults are ours, as the paper does not publish its own."""

    aside: ClassVar[tuple[str, ...]] = ("batch_tokens", "recompute_activations", "compile")

    method: Literal["soda", "seqkd"] = Field(
        "soda", description="seqkd is fine-tuning on the teacher's answers alone"
    )
    loss: Literal["dpo", "dpo_norm", "ipo", "simpo"] = Field("dpo", description="SODA is dpo")
    beta: float = Field(0.1, gt=0, description="how strongly the policy is held to the reference")
    sft_weight: float = Field(
        0.0, ge=0, description="of the SFT loss on chosen answers, added to the preference loss"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak: after the warm-up, before the cosine; 1e-6, or 5e-6 for seqkd",
    )
    epochs: int = Field(1, ge=0, description="over the pairs with the method's loss")
    sft_epochs: int = Field(
        0, ge=0, description="before them, on the teacher's answers alone: a warm-up for soda"
    )
    sft_learning_rate: float = Field(5e-6, gt=0)
    batch_size: int = Field(256, ge=1, description="pairs a step, over all processes")
    warmup_share: float = Field(0.1, ge=0, le=1, description="of the steps, with a rising rate")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    check_every_steps: int = Field(20, ge=1, description="look at validation pairs and checkpoint")
    health: Health = Field(Health(), description="signs of trouble, and what to do about each")
    lora: Lora | None = Field(None, description="train adapters only, which are merged at the end")
    save_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bf16 rounds most of a short run at a small rate away"
    )
    seed: int = 0
    batch_tokens: int | None = Field(
        None, ge=1, description="at once on a device, halved until they fit; 16384, on a CPU 2048"
    )
    recompute_activations: Literal["auto", "on", "off"] = Field(
        "auto", description="memory for time; auto: where a batch would not fit otherwise"
    )
    compile: bool = Field(True, description="the model's layers, on a GPU")

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        if self.method == "seqkd" and (self.sft_epochs or self.sft_weight):
            raise ValueError("expected no sft_epochs and sft_weight with seqkd, which is SFT")
        return self

    def pin(self) -> Self:
        """Write the method's rate down."""
        return self.model_copy(update={"learning_rate": self.learning_rate or _RATES[self.method]})


def train(*, pairs: Pairs, model: Model, config: TrainConfig, out: Path) -> Model:
    """Train the student with DPO against its frozen self: SODA; or by a method to compare it with.

    With sft_epochs it is first fine-tuned on the teacher's answers; the reference is always the
    model that DPO starts from, so the first loss is ln 2. Validation pairs are looked at as it
    goes, and answers sampled: where something goes wrong, training stops at the last good
    checkpoint, or warns. A run that was killed goes on from its newest checkpoint; on SIGTERM it
    saves one first. Figures of every step are in logs/metrics.jsonl.
    """
    from soda.training.examples import tokenize
    from soda.training.interrupt import listen
    from soda.training.processes import Processes
    from soda.training.trainer import Trainer

    chat = ChatFormat.load(model.path)
    rows = [tokenize(row, chat) for row in pairs.rows("train")]
    validation = [tokenize(row, chat) for row in pairs.rows("validation")]
    if not rows:
        raise DataError(f"{pairs.path}: expected pairs to train on, found none")
    processes = Processes()
    inputs = {"pairs": pairs, "model": model}
    with _main_process_creates(processes, out, config, inputs) as writer, listen() as interrupt:
        student = _Student.load(model, chat, processes, config, rows + validation)
        half = processes.device.type == "cuda" and processes.count == 1
        settings = _settings(config, half)
        batch_tokens = student.batch_tokens(rows, settings)
        folder = work_folder(out, config, inputs) / WORK
        trainer = Trainer(
            policy=student.policy,
            processes=processes,
            pairs=rows,
            validation=validation,
            settings=settings,
            work=folder,
            log=_log(writer),
            interrupt=interrupt,
            keep=lambda now: None if writer is None else writer.keep(now=now),
            references=_References(out, model, pairs, chat, half=half),
            sample=lambda policy: student.sample(validation, config.health),
        )
        stopped = trainer.run(_phases(config, batch_tokens))
        weights = student.weights()
        if writer is not None:
            writer.facts.update(
                model.manifest["facts"],
                train_pairs=len(rows),
                validation_pairs=len(validation),
                stopped_early=stopped,
            )
            _write(writer, weights, model, config)
    processes.wait()
    return Model.open(out)


@dataclass
class _Student:
    """The model that is trained, and what it came from."""

    policy: "Policy"
    adapted: Any  # peft's wrapper, or None
    model: Model
    chat: ChatFormat
    processes: Any
    config: TrainConfig

    @classmethod
    def load(
        cls,
        model: Model,
        chat: ChatFormat,
        processes: Any,
        config: TrainConfig,
        examples: list[Any],
    ) -> Self:
        """Load it in float32, in eval mode: dropout would make the first loss another than ln 2."""
        import torch

        from soda.training.policy import Policy

        quantized = config.lora is not None and config.lora.quantized
        loaded = (
            load_quantized(model.path) if quantized else load_causal_lm(model.path, torch.float32)
        )
        adapted = add_adapters(loaded, config.lora) if config.lora else None
        longest = max(len(example.prompt) + max(map(len, example.answers)) for example in examples)
        policy = Policy(loaded, chat.pad, longest)
        policy.say_path()
        if config.recompute_activations == "on":
            policy.recompute_activations()
        if config.compile and policy.packed and processes.device.type == "cuda":
            policy.compile_layers()
        processes.place(policy)
        return cls(policy, adapted, model, chat, processes, config)

    def batch_tokens(self, examples: list[Any], settings: "Settings") -> int:
        """Return how many tokens to train on at once: what the recipe says, or what fits."""
        from soda.training.memory import fit
        from soda.training.optimizer import make_optimizer, restore_float32

        wanted = self.config.batch_tokens or _BATCH_TOKENS[self.processes.device.type]
        if self.processes.device.type != "cuda" or self.processes.count > 1:
            return wanted
        optimizer = make_optimizer(self.policy, 0.0, 0.0, half=settings.half)
        may_recompute = self.config.recompute_activations != "off"
        size = fit(self.policy, examples, wanted, may_recompute=may_recompute)
        restore_float32(self.policy, optimizer)
        return size

    def sample(self, validation: list[Any], health: Health) -> "list[Sampled]":
        """Answer some validation prompts, greedily; not where several processes share weights."""
        from soda.student.generate import Sampling, sample
        from soda.training.trainer import Sampled

        prompts = [example.prompt.tolist() for example in validation[: health.answers]]
        if not prompts or self.processes.count > 1:
            return []
        sampling = Sampling(0, 1, health.answer_tokens, 0, len(prompts))
        return [
            Sampled(answer.tokens, bool(repeats(answer.text)))
            for _, _, answers in sample(self.policy.model, self.chat, prompts, sampling)
            for answer in answers
        ]

    def weights(self) -> Any:
        """Return the trained model, whole and with its adapters merged; all processes take part."""
        from soda.training.processes import whole

        if self.adapted is not None:
            return merge_adapters(self.adapted, self.model.path, self.config.lora)
        for parameter in self.policy.parameters():
            parameter.data = whole(parameter.data)
        return self.policy.model


class _References:
    """Reference log-probabilities in the store, under all that decides them."""

    def __init__(self, out: Path, model: Model, pairs: Pairs, chat: ChatFormat, *, half: bool):
        key = {
            "weights": model.weights_digest,
            "pairs": pairs.digest,
            "template": chat.template_digest,
            "half": half,
        }
        folder = store_of(out) / "references" / digest(key)[:16]
        self._store = storage.open_store(remote_location(folder) or str(folder))

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, or None."""
        try:
            data, _ = self._store.read(name)
        except MissingObject:
            return None
        say("train: reference log-probabilities of an earlier run")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Keep something under a name."""
        self._store.create(name, data)


def _log(writer: Writer | None) -> Path:
    """Return the file for the figures; only the main process's is kept."""
    if writer is None:
        return Path(tempfile.mkdtemp()) / "metrics.jsonl"
    return writer.path / LOGS / "metrics.jsonl"


@contextlib.contextmanager
def _main_process_creates(
    processes: Any, out: Path, config: TrainConfig, inputs: dict[str, Artifact]
) -> Iterator[Writer | None]:
    """Yield the writer in the main process, after it has made the work folder, else None."""
    if not processes.main:
        processes.wait()
        yield None
        return
    with Model.create(out, config=config, inputs=inputs) as writer:
        processes.wait()
        yield writer


def _settings(config: TrainConfig, half: bool) -> "Settings":
    from soda.training.trainer import Settings

    return Settings(
        beta=config.beta,
        sft_weight=config.sft_weight,
        weight_decay=config.weight_decay,
        half=half,
        check_every_steps=config.check_every_steps,
        health=config.health,
    )


def _phases(config: TrainConfig, batch_tokens: int) -> "list[Phase]":
    from soda.training.loop import Phase

    assert config.learning_rate is not None, "it was pinned"
    shared = config.model_dump(include={"batch_size", "warmup_share", "max_grad_norm", "seed"})
    main = "sft" if config.method == "seqkd" else config.loss
    wanted = [
        ("sft", config.sft_learning_rate, config.sft_epochs),
        (main, config.learning_rate, config.epochs),
    ]
    return [
        Phase(number, name, rate, epochs, batch_tokens=batch_tokens, **shared)
        for number, (name, rate, epochs) in enumerate(wanted)
        if epochs
    ]


def _write(writer: Writer, trained: Any, model: Model, config: TrainConfig) -> None:
    """Write the trained model as a folder like the one it came from."""
    import torch

    trained.to(getattr(torch, config.save_dtype)).save_pretrained(writer.path)
    for name in model.manifest["files"]:
        if not name.endswith((".safetensors", ".safetensors.index.json")) and name != "config.json":
            (writer.path / name).unlink(missing_ok=True)
            shutil.copyfile(model.path / name, writer.path / name)
    writer.facts.update(
        base_weights_digest=model.weights_digest, weights_digest=weights_digest(writer.path)
    )
