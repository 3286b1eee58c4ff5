"""Let the base student, or another model, answer every prompt before any training."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from soda.artifacts.intermediate import Intermediate
from soda.artifacts.keys import run_key
from soda.artifacts.kinds import Model, Prompts, Responses
from soda.config import Config
from soda.endpoint.address import Address
from soda.errors import DataError
from soda.limits import ANSWER_TOKENS, SAMPLES
from soda.progress import progress, say
from soda.rows import Outcome, Prompt, Response, Shard, part_of, told
from soda.storage import Place
from soda.student.chat import ChatError, ChatFormat
from soda.student.engines import Engine, endpoint_engine, transformers_engine, vllm_engine
from soda.student.generate import Answer, Sampling

__all__ = ["SnapshotConfig", "snapshot"]


class SnapshotConfig(Config):
    """How the model is sampled."""

    engine: Literal["transformers", "vllm", "endpoint"] = Field(
        "transformers", description="what answers: this process, vLLM in it, or a server"
    )
    endpoint: str | None = Field(None, description="base URL of a server that has the student")
    endpoint_model: str | None = Field(None, description="the student's name there")
    temperature: float = Field(0.7, ge=0, description="0 is greedy (paper)")
    top_p: float = Field(1.0, gt=0, le=1, description="ours: the paper states none")
    max_prompt_tokens: int = Field(2048, ge=1, description="longer prompts are not asked (ours)")
    max_new_tokens: int = Field(
        1536, ge=1, le=ANSWER_TOKENS, description="an answer that reaches it is truncated (paper)"
    )
    samples: int = Field(
        1,
        ge=1,
        le=SAMPLES,
        description="answers a prompt; the further ones are spares (paper: one)",
    )
    seed: int = Field(0, ge=0)
    batch_size: int = Field(64, ge=1, description="answers under way at once, but on a GPU")
    system: str = Field(
        "", description="system prompt before every prompt, for answers that are meant to be bad"
    )
    source: str = Field(
        "", description="what the model is called in pairs; else its type and its weights' digest"
    )
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


def snapshot(*, prompts: Prompts, model: Model, config: SnapshotConfig, out: Place) -> Responses:
    """Sample the base student's own answers, once: the rejected side of the pairs.

    Another model, smaller or of another family, serves as well: only its text goes on, so neither
    its tokenizer nor its chat template need be the student's. Then choose-rejects comes next.

    Zero-shot, with its chat template, seeded; the artifact is the same whatever the engine. Groups
    of prompts are kept in the store as they are finished: a run that was killed goes on after the
    last, and after all shards the whole asks for nothing. With `samples`, the spares are in
    samples.jsonl, and pair-build takes one where an answer makes no pair. The teacher is no input,
    so a run that changes only the teacher reuses this.
    """
    chat = ChatFormat.load(model.path)
    rows = list(prompts.rows())
    ids, unasked = _prompt_ids(rows, chat, config)
    source = config.source or f"{model.manifest.facts['model_type']}-{model.weights_digest[:8]}"
    groups = _groups(list(ids), ids, config)
    with Responses.create(
        out, config=config, inputs={"prompts": prompts, "model": model}
    ) as writer:
        whole = config.model_copy(update={"shard": "1/1", "source": ""})
        key = run_key(whole, {"prompts": prompts, "model": model})
        kept = Intermediate.in_store(out, "snapshots", key)
        answers: dict[str, list[Answer]] = {}
        for group in _answered(groups, ids, kept, lambda: _engine(model, chat, config), config):
            answers |= group
        for row in rows:
            if row.id in unasked and part_of(config.shard).start == 0:
                why = unasked[row.id]
                Responses.write(writer, Response(row, "", "failed", detail=why, source=source))
            if row.id in answers:
                first, *spares = answers[row.id]
                Responses.write(writer, _response(row, first, source))
                for spare in spares:
                    writer.write(Responses.SAMPLES, _response(row, spare, source).to_json())
        chat.save(writer.path / Responses.TOKENIZER)
        writer.facts["student"] = {
            "weights_digest": model.weights_digest,
            "template_digest": chat.template_digest,
            "sampling": config.model_dump(exclude={"shard", "source"}),
        }
    return Responses.open(out)


def _prompt_ids(
    rows: list[Prompt], chat: ChatFormat, config: SnapshotConfig
) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Return the ids of the prompts that are asked, and why others are not, by the prompt's id.

    All are tried before the model is loaded: a template may refuse a system turn, or two of a user.
    """
    ids: dict[str, list[int]] = {}
    unasked: dict[str, str] = {}
    for row in rows:
        try:
            found = chat.prompt_ids(told(row.messages, config.system))
        except ChatError as error:
            unasked[row.id] = f"{error.reason}: {error}"
            continue
        if len(found) <= config.max_prompt_tokens:
            ids[row.id] = found
        else:
            unasked[row.id] = "prompt_too_long"
    reasons = Counter(why.partition(":")[0] for why in unasked.values())
    for reason, count in reasons.items():
        say(f"snapshot: {count} of {len(rows)} prompts are not asked: {reason}")
    if rows and reasons["template_refused"] == len(rows):
        first = next(iter(unasked.values()))
        raise DataError(f"snapshot: expected prompts, found none that can be asked: {first}")
    return ids, unasked


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


def _answered(
    groups: dict[int, list[str]],
    ids: dict[str, list[int]],
    kept: Intermediate,
    open_engine: Callable[[], Engine],
    config: SnapshotConfig,
) -> Iterator[dict[str, list[Answer]]]:
    """Yield each group's answers by the prompt's id; the engine starts when one is missing."""
    engine: Engine | None = None
    total = sum(map(len, groups.values())) * config.samples
    with progress("snapshot", total=total, unit="answers") as bar:
        for number, names in groups.items():
            name = f"group-{number:06}.json"
            data = kept.read(name)
            if data is None:
                engine = engine or open_engine()
                numbers = range(config.samples)
                drawn = engine(
                    [ids[key] for key in names for _ in numbers],
                    [
                        [config.seed, number, place, n]
                        for place in range(len(names))
                        for n in numbers
                    ],
                    bar.update,
                )
                data = kept.write(name, _packed(names, drawn, config.samples))
            else:
                bar.update(len(names) * config.samples)
            yield _unpacked(data)


def _packed(names: list[str], drawn: list[Answer], samples: int) -> bytes:
    """Write a group's answers down, some for each name."""
    values = [dataclasses.asdict(answer) for answer in drawn]
    firsts = range(0, len(values), samples)
    groups = {
        name: values[first : first + samples] for name, first in zip(names, firsts, strict=True)
    }
    return json.dumps(groups).encode()


def _unpacked(data: bytes) -> dict[str, list[Answer]]:
    groups = json.loads(data).items()
    return {name: [Answer(**values) for values in answers] for name, answers in groups}


def _response(row: Prompt, answer: Answer, source: str) -> Response:
    if answer.problem:
        return Response(row, "", "failed", detail=answer.problem, source=source)
    outcome: Outcome = "answered" if answer.stopped else "truncated"
    if not answer.text.strip():
        outcome = "empty"
    return Response(row, answer.text, outcome, answer.tokens, source=source)
