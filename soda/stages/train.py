"""Train the student on the pairs."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.intermediate import Intermediate
from soda.artifacts.keys import code_digest
from soda.artifacts.kinds import Model, Pairs
from soda.artifacts.writer import LOGS, WORK, Writer
from soda.errors import DataError
from soda.rows import digest
from soda.storage import Place
from soda.student.chat import ChatFormat
from soda.student.weights import weights_digest
from soda.training.config import TrainConfig

if TYPE_CHECKING:
    from soda.training.model.examples import Example
    from soda.training.run.phase import Phase, Setup

__all__ = ["TrainConfig", "train"]

_REFERENCE_CODE = ("soda.training.model.loading", "soda.training.objectives.reference")


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
    from soda.training.phases import phases_of
    from soda.training.run.interrupt import listen
    from soda.training.run.phase import Setup
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
        longest = _longest(rows + validation, config)
        load = functools.partial(load_policy, model.path, chat.pad, longest, processes, config)
        policy = load()
        policy.say_path()
        work = work_place(out, config, inputs).folder / WORK
        setup = Setup(config, policy, chat, processes, rows, validation, work, interrupt)
        phases = phases_of(setup, load)
        trainer = Trainer(
            setup,
            _micro_batch_tokens(setup, phases),
            log=_log(writer),
            push=lambda now: None if writer is None else writer.keep(now=now),
            references=_references(out, setup, model, pairs),
        )
        stopped = trainer.run(phases)
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


def _micro_batch_tokens(setup: "Setup", phases: "Sequence[Phase]") -> int:
    """Return how many tokens to train on at once: what the recipe says, or what fits."""
    from soda.training.model.device import fit
    from soda.training.run.optimizer import make_optimizer, restore_float32

    device = setup.config.device
    wanted = device.tokens(setup.processes.device.type)
    if not setup.processes.half:
        return wanted
    modules = {name: phase.modules[name] for phase in phases for name in phase.rates}
    optimizers = {
        name: make_optimizer(module, 0.0, 0.0, half=True) for name, module in modules.items()
    }
    examples = [
        max((phase.largest(example) for phase in phases if phase.epochs), key=len)
        for example in setup.examples
    ]
    may_recompute = device.recompute_activations != "off"
    size = fit(list(modules.values()), examples, wanted, may_recompute=may_recompute)
    for name, optimizer in optimizers.items():
        restore_float32(modules[name], optimizer)
    return size


def _references(out: Place, setup: "Setup", model: Model, pairs: Pairs) -> Intermediate:
    """Return the place of reference log-probabilities, under all that decides them."""
    lora = setup.config.lora
    key = {
        "code": code_digest(*_REFERENCE_CODE),
        "weights": model.weights_digest,
        "pairs": pairs.digest,
        "template": setup.chat.template_digest,
        "half": setup.processes.half,
        "quantized": lora is not None and lora.quantized,
    }
    return Intermediate.in_store(out, "references", digest(key))


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
