"""Train the student on the pairs."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.keys import code_digest
from soda.artifacts.kinds import Model, Pairs
from soda.artifacts.writer import LOGS, WORK, Writer
from soda.config import Config
from soda.errors import ConfigError, DataError, MissingObject
from soda.progress import say
from soda.rows import digest
from soda.storage import Place
from soda.student.chat import ChatFormat
from soda.student.weights import weights_digest
from soda.training.model.lora import Lora
from soda.training.objectives.adversarial import Adversarial
from soda.training.run.health import Health
from soda.words import repeats

if TYPE_CHECKING:
    from soda.training.model.examples import Example
    from soda.training.model.policy import Policy
    from soda.training.model.processes import Processes
    from soda.training.run.interrupt import Interrupt
    from soda.training.run.loop import Phase
    from soda.training.run.trainer import Sampled, Settings

__all__ = ["TrainConfig", "train"]

_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
_ROLLOUTS_AT_ONCE = 256
_REFERENCE_CODE = ("soda.training.model.loading", "soda.training.objectives.reference")
# What a method leaves to itself if the recipe says nothing. GAD's are those of its public scripts.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "soda": {
        "learning_rate": 1e-6,
        "sft_epochs": 0,
        "sft_learning_rate": 5e-6,
        "max_grad_norm": 1.0,
    },
    "seqkd": {
        "learning_rate": 5e-6,
        "sft_epochs": 0,
        "sft_learning_rate": 5e-6,
        "max_grad_norm": 1.0,
    },
    "gad": {
        "learning_rate": 1e-6,
        "sft_epochs": 1,
        "sft_learning_rate": 1e-6,
        "max_grad_norm": 0.2,
    },
}


class TrainConfig(Config):
    """SODA's training; the defaults are ours, as the paper does not publish its own."""

    aside: ClassVar[tuple[str, ...]] = ("batch_tokens", "recompute_activations", "compile")

    method: Literal["soda", "seqkd", "gad"] = Field(
        "soda",
        description="seqkd: fine-tuning on the teacher's answers; gad: adversarial, on-policy",
    )
    loss: Literal["dpo", "dpo_norm", "ipo", "simpo"] = Field(
        "dpo", description="for the method soda, which is dpo in the paper"
    )
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
    sft_epochs: int | None = Field(
        None,
        ge=0,
        description="before them, on the teacher's answers alone: a warm-up; 0, or 1 for gad",
    )
    sft_learning_rate: float | None = Field(None, gt=0, description="5e-6, or 1e-6 for gad")
    batch_size: int = Field(256, ge=1, description="pairs a step, over all processes")
    warmup_share: float = Field(0.1, ge=0, le=1, description="of the steps, with a rising rate")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float | None = Field(None, gt=0, description="1, or 0.2 for gad")
    check_every_steps: int = Field(20, ge=1, description="look at validation pairs and checkpoint")
    health: Health = Field(Health(), description="signs of trouble, and what to do about each")
    adversarial: Adversarial = Field(Adversarial(), description="what only gad needs")
    lora: Lora | None = Field(None, description="train adapters only, which are merged at the end")
    save_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bf16 rounds most of a short run at a small rate away"
    )
    seed: int = Field(0, ge=0)
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
        defaults = _DEFAULTS[self.method]
        return self.model_copy(
            update={key: value for key, value in defaults.items() if getattr(self, key) is None}
        )


def train(*, pairs: Pairs, model: Model, config: TrainConfig, out: Place) -> Model:
    """Train the student with DPO against its frozen self: SODA; or by a method to compare it with.

    With sft_epochs it is first fine-tuned on the teacher's answers; the reference is always the
    model that DPO starts from, so the first loss is ln 2. Validation pairs are looked at as it
    goes, and answers sampled: where something goes wrong, training stops at the last good
    checkpoint, or warns. A run that was killed goes on from its newest checkpoint; on SIGTERM it
    saves one first. Figures of every step are in logs/metrics.jsonl.
    """
    from soda.training.model.examples import tokenize
    from soda.training.model.loading import load_policy, trained_model
    from soda.training.model.processes import Processes
    from soda.training.run.interrupt import listen
    from soda.training.run.trainer import Trainer

    chat = ChatFormat.load(model.path)
    rows = [tokenize(row, chat) for row in pairs.rows("train")]
    validation = [tokenize(row, chat) for row in pairs.rows("validation")]
    if not rows:
        raise DataError(f"{pairs.path}: expected pairs to train on, found none")
    processes = Processes()
    config.check_processes(processes.count)
    inputs = {"pairs": pairs, "model": model}
    with _main_process_creates(processes, out, config, inputs) as writer, listen() as interrupt:

        def load() -> "Policy":
            return load_policy(
                model.path,
                chat.pad,
                _longest(rows + validation, config),
                processes,
                config.lora,
                seed=config.seed,
                recompute=config.recompute_activations == "on",
                compiled=config.compile,
            )

        policy = load()
        policy.say_path()
        settings = _settings(config, half=processes.device.type == "cuda" and processes.count == 1)
        trainer = Trainer(
            policy=policy,
            processes=processes,
            pairs=rows,
            validation=validation,
            settings=settings,
            work=work_place(out, config, inputs).folder / WORK,
            log=_log(writer),
            interrupt=interrupt,
            keep=lambda now: None if writer is None else writer.keep(now=now),
            references=_References(
                out,
                model,
                pairs,
                chat,
                half=settings.half,
                quantized=config.lora is not None and config.lora.quantized,
            ),
            sample=lambda policy: _sample(policy, chat, validation, config.health, processes),
            rollout=_Rollout(chat, config, interrupt),
            load=load,
        )
        stopped = trainer.run(_phases(config, _batch_tokens(policy, rows, config, settings)))
        trained = trained_model(policy, model.path, config.lora, processes)
        if writer is not None:
            writer.facts.update(
                model.manifest["facts"],
                train_pairs=len(rows),
                validation_pairs=len(validation),
                stopped_early=stopped,
            )
            _write(writer, trained, model, config)
    processes.wait()
    return Model.open(out)


