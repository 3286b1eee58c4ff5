"""What one student does: its answers, and how likely it finds others'; kept for later runs."""

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from soda.artifacts.intermediate import Intermediate
from soda.artifacts.keys import code_digest
from soda.artifacts.kinds import Model
from soda.dataset.task_set import Task
from soda.evaluation.lm_eval_runner import run_tasks
from soda.evaluation.metrics import METRICS, SET_METRICS, rouge_l
from soda.evaluation.questions import Questions
from soda.expected import is_right
from soda.progress import progress, say
from soda.rows import Message, Pair, Response, digest
from soda.storage import Place
from soda.student.chat import ChatFormat

__all__ = ["Measurement", "Setup", "measure"]

# "texts": {prompt: answer}, a metric: {prompt or pair: number}, "lm_eval", and in "sets" the same
Measurement = dict[str, Any]
_BATCH_TOKENS = 2048  # scored at once


@dataclass(frozen=True, slots=True)
class Setup:
    """How every student is measured; answers are greedy.

    Args:
        max_new_tokens: of an answer; one that reaches it has not stopped.
        batch_size: answers under way at once.
        lm_eval_tasks: names of lm-eval's tasks.
        lm_eval_limit: only the first rows of each.
    """

    max_new_tokens: int
    batch_size: int
    seed: int
    lm_eval_tasks: tuple[str, ...]
    lm_eval_limit: int | None


def measure(name: str, model: Model, questions: Questions, how: Setup, out: Place) -> Measurement:
    """Measure one student; what an earlier try or another comparison measured is read.

    The held-out split and each set are kept by themselves: one more set measures nothing again.

    Args:
        name: what messages call it.
        out: its store keeps what was measured.
    """
    student = _Student(name, model, how)
    by: dict[str, Any] = {"model": model.digest, "code": code_digest(__name__)}
    by["sampling"] = [how.max_new_tokens, how.batch_size, how.seed]
    rows, pairs = questions.rows, questions.pairs
    of_split = {
        "rows": [row.to_json() for row in rows],
        "pairs": [pair.to_json() for pair in pairs],
        "lm_eval": [*how.lm_eval_tasks, how.lm_eval_limit],
    }
    found = _once(out, by | of_split, lambda: student.on_held_out(rows, pairs))
    found["sets"] = {}
    for key, tasks in questions.sets.items():
        of_set = {"tasks": [dataclasses.asdict(task) for task in tasks]}
        found["sets"][key] = _once(out, by | of_set, functools.partial(student.on_set, tasks))
    if not student.was_asked:
        say(f"eval: {name}: measured before")
    return found


def _once(out: Place, key: dict[str, Any], make: Callable[[], Measurement]) -> Measurement:
    """Return what is kept under a key, which holds all that decides it; else make and keep it."""
    kept = Intermediate.in_store(out, "measurements", digest(key))
    data = kept.read("measured.json")
    if data is None:
        data = kept.write("measured.json", json.dumps(make()).encode())
    found: Measurement = json.loads(data)
    return found


class _Student:
    """One model, which is loaded when it is first asked."""

    def __init__(self, name: str, model: Model, how: Setup):
        self.was_asked = False
        self._name = name
        self._folder = model.path
        self._how = how

    @cached_property
    def _chat(self) -> ChatFormat:
        return ChatFormat.load(self._folder)

    @cached_property
    def _model(self) -> Any:
        from soda.student.generate import load_model

        self.was_asked = True
        return load_model(self._folder)

    def on_held_out(self, rows: list[Response], pairs: list[Pair]) -> Measurement:
        """Measure it beside the teacher, and by lm-eval's tasks."""
        how = self._how
        found: Measurement = {key: {} for key in ("texts", *METRICS)}
        answers = self._answers([row.prompt.messages for row in rows])
        rouge = rouge_l([row.text for row in rows], [answer.text for answer in answers])
        for row, answer, score in zip(rows, answers, rouge, strict=True):
            key = row.prompt.id
            theirs = len(self._chat.answer_ids(row.prompt.messages, row.text, stopped=True))
            found["texts"][key] = answer.text
            found["rouge_l"][key] = score
            found["length_ratio"][key] = answer.tokens / theirs
            found["stopped"][key] = float(answer.stopped)
            found["repetitive"][key] = float(answer.repeats)
            if row.prompt.expected is not None:
                found["exact_match"][key] = float(is_right(row.prompt.expected, answer.text))
        found |= self._likelihoods(rows, pairs)
        say(f"eval: {self._name}: lm-eval {', '.join(how.lm_eval_tasks) or 'nothing'}")
        found["lm_eval"] = run_tasks(
            self._model,
            self._chat.tokenizer,
            how.lm_eval_tasks,
            limit=how.lm_eval_limit,
            batch_size=how.batch_size,
        )
        return found

    def on_set(self, tasks: list[Task]) -> Measurement:
        """Measure it where there is no teacher's answer."""
        found: Measurement = {key: {} for key in ("texts", *SET_METRICS)}
        answers = self._answers([task.messages for task in tasks])
        for task, answer in zip(tasks, answers, strict=True):
            found["texts"][task.id] = answer.text
            found["tokens"][task.id] = float(answer.tokens)
            found["stopped"][task.id] = float(answer.stopped)
            found["repetitive"][task.id] = float(answer.repeats)
            if task.reference is not None:
                [found["reference_rouge_l"][task.id]] = rouge_l([task.reference], [answer.text])
            if task.expected is not None:
                found["exact_match"][task.id] = float(is_right(task.expected, answer.text))
        return found

    def _answers(self, conversations: list[list[Message]]) -> list[Any]:
        """Return greedy answers."""
        from soda.student.generate import Answer, Sampling, sample

        how = self._how
        prompts = [self._chat.prompt_ids(messages) for messages in conversations]
        sampling = Sampling(0, 1, how.max_new_tokens, how.seed, how.batch_size)
        bar = progress(f"eval: {self._name}: answers", total=len(prompts), unit="answers")
        drawn: dict[int, Answer] = {}
        for place, answer in sample(self._model, self._chat, prompts, sampling):
            drawn[place] = answer
            bar.update()
        bar.close()
        return [drawn[place] for place in range(len(prompts))]

    def _likelihoods(self, rows: list[Response], pairs: list[Pair]) -> Measurement:
        """Return the log-probability a token of teacher answers, and which pairs are preferred."""
        from soda.training.model.examples import Example, answered, tokenize
        from soda.training.model.policy import Policy
        from soda.training.model.processes import Processes
        from soda.training.objectives.reference import logps_of_answers

        whole = [answered(row, self._chat) for row in rows]
        both = [tokenize(pair, self._chat) for pair in pairs]
        policy = Policy(self._model, self._chat.pad, max(map(len, whole + both)))
        label, total = f"eval: {self._name}: likelihoods", len(whole) + len(both)
        bar = progress(label, total=total, unit="answers")

        def score(examples: list[Example]) -> dict[str, list[float]]:
            """Return the mean log-probability a token of every example's answers."""
            lengths = {one.id: [max(1, len(answer)) for answer in one.answers] for one in examples}
            found = logps_of_answers(policy, examples, Processes(), _BATCH_TOKENS, bar.update)
            logps = dict(found)
            return {
                key: [logp / tokens for logp, tokens in zip(logps[key], lengths[key], strict=True)]
                for key in lengths
            }

        teacher_logp = {key: found[0] for key, found in score(whole).items()}
        preferred = {
            key: float(chosen > rejected) for key, (chosen, rejected) in score(both).items()
        }
        bar.close()
        return {"teacher_logp": teacher_logp, "preference_accuracy": preferred}
