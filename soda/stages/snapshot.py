"""Let the base student answer every prompt once, before any training."""

import dataclasses
import json
from pathlib import Path

from pydantic import Field

from soda import storage
from soda.chat import ChatFormat
from soda.config import Config
from soda.kinds import Model, Prompts, Responses
from soda.progress import progress
from soda.rows import Outcome, Prompt, Response
from soda.student.generate import Answer, Sampling, load_model, sample
from soda.writer import Writer

__all__ = ["SnapshotConfig", "snapshot"]


class SnapshotConfig(Config):
    """How the student is sampled."""

    temperature: float = Field(0.8, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_prompt_tokens: int = Field(2048, ge=1, description="longer prompts are not asked")
    max_new_tokens: int = Field(1536, ge=1, description="an answer that reaches it is truncated")
    seed: int = 0
    batch_size: int = Field(64, ge=1, description="prompts at once; part of what is drawn")


def snapshot(*, prompts: Prompts, model: Model, config: SnapshotConfig, out: Path) -> Responses:
    """Sample the base student's own answers, once: the rejected side of the pairs.

    Zero-shot, with its chat template, seeded. A run that was killed keeps the batches it finished.
    The teacher is no input, so a run that changes only the teacher reuses this.
    """
    chat = ChatFormat.load(model.path)
    rows = list(prompts.rows())
    ids = {row.id: chat.prompt_ids(row.messages) for row in rows}
    asked = [row for row in rows if len(ids[row.id]) <= config.max_prompt_tokens]
    sampling = Sampling(**config.model_dump(exclude={"max_prompt_tokens"}))
    with Responses.create(
        out, config=config, inputs={"prompts": prompts, "model": model}
    ) as writer:
        answers = _sample(writer, model, chat, asked, [ids[row.id] for row in asked], sampling)
        for row in rows:
            Responses.write(writer, _response(row, answers.get(row.id)))
        chat.save(writer.path / Responses.TOKENIZER)
        writer.facts["student"] = {
            "weights_digest": model.weights_digest,
            "template_digest": chat.template_digest,
            "sampling": config.model_dump(),
        }
    return Responses.open(out)


def _sample(
    writer: Writer,
    model: Model,
    chat: ChatFormat,
    rows: list[Prompt],
    ids: list[list[int]],
    sampling: Sampling,
) -> dict[str, Answer]:
    """Return the answers by prompt id; each batch is on the disk before the next is begun."""

    def file(number: int) -> Path:
        return writer.work / f"batch-{number:06}.json"

    bar = progress("snapshot", total=len(rows), unit="answers")
    kept = sorted(writer.work.glob("batch-*.json"))
    answers = {
        key: Answer(**values)
        for path in kept
        for key, values in json.loads(path.read_bytes()).items()
    }
    bar.update(len(answers))
    batches = sample(
        load_model(model.path), chat, ids, sampling, lambda number: file(number).exists()
    )
    for number, places, drawn in batches:
        batch = {rows[place].id: answer for place, answer in zip(places, drawn, strict=True)}
        values = {key: dataclasses.asdict(answer) for key, answer in batch.items()}
        storage.write_atomically(file(number), json.dumps(values).encode())
        writer.keep()
        answers |= batch
        bar.update(len(batch))
    bar.close()
    return answers


def _response(row: Prompt, answer: Answer | None) -> Response:
    if answer is None:
        return Response(row, "", "failed", detail="prompt_too_long")
    outcome: Outcome = "answered" if answer.stopped else "truncated"
    if not answer.text.strip():
        outcome = "empty"
    return Response(row, answer.text, outcome, answer.tokens)