def _longest(examples: "list[Example]", config: TrainConfig) -> int:
    """Return the most tokens that a prompt with one answer has, rollouts included."""
    rollout = config.adversarial.max_new_tokens if config.method == "gad" else 0
    return max(len(one.prompt) + max(rollout, *map(len, one.answers)) for one in examples)


def _batch_tokens(
    policy: "Policy", examples: "list[Example]", config: TrainConfig, settings: "Settings"
) -> int:
    """Return how many tokens to train on at once: what the recipe says, or what fits."""
    from soda.training.model.memory import fit
    from soda.training.run.optimizer import make_optimizer, restore_float32

    wanted = config.batch_tokens or _BATCH_TOKENS[policy.device.type]
    if not settings.half:
        return wanted
    optimizer = make_optimizer(policy, 0.0, 0.0, half=True)
    may_recompute = config.recompute_activations != "off"
    size = fit(policy, examples, wanted, may_recompute=may_recompute)
    restore_float32(policy, optimizer)
    return size


def _sample(
    policy: "Policy",
    chat: ChatFormat,
    validation: "list[Example]",
    health: Health,
    processes: "Processes",
) -> "list[Sampled]":
    """Answer some validation prompts, greedily; not where several processes share weights."""
    from soda.student.generate import Sampling, sample
    from soda.training.run.trainer import Sampled

    prompts = [example.prompt.tolist() for example in validation[: health.answers]]
    if not prompts or processes.count > 1:
        return []
    sampling = Sampling(0, 1, health.answer_tokens, 0, len(prompts))
    with policy.answering() as model:
        return [
            Sampled(answer.tokens, bool(repeats(answer.text)))
            for _, answer in sample(model, chat, prompts, sampling)
        ]


@dataclass
class _Rollout:
    """Samples answers from a policy as it is, for GAD."""

    chat: ChatFormat
    config: TrainConfig
    interrupt: "Interrupt"

    def __call__(
        self, policy: "Policy", prompts: list[list[int]], step: int
    ) -> list[list[list[int]]] | None:
        """Return some answers a prompt, as ids; None if SIGTERM came."""
        from soda.student.generate import Sampling, sample_ids

        ours, seed = self.config.adversarial, self.config.seed
        numbers = range(ours.rollouts)
        sampling = Sampling(ours.temperature, 1, ours.max_new_tokens, seed, _ROLLOUTS_AT_ONCE)
        repeated = [prompt for prompt in prompts for _ in numbers]
        seeds = [[seed, step, place, n] for place in range(len(prompts)) for n in numbers]
        with policy.answering() as model:
            answers = sample_ids(
                model, self.chat, repeated, sampling, seeds, lambda: self.interrupt.came
            )
            found = dict(answers)
        if self.interrupt.came:
            return None
        return [
            [found[place * ours.rollouts + number] for number in numbers]
            for place in range(len(prompts))
        ]


class _References:
    """Reference log-probabilities in the store, under all that decides them."""

    def __init__(
        self,
        out: Place,
        model: Model,
        pairs: Pairs,
        chat: ChatFormat,
        *,
        half: bool,
        quantized: bool,
    ):
        key = {
            "code": code_digest(*_REFERENCE_CODE),
            "weights": model.weights_digest,
            "pairs": pairs.digest,
            "template": chat.template_digest,
            "half": half,
            "quantized": quantized,
        }
        self._store = (out.store() / "references" / digest(key)[:16]).open()

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
    processes: Any, out: Place, config: TrainConfig, inputs: dict[str, Artifact]
) -> Iterator[Writer | None]:
    """Yield the writer in the main process, after it has made the work folder, else None."""
    if not processes.main:
        processes.wait()
        yield None
        return
    with Model.create(out, config=config, inputs=inputs) as writer:
        processes.wait()
        yield writer


def _settings(config: TrainConfig, *, half: bool) -> "Settings":
    from soda.training.run.trainer import Settings

    return Settings(
        beta=config.beta,
        sft_weight=config.sft_weight,
        weight_decay=config.weight_decay,
        half=half,
        check_every_steps=config.check_every_steps,
        health=config.health,
        adversarial=config.adversarial,
    )


def _phases(config: TrainConfig, batch_tokens: int) -> "list[Phase]":
    from soda.training.run.loop import Phase

    shared = config.model_dump(include={"batch_size", "warmup_share", "max_grad_norm", "seed"})
    main = {"soda": config.loss, "seqkd": "sft", "gad": "gad"}[config.method]
    wanted: list[tuple[str, Any, Any]] = [("sft", config.sft_learning_rate, config.sft_epochs)]
    if config.method == "gad":
        ours = config.adversarial
        epochs = ours.discriminator_epochs
        wanted.append(("discriminator", ours.discriminator_learning_rate, epochs))
    wanted.append((main, config.learning_rate, config.epochs))
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
