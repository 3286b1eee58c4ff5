"""Let the base student answer every prompt once, before any training."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from soda import storage
from soda.artifacts.artifact import run_key
from soda.artifacts.kinds import Model, Prompts, Responses
from soda.artifacts.shard import Shard, part_of
from soda.config import Config
from soda.endpoint.address import Address
from soda.errors import MissingObject
from soda.progress import progress
from soda.rows import Outcome, Prompt, Response
from soda.storage.places import remote_location, store_of
from soda.student.chat import ChatFormat
from soda.student.engines import Engine, endpoint_engine, transformers_engine, vllm_engine
from soda.student.generate import Answer, Sampling

__all__ = ["SnapshotConfig", "snapshot"]


class SnapshotConfig(Config):
    """How the student is sampled."""

    engine: Literal["transformers", "vllm", "endpoint"] = Field(
        "transformers", description="what answers: this process, vLLM in it, or a server"
    )
    endpoint: str | None = Field(None, description="base URL of a server that has the student")
    endpoint_model: str | None = Field(None, description="the student's name there")
    temperature: float = Field(0.8, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_prompt_tokens: int = Field(2048, ge=1, description="longer prompts are not asked")
    max_new_tokens: int = Field(1536, ge=1, description="an answer that reaches it is truncated")
    samples: int = Field(1, ge=1, description="answers a prompt; the further ones are spares")
    seed: int = Field(0, ge=0)
    batch_size: int = Field(64, ge=1, description="answers under way at once, but on a GPU")
    group_size: int = Field(1024, ge=1, description="prompts between two saves")
    shard: Shard = Field("1/1", description="'2/8': every eighth group of prompts, from the second")

    @model_validator(mode="after")
    def _endpoint_is_named(self) -> Self:
        named = [bool(self.endpoint), bool(self.endpoint_model)]
        if named != [self.engine == "endpoint"] * 2:
            raise ValueError(
                "expected endpoint and endpoint_model with the engine 'endpoint', and no other"
            )
        if self.endpoint:
            Address.parse(self.endpoint)
        return self


def snapshot(*, prompts: Prompts, model: Model, config: SnapshotConfig, out: Path) -> Responses:
    """Sample the base student's own answers, once: the rejected side of the pairs.

    Zero-shot, with its chat template, seeded; the artifact is the same whatever the engine. Groups
    of prompts are kept in the store as they are finished: a run that was killed goes on after the
    last, and after all shards the whole asks for nothing. With `samples`, the spares are in
    samples.jsonl, and pair-build takes one where an answer makes no pair. The teacher is no input,
    so a run that changes only the teacher reuses this.
    """
    chat = ChatFormat.load(model.path)
    rows = list(prompts.rows())
    ids = {row.id: chat.prompt_ids(row.messages) for row in rows}
    asked = [row for row in rows if len(ids[row.id]) <= config.max_prompt_tokens]
    groups = _groups([row.id for row in asked], ids, config)
    with Responses.create(
        out, config=config, inputs={"prompts": prompts, "model": model}
    ) as writer:
        kept = _Groups(out, prompts, model, config)
        answers: dict[str, list[Answer]] = {}
        for group in _answered(groups, ids, kept, lambda: _engine(model, chat, config), config):
            answers |= group
        for row in rows:
            too_long = (
                part_of(config.shard).start == 0 and len(ids[row.id]) > config.max_prompt_tokens
            )
            if row.id in answers or too_long:
                first, *spares = answers.get(row.id, [None])
                Responses.write(writer, _response(row, first))
                for spare in spares:
                    writer.write(Responses.SAMPLES, _response(row, spare).to_json())
        chat.save(writer.path / Responses.TOKENIZER)
        writer.facts["student"] = {
            "weights_digest": model.weights_digest,
            "template_digest": chat.template_digest,
            "sampling": config.model_dump(exclude={"shard"}),
        }
    return Responses.open(out)


def _groups(
    names: list[str], ids: dict[str, list[int]], config: SnapshotConfig
) -> dict[int, list[str]]:
    """Return this shard's groups by number: prompts of all lengths in each, in order of length."""
    by_length = sorted(names, key=lambda name: (len(ids[name]), name))
    count = max(1, -(-len(by_length) // config.group_size))
    numbered = [(number, by_length[number::count]) for number in range(count)]
    return dict(numbered[part_of(config.shard)])


def _engine(model: Model, chat: ChatFormat, config: SnapshotConfig) -> Engine:
    sampling = Sampling(
        config.temperature, config.top_p, config.max_new_tokens, config.seed, config.batch_size
    )
    if config.engine == "endpoint":
        assert config.endpoint and config.endpoint_model, "the config was checked"
        return endpoint_engine(config.endpoint, config.endpoint_model, chat, sampling)
    local = vllm_engine if config.engine == "vllm" else transformers_engine
    return local(model.path, chat, sampling)


class _Groups:
    """Finished groups of answers in the store, under all that decides them."""

    def __init__(self, out: Path, prompts: Prompts, model: Model, config: SnapshotConfig):
        whole = config.model_copy(update={"shard": "1/1"})
        key = run_key(whole, {"prompts": prompts, "model": model})
        folder = store_of(out) / "snapshots" / key[:16]
        self._store = storage.open_store(remote_location(folder) or str(folder))

    def read(self, number: int) -> dict[str, list[Answer]] | None:
        """Return a finished group's answers by the prompt's id, or None."""
        try:
            data, _ = self._store.read(f"group-{number:06}.json")
        except MissingObject:
            return None
        return {
            name: [Answer(**values) for values in answers]
            for name, answers in json.loads(data).items()
        }

    def write(self, number: int, answers: dict[str, list[Answer]]) -> dict[str, list[Answer]]:
        """Keep a finished group and return it; of two that finish it at once, the first counts."""
        values: dict[str, Any] = {
            name: [dataclasses.asdict(one) for one in group] for name, group in answers.items()
        }
        if self._store.create(f"group-{number:06}.json", json.dumps(values).encode()):
            return answers
        return self.read(number) or answers


def _answered(
    groups: dict[int, list[str]],
    ids: dict[str, list[int]],
    kept: _Groups,
    open_engine: Callable[[], Engine],
    config: SnapshotConfig,
) -> Iterator[dict[str, list[Answer]]]:
    """Yield each group's answers by the prompt's id; the engine starts when one is missing."""
    engine: Engine | None = None
    total = sum(map(len, groups.values())) * config.samples
    bar = progress("snapshot", total=total, unit="answers")
    for number, names in groups.items():
        found = kept.read(number)
        if found is None:
            engine = engine or open_engine()
            numbers = range(config.samples)
            drawn = engine(
                [ids[name] for name in names for _ in numbers],
                [[config.seed, number, place, n] for place in range(len(names)) for n in numbers],
                bar.update,
            )
            count = config.samples
            found = {
                name: drawn[place * count : (place + 1) * count] for place, name in enumerate(names)
            }
            found = kept.write(number, found)
        else:
            bar.update(len(names) * config.samples)
        yield found
    bar.close()


def _response(row: Prompt, answer: Answer | None) -> Response:
    if answer is None:
        return Response(row, "", "failed", detail="prompt_too_long")
    if answer.problem:
        return Response(row, "", "failed", detail=answer.problem)
    outcome: Outcome = "answered" if answer.stopped else "truncated"
    if not answer.text.strip():
        outcome = "empty"
    return Response(row, answer.text, outcome, answer.tokens)
