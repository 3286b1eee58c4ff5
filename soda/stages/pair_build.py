"""Join teacher and student answers into preference pairs."""

import hashlib
from collections import Counter

from pydantic import Field

from soda.artifacts.dataset_card import render_dataset_card
from soda.artifacts.kinds import Pairs, Responses
from soda.config import Config
from soda.errors import ArtifactError, DataError
from soda.progress import progress
from soda.rows import Pair, Response, canonical, normalized
from soda.storage import Place
from soda.student.chat import ChatError, ChatFormat

__all__ = ["PairBuildConfig", "pair_build"]

# The snapshot's reasons for not asking.
_UNASKED = ("prompt_too_long", "template_refused", "noncharacter", "control_token")


class PairBuildConfig(Config):
    """How long a pair may be, in the student's tokens."""

    max_prompt_tokens: int = Field(2048, ge=1, description="longer prompts are dropped, never cut")
    max_answer_tokens: int = Field(
        1536, ge=1, description="for either answer, end of turn included"
    )


def pair_build(
    *, teacher: Responses, student: Responses, config: PairBuildConfig, out: Place
) -> Pairs:
    """Make pairs: the teacher's answer is chosen, the student's own is rejected.

    Answers from elsewhere come from choose-rejects, with the student's tokenizer.

    A row that cannot teach is dropped with its reason: an answer missing, empty, truncated,
    refused or failed on the teacher's side, missing, empty or failed on the student's, both answers
    the same but for case and white space, or a prompt or answer too long. A student's truncated
    answer is kept, without an end of turn. Where the snapshot drew several answers, the first that
    makes a pair is taken, and the reason for a drop is the first answer's.
    """
    if not (student.path / Responses.TOKENIZER).is_dir():
        raise ArtifactError(f"{student.path}: expected a student's snapshot, found no tokenizer")
    chat = ChatFormat.load(student.path / Responses.TOKENIZER)
    answers = {row.prompt.id: row for row in teacher.rows()}
    inputs = {"teacher": teacher, "student": student}
    with Pairs.create(out, config=config, inputs=inputs) as pairs:
        bar = progress("pair-build", total=len(student), unit="prompts")
        content = hashlib.sha256()
        spares: dict[str, list[Response]] = {}
        for spare in student.spares():
            spares.setdefault(spare.prompt.id, []).append(spare)
        sources: Counter[str] = Counter()
        for first in student.rows():
            theirs = answers.pop(first.prompt.id, None)
            reasons = []
            for mine in [first, *spares.get(first.prompt.id, [])]:
                reasons.append(_why_not(theirs, mine, chat, config))
                if reasons[-1] is None:
                    break
            if theirs is not None and reasons[-1] is None:
                pair = _pair(theirs, mine)
                pairs.write(f"{pair.split}.jsonl", pair.to_json())
                content.update(canonical(pair.to_json()))
                sources[pair.rejected_source] += 1
            elif reasons[0] is not None:
                pairs.drop(first.prompt.id, *reasons[0])
            bar.update()
        bar.close()
        for prompt in answers:
            pairs.drop(prompt, "student_missing")
        if not pairs.rows["train.jsonl"]:
            dropped = ", ".join(f"{count} {reason}" for reason, count in pairs.drops.items())
            raise DataError(
                f"pair-build: expected pairs to train on, found none; dropped: {dropped or 'none'}"
            )
        pairs.facts["rejected_sources"] = dict(sources)
        splits = [name.removesuffix(".jsonl") for name in pairs.rows]
        card = render_dataset_card(splits, content.hexdigest())
        (pairs.path / "README.md").write_text(card, encoding="utf-8")
    return Pairs.open(out)


def _why_not(
    theirs: Response | None, mine: Response, chat: ChatFormat, config: PairBuildConfig
) -> tuple[str, str] | None:
    """Return why a prompt makes no pair, as a reason and more words; or None."""
    if theirs is None:
        return "teacher_missing", ""
    if theirs.outcome != "answered":
        return f"teacher_{theirs.outcome}", theirs.detail or ""
    if mine.outcome not in ("answered", "truncated"):
        reason = (mine.detail or "").partition(":")[0]
        return reason if reason in _UNASKED else f"student_{mine.outcome}", mine.detail or ""
    if theirs.prompt.messages != mine.prompt.messages:
        return "prompts_differ", ""
    if normalized(theirs.text) == normalized(mine.text):
        return "same_answer", ""
    try:
        answers = [(theirs.text.strip(), True), (mine.text.strip(), True)]
        prompt, (chosen, rejected) = chat.pair_ids(mine.prompt.messages, answers)
    except ChatError as error:
        return error.reason, str(error)
    if len(prompt) > config.max_prompt_tokens:
        return "prompt_too_long", f"{len(prompt)} tokens"
    for side, ids in (("teacher", chosen), ("student", rejected)):
        if len(ids) > config.max_answer_tokens:
            return f"{side}_too_long", f"{len(ids)} tokens"
    return None


def _pair(theirs: Response, mine: Response) -> Pair:
    return Pair(
        id=mine.prompt.id,
        prompt=mine.prompt.messages,
        chosen=[{"role": "assistant", "content": theirs.text.strip()}],
        rejected=[{"role": "assistant", "content": mine.text.strip()}],
        rejected_stopped=mine.outcome == "answered",
        split=mine.prompt.split,
        rejected_source=mine.source,
    )
