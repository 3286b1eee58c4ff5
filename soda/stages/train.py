"""Train the student: the warm-up on the teacher's answers, then DPO on pairs; or GAD."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soda import storage
from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.intermediate import Intermediate
from soda.artifacts.keys import code_digest
from soda.artifacts.kinds import Model, Pairs, Responses
from soda.artifacts.writer import DROPS, LOGS, WORK, Writer
from soda.config import summary
from soda.progress import say
from soda.rows import digest
from soda.storage import Place
from soda.student.chat import ChatFormat
from soda.student.weights import weights_digest
from soda.training.config import TrainConfig

if TYPE_CHECKING:
    from soda.training.data import Data
    from soda.training.model.processes import Processes
    from soda.training.run.phase import Phase, Setup
    from soda.training.run.phase_run import Ending

__all__ = ["TrainConfig", "train"]

_REFERENCE_CODE = ("soda.training.model.loading", "soda.training.objectives.reference")
_WEIGHTS = (".safetensors", ".safetensors.index.json")


def train(*, data: Pairs | Responses, model: Model, config: TrainConfig, out: Place) -> Model:
    """Train a student further, by one method.

    SODA is two trainings: `method: sft` on the teacher's answers makes the warmed-up student, and
    `method: dpo` on pairs trains that student against itself as the reference, so the first loss is
    ln 2. The warm-up alone is SeqKD. `gad` is adversarial and brings a warm-up of its own.

    Validation rows are looked at as it goes, and answers sampled: where something goes wrong,
    training stops at the last good checkpoint, or warns. sft ends with the checkpoint where the
    teacher's validation answers are likeliest. A run that was killed continues from its newest
    checkpoint; on SIGTERM it saves one first. Figures of every step are in logs/metrics.jsonl.
    """
    from soda.training.data import read_data, refuse_answers
    from soda.training.model.loading import load_policy, trained_model
    from soda.training.model.processes import Processes
    from soda.training.phases import phases_of
    from soda.training.run.interrupt import listen
    from soda.training.run.phase import Setup
    from soda.training.run.trainer import Trainer

    refuse_answers(data, config)
    inputs: dict[str, Artifact] = {"data": data, "model": model}
    processes = Processes()
    config.check_processes(processes.count)
    if config.epochs == 0:
        return _unchanged(processes, model, config, inputs, out)
    chat = ChatFormat.load(model.path)
    rows = read_data(data, chat, config)
    with _main_process_creates(processes, out, config, inputs) as writer, listen() as interrupt:
        longest = rows.longest(rollout=config.rollout_tokens)
        load = functools.partial(load_policy, model.path, chat.pad, longest, processes, config)
        policy = load()
        policy.say_path()
        work = work_place(out, config, inputs).folder / WORK
        setup = Setup(
            config, policy, chat, processes, rows.examples, rows.validation, work, interrupt
        )
        phases = phases_of(setup, load)
        trainer = Trainer(
            setup,
            _micro_batch_tokens(setup, phases),
            log=_log(writer),
            push=lambda now: None if writer is None else writer.push(now=now),
            references=_references(out, setup, model, data),
        )
        ending = trainer.run(phases)
        trained = trained_model(policy, model.path, config.lora, processes)
        if writer is not None:
            _write(writer, trained, model, config)
            _describe(writer, inputs, config, rows, ending)
    processes.wait()
    return Model.open(out)


def _unchanged(
    processes: "Processes",
    model: Model,
    config: TrainConfig,
    inputs: dict[str, Artifact],
    out: Place,
) -> Model:
    """Hand the input model on as it is: a pipeline leaves a training out by `epochs: 0`."""
    say(f"train: {config.method} with 0 epochs: the model is handed on as it is")
    with _main_process_creates(processes, out, config, inputs) as writer:
        if writer is not None:
            for name in set(model.manifest.files) - {DROPS}:
                storage.copy_file(model.path / name, writer.path / name)
            writer.facts.update(model.manifest.facts)
    processes.wait()
    return Model.open(out)


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


def _references(out: Place, setup: "Setup", model: Model, data: Pairs | Responses) -> Intermediate:
    """Return the place of reference log-probabilities, under all that decides them."""
    lora = setup.config.lora
    key = {
        "code": code_digest(*_REFERENCE_CODE),
        "weights": model.weights_digest,
        "data": data.digest,
        "template": setup.chat.template_digest,
        "device": setup.processes.device.type,  # a GPU computes in bf16, one or several
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
    processes: "Processes", out: Place, config: TrainConfig, inputs: dict[str, Artifact]
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
    for name in model.manifest.files:
        if not name.endswith(_WEIGHTS) and name not in ("config.json", DROPS):
            storage.copy_file(model.path / name, writer.path / name)


def _describe(
    writer: Writer,
    inputs: dict[str, Artifact],
    config: TrainConfig,
    rows: "Data",
    ending: "Ending",
) -> None:
    """Say in the manifest where the model comes from: base student, trainings, rows."""
    data, model = inputs["data"], inputs["model"]
    assert isinstance(model, Model), "it was opened as one"
    for key, reason in rows.dropped:
        writer.drop(key, reason)
    weights = weights_digest(writer.path)
    rate, epochs, batch_size = config.schedule
    training = {
        "method": config.method,
        "loss": {"source": summary(type(config.loss)), **config.loss.model_dump()}
        if config.method == "dpo"
        else None,
        "epochs": epochs,
        "learning_rate": rate,
        "batch_size": batch_size,
        "seed": config.seed,
        "rejected_sources": sorted(data.manifest.facts.get("rejected_sources", {})),
        "starts_from": model.weights_digest,
        "weights_digest": weights,
        "train_rows": len(rows.examples),
        "validation_rows": len(rows.validation),
        "checkpoint": ending.facts(),
        "stopped_early": ending.problem,
    }
    writer.facts.update(
        model.manifest.facts,
        base_weights_digest=model.base_weights_digest,
        weights_digest=weights,
        trainings=[*model.trainings, training],
    )
