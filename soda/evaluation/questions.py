"""What students are asked: the held-out rows and task sets that can be, and why others cannot."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from soda.artifacts.kinds import Model, Pairs, Responses
from soda.dataset.task_set import Task, TaskSet
from soda.errors import DataError
from soda.limits import SCORED_TOKENS
from soda.progress import say
from soda.rows import Pair, Response, Split, normalized
from soda.student.chat import ChatError, ChatFormat

__all__ = ["Drops", "Questions", "make_questions"]

Drops = dict[str, tuple[str, str]]  # by id: the reason, and what was found


@dataclass(frozen=True, slots=True)
class Questions:
    """What every student is measured on.

    Args:
        split: of the held-out rows.
        rows: held-out prompts with the teacher's answers.
        pairs: held-out pairs.
        sets: by name, prompts that need no teacher's answer.
        drops: what is not asked, by name of the split or set.
        trained_on: by set, how many of its prompts are training prompts too.
    """

    split: Split
    rows: list[Response]
    pairs: list[Pair]
    sets: dict[str, list[Task]]
    drops: dict[str, Drops]
    trained_on: dict[str, int]

    def dropped(self, name: str) -> dict[str, int]:
        """Return how many prompts of a split or set are not asked, by the reason."""
        return dict(Counter(reason for reason, _ in self.drops[name].values()))


def make_questions(
    teacher: Responses,
    pairs: Pairs,
    sets: Iterable[TaskSet],
    base: Model,
    *,
    split: Split,
    max_new_tokens: int,
) -> Questions:
    """Try every prompt on the base student's chat template, before any model is loaded.

    Raises:
        ConfigError: the file of a set is not there.
        DataError: there are no held-out answers, no prompt of a set can be asked, or a set's prompt
            has the id of a held-out one.
    """
    chat = ChatFormat.load(base.path)
    drops: dict[str, Drops] = {split: {}}
    rows = [
        row
        for row in teacher.rows()
        if row.prompt.split == split
        and row.outcome == "answered"
        and _scorable(row, chat, drops[split])
    ]
    _say(drops[split], split, len(rows))
    if not rows:
        raise DataError(f"{teacher.path}: expected answers in split '{split}', found none")
    room = _context(base, max_new_tokens)
    asked: dict[str, list[Task]] = {}
    for task_set in sets:
        refused = drops.setdefault(task_set.name, {})
        asked[task_set.name] = tasks = _askable(task_set, chat, room, refused)
        _say(refused, task_set.name, len(tasks))
    ids = {row.prompt.id for row in rows}
    twice = next((one.id for tasks in asked.values() for one in tasks if one.id in ids), None)
    if twice is not None:
        raise DataError(f"{twice}: expected ids that differ, found it held out and in a task set")
    return Questions(
        split,
        rows,
        [pair for pair in pairs.rows(split) if pair.id not in drops[split]],
        asked,
        drops,
        _trained_on(teacher, asked),
    )


def _scorable(row: Response, chat: ChatFormat, drops: Drops) -> bool:
    """Say whether a teacher's answer can be measured; one that cannot goes to the drops."""
    try:
        tokens = len(chat.answer_ids(row.prompt.messages, row.text, stopped=True))
    except ChatError as error:
        drops[row.prompt.id] = (error.reason, str(error))
        return False
    if tokens > SCORED_TOKENS:
        found = f"expected at most {SCORED_TOKENS} tokens, found {tokens}"
        drops[row.prompt.id] = ("answer_too_long", found)
    return tokens <= SCORED_TOKENS


def _askable(task_set: TaskSet, chat: ChatFormat, room: float, drops: Drops) -> list[Task]:
    """Return the prompts of a set that can be asked; the others go to the drops."""

    def drop(key: str, reason: str, detail: str) -> None:
        drops[key] = (reason, detail)

    found = []
    for task in task_set.tasks(drop):
        try:
            tokens = len(chat.prompt_ids(task.messages))
        except ChatError as error:
            drop(task.id, error.reason, str(error))
            continue
        if tokens > room:
            drop(task.id, "prompt_too_long", f"expected at most {room} tokens, found {tokens}")
        else:
            found.append(task)
    if not found:
        reason, detail = next(iter(drops.values()))
        raise DataError(
            f"{task_set.name}: expected prompts that can be asked, found none; the first: {reason}"
            f", {detail}"
        )
    return found


def _context(base: Model, max_new_tokens: int) -> float:
    """Return how long a prompt may be, in tokens, if its answer has to fit into the context too."""
    config: dict[str, Any] = json.loads((base.path / "config.json").read_bytes())
    longest = config.get("max_position_embeddings")
    return longest - max_new_tokens if isinstance(longest, int) else float("inf")


def _say(drops: Drops, name: str, kept: int) -> None:
    if drops:
        _, detail = next(iter(drops.values()))
        say(f"eval: {len(drops)} of {len(drops) + kept} prompts of {name} are not asked: {detail}")


def _trained_on(teacher: Responses, sets: dict[str, list[Task]]) -> dict[str, int]:
    """Count the prompts of each set that are training prompts too: there figures say little."""
    of_sets = {name: [normalized(one.text) for one in tasks] for name, tasks in sets.items()}
    wanted = {text for texts in of_sets.values() for text in texts}
    seen = set()
    if wanted:
        prompts = (row.prompt for row in teacher.rows())
        texts = (one.messages[-1]["content"] for one in prompts if one.split == "train")
        seen = {found for text in texts if (found := normalized(text)) in wanted}
    counts = {name: sum(text in seen for text in texts) for name, texts in of_sets.items()}
    for name, count in counts.items():
        if count:
            say(
                f"eval: {count} of {len(of_sets[name])} prompts of {name} are training prompts "
                "too: its figures flatter the trained student"
            )
    return counts
