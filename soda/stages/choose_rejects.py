"""Choose whose answers are rejected, where several models answered or one did several times."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from soda.artifacts.artifact import Inputs
from soda.artifacts.intermediate import Intermediate
from soda.artifacts.keys import code_digest
from soda.artifacts.kinds import Model, Responses
from soda.config import Config
from soda.errors import ConfigError, DataError
from soda.progress import progress
from soda.rows import Response, digest
from soda.storage import Place
from soda.student.chat import ChatError, ChatFormat

__all__ = ["ChooseRejectsConfig", "choose_rejects"]

_SCORES = "scores.jsonl"
_DIGITS = 4  # of a log-probability a token: devices round the rest differently
_SCORING_CODE = "soda.training.scoring"

_Place = tuple[int, int]  # the candidates' number, and the answer's among theirs to one prompt
_Scores = dict[_Place, float]  # log-probabilities a token, in nats


class ChooseRejectsConfig(Config):
    """Which of several answers to a prompt is rejected."""

    choose: Literal["first", "least_likely", "most_likely"] = Field(
        "first",
        description="by the log-probability a token under the model; first: in the order given",
    )
    shares: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        [],
        description="how much of the prompts each of the candidates gets, in their order; "
        "left out, every prompt chooses among all of them",
    )
    max_tokens: int = Field(
        3584,
        ge=2,
        description="prompt and answer, in the model's tokens; a longer one is no reject",
    )
    seed: int = Field(0, ge=0, description="of the draw by shares")

    @model_validator(mode="after")
    def _somebody_has_a_share(self) -> Self:
        if self.shares and not any(self.shares):
            raise ValueError(f"expected a share above 0, found {self.shares}")
        return self


@dataclass(slots=True)
class _Candidates:
    """The answers to one prompt, by the place of the artifact that they are from."""

    rows: list[list[Response]]
    usable: list[list[int]] = field(default_factory=list)  # places among those of each artifact

    @property
    def first(self) -> Response:
        return next(row for rows in self.rows for row in rows)


def choose_rejects(
    *, candidates: list[Responses], model: Model, config: ChooseRejectsConfig, out: Place
) -> Responses:
    """Choose each prompt's rejected answer among those of several models, or of several draws.

    Candidates are the snapshots of any models, with their further samples, and the answers of an
    endpoint. With `shares` a prompt is first drawn for one of them, by its id and the seed. Then
    `choose` decides, by the mean log-probability a token under the model, the warmed-up student
    that DPO starts from: one pass over all candidates, kept in the store as it goes. arXiv
    2609.38987 found the least likely to be the better rejects. The mean and not the sum, which is
    lowest for whatever is longest. `first` loads no weights; the model lends its tokenizer only.

    Every prompt of any candidate ends as one row. What was not chosen is in samples.jsonl, in the
    order of choice, and pair-build takes one where the chosen answer makes no pair. A prompt whose
    drawn candidate has no usable answer takes another's; a candidate with a share of 0 gives none.
    A prompt without any usable answer has failed, and pair-build drops it.
    scores.jsonl has every candidate's log-probability. Training does not read it: its reference
    comes from its own forward, to the last bit, or its first loss would not be ln 2.

    Raises:
        ConfigError: there are more or fewer shares than candidates.
        DataError: candidates answer different prompts under the same id.
    """
    if config.shares and len(config.shares) != len(candidates):
        raise ConfigError(
            f"choose-rejects.shares: expected one for each of {len(candidates)} candidates, "
            f"found {len(config.shares)}"
        )
    chat = ChatFormat.load(model.path)
    prompts = _by_prompt(candidates)
    unusable = _note_usable(prompts, chat, config)
    inputs: Inputs = {"candidates": candidates, "model": model}
    with Responses.create(out, config=config, inputs=inputs) as writer:
        scores: dict[str, _Scores] = {}
        if config.choose != "first":
            scores = _scored(prompts, candidates, model, chat, config, out)
        chosen: Counter[str] = Counter()
        instead = 0
        for name, found in prompts.items():
            drawn = _drawn(name, config, len(candidates))
            ranked = _ranked(found, scores.get(name, {}), drawn, config)
            rows = [found.rows[source][place] for source, place in ranked]
            nothing = Response(found.first.prompt, "", "failed", detail="no usable candidate")
            first, *others = rows or [nothing]
            Responses.write(writer, first)
            for other in others:
                writer.write(Responses.SAMPLES, other.to_json())
            for (source, place), logp in scores.get(name, {}).items():
                answered = found.rows[source][place].source
                writer.write(_SCORES, {"id": name, "source": answered, "logp_per_token": logp})
            if rows:
                chosen[first.source] += 1
                instead += bool(config.shares) and ranked[0][0] != drawn[0]
        chat.save(writer.path / Responses.TOKENIZER)
        writer.facts["rejects"] = {
            "chosen": dict(chosen),
            "unusable": unusable,
            "prompts_without": len(prompts) - chosen.total(),
            "instead_of_drawn": instead,
        }
    return Responses.open(out)


def _by_prompt(candidates: Sequence[Responses]) -> dict[str, _Candidates]:
    """Return all answers by the prompt's id, in the order in which prompts first occur."""
    prompts: dict[str, _Candidates] = {}
    for source, responses in enumerate(candidates):
        for rows in (responses.rows(), responses.spares()):
            for row in rows:
                found = prompts.setdefault(row.prompt.id, _Candidates([[] for _ in candidates]))
                found.rows[source].append(row)
                if found.first.prompt != row.prompt:
                    raise DataError(
                        f"{responses.path}: expected answers to the same prompts in all "
                        f"candidates, found another prompt '{row.prompt.id}'"
                    )
    return prompts


def _note_usable(
    prompts: dict[str, _Candidates], chat: ChatFormat, config: ChooseRejectsConfig
) -> dict[str, dict[str, int]]:
    """Note which answers can be rejected; return how many cannot, by source and reason."""
    counts: dict[str, Counter[str]] = {}
    bar = progress("choose-rejects", total=len(prompts), unit="prompts")
    for found in prompts.values():
        for rows in found.rows:
            reasons = [_why_not(row, chat, config) for row in rows]
            found.usable.append([place for place, why in enumerate(reasons) if why is None])
            for row, why in zip(rows, reasons, strict=True):
                if why is not None:
                    counts.setdefault(row.source, Counter())[why] += 1
        bar.update()
    bar.close()
    return {source: dict(found) for source, found in counts.items()}


def _why_not(row: Response, chat: ChatFormat, config: ChooseRejectsConfig) -> str | None:
    """Return why an answer cannot be rejected, or None."""
    if row.outcome not in ("answered", "truncated"):
        return row.outcome
    try:
        prompt, [answer] = chat.pair_ids(row.prompt.messages, [_answer(row)])
    except ChatError as error:
        return error.reason
    if not answer:
        return "empty"
    return "too_long" if len(prompt) + len(answer) > config.max_tokens else None


def _answer(row: Response) -> tuple[str, bool]:
    """Return an answer's text, and whether it stopped."""
    return row.text.strip(), row.outcome == "answered"


def _usable(found: _Candidates) -> list[_Place]:
    """Return source and place of each usable answer, in the order given."""
    return [(source, place) for source, places in enumerate(found.usable) for place in places]


def _compared(found: _Candidates, config: ChooseRejectsConfig) -> list[_Place]:
    """Return the usable answers whose likelihood decides anything.

    By shares, those of a source that has several; otherwise all, if they are several.
    """
    usable = _usable(found)
    if not config.shares:
        return usable if len(usable) > 1 else []
    several = {
        source
        for source, places in enumerate(found.usable)
        if len(places) > 1 and config.shares[source] > 0
    }
    return [each for each in usable if each[0] in several]


def _drawn(prompt: str, config: ChooseRejectsConfig, count: int) -> list[int]:
    """Return the sources that a prompt may take from, the drawn one first.

    The order is a draw without replacement by shares: log(u)/share, largest first (Efraimidis and
    Spirakis, 2006), of random numbers that follow from seed, prompt and source.
    """
    if not config.shares:
        return list(range(count))
    keys = {
        source: log(_uniform(f"{config.seed}/{prompt}/{source}")) / share
        for source, share in enumerate(config.shares)
        if share > 0
    }
    return sorted(keys, key=lambda source: keys[source], reverse=True)


def _uniform(text: str) -> float:
    """Return a number between 0 and 1 that follows from a text."""
    first = hashlib.sha256(text.encode()).digest()[:8]
    return (int.from_bytes(first) + 0.5) / 2**64


def _ranked(
    found: _Candidates, scores: _Scores, drawn: list[int], config: ChooseRejectsConfig
) -> list[_Place]:
    """Return source and place of each usable answer, the one to reject first."""
    sign = {"first": 0, "least_likely": 1, "most_likely": -1}[config.choose]

    def rank(each: _Place) -> tuple[int, float]:
        return (drawn.index(each[0]) if config.shares else 0, sign * scores.get(each, 0.0))

    return sorted((each for each in _usable(found) if each[0] in drawn), key=rank)


def _scored(
    prompts: dict[str, _Candidates],
    candidates: list[Responses],
    model: Model,
    chat: ChatFormat,
    config: ChooseRejectsConfig,
    out: Place,
) -> dict[str, _Scores]:
    """Return each compared answer's log-probability a token, in nats, by the prompt's id."""
    from soda.training.model.examples import Example
    from soda.training.scoring import logps_per_token

    examples, places = [], {}
    for name, given in prompts.items():
        if compared := _compared(given, config):
            rows = [given.rows[source][place] for source, place in compared]
            asked = given.first.prompt.messages
            prompt, answers = chat.pair_ids(asked, [_answer(row) for row in rows])
            examples.append(Example.of(name, prompt, *answers))
            places[name] = compared
    if not examples:
        return {}
    key = {
        "code": code_digest(_SCORING_CODE),
        "weights": model.weights_digest,
        "template": chat.template_digest,
        "candidates": [each.digest for each in candidates],
        "max_tokens": config.max_tokens,
        "taken": [share > 0 for share in config.shares],
    }
    kept = Intermediate.in_store(out, "scores", digest(key))
    found = logps_per_token(model.path, chat, examples, kept)
    return {
        name: {place: round(logp, _DIGITS) for place, logp in zip(places[name], logps, strict=True)}
        for name, logps in found.items()
    }
