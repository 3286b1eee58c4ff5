"""The student's chat template, used in one way by sampling, pair building, training and eval."""

import contextlib
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from soda.errors import ModelError
from soda.limits import TEMPLATE_CHARACTERS, TEMPLATE_SECONDS
from soda.rows import Message, digest
from soda.student.literal import LiteralEncoder
from soda.student.template import asks_for_date, headings_of
from soda.student.tokenizer import load_tokenizer

__all__ = ["ChatError", "ChatFormat"]

_MARK = "\u241esoda answer\u241e"  # stands for the answer where a template is taken apart
_ROLE = re.compile(r"<[|\uff5c].*[|\uff5c]>", re.DOTALL)  # made of a role's name, in some templates
_TAG = re.compile(r"[<\[{|«⟨〈【].*[>\]}|»⟩〉】]", re.DOTALL)
# Answers that begin in different ways: some merge with what stands before them, some do not.
_ANSWERS = ["hello", "Hello", "7", "(x)", '"q"', "- a", "**b**", "`c`", "été", "数", "да", "🙂"]


class ChatError(ModelError):
    """One conversation that this template or tokenizer cannot take; `reason` is for drops."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def _bounded_time(name: str) -> Iterator[None]:
    """Stop a template that loops: its sandbox bounds each loop, and not loops in loops.

    Only the main thread can be stopped so; it is the one that tries a template first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise ModelError(
            f"{name}: expected a chat template that ends, found one at work for more than "
            f"{TEMPLATE_SECONDS:g} s"
        )

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TEMPLATE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ChatFormat:
    """Turns conversations and answers into token ids, exactly as the template would.

    The ids of a prompt and those of its answer are the two parts of what the tokenizer makes of the
    whole rendered conversation. What a message says is text, also where it writes a control token.
    """

    def __init__(self, tokenizer: Any, name: str):
        self.tokenizer = tokenizer
        self.name = name
        if not tokenizer.chat_template:
            raise ModelError(f"{name}: expected a chat template, found none")
        if isinstance(tokenizer.chat_template, dict):
            names = ", ".join(tokenizer.chat_template)
            raise ModelError(f"{name}: expected one chat template, found several: {names}")
        if asks_for_date(tokenizer.chat_template):
            raise ModelError(f"{name}: expected a chat template with a fixed date, found today's")

    @classmethod
    def load(cls, folder: Path, name: str = "") -> Self:
        """Read tokenizer and template from a folder; refusals call it by `name`.

        Raises:
            ModelError: there is no tokenizer, no chat template, or one that cannot be taken apart.
        """
        return cls(load_tokenizer(folder, name), name or str(folder))

    @property
    def template_digest(self) -> str:
        """The digest of the template's text."""
        return digest(self.tokenizer.chat_template)

    @cached_property
    def headings(self) -> tuple[str, ...]:
        """The texts that end an answer beside the end of turn: none but in plain text."""
        return headings_of(self.tokenizer.chat_template)

    def before_heading(self, text: str) -> tuple[str, bool]:
        """Return an answer's text up to the first heading, and whether there is one."""
        places = [place for heading in self.headings if (place := text.find(heading)) >= 0]
        return (text[: min(places)].strip(), True) if places else (text, False)

    @cached_property
    def _encoder(self) -> LiteralEncoder:
        """Reads what is rendered; a control token is a special one, or a tag of the template's."""
        turns = [{"role": role, "content": "x"} for role in ("user", "assistant")]
        template = self.tokenizer.chat_template
        template += self._template(turns, add_generation_prompt=False)
        control = {self._parts[1].lstrip(), *self.tokenizer.all_special_tokens}
        for token in self.tokenizer.added_tokens_decoder.values():
            tag = _ROLE if token.content not in template else _TAG
            if token.special or tag.fullmatch(token.content):
                control.add(token.content)
        return LiteralEncoder(self.tokenizer, control)

    def _template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        from transformers.utils import chat_template_utils  # noqa: F401 - not in the measured time

        try:
            with _bounded_time(self.name):
                text: str = self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
                )
        except ModelError:
            raise
        except Exception as error:  # a template is a program, and its errors are of any type
            why = " ".join(str(error).split())
            raise ChatError(
                "template_refused", f"{self.name}: the chat template refused a prompt: {why}"
            ) from error
        if len(text) > TEMPLATE_CHARACTERS:
            raise ModelError(
                f"{self.name}: expected a chat template that writes at most {TEMPLATE_CHARACTERS} "
                f"characters, found {len(text)}"
            )
        return text

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        try:
            masked = self._encoder.mask(messages)
        except ValueError as error:
            raise ChatError("noncharacter", f"{self.name}: expected text, {error}") from error
        return self._template(masked, add_generation_prompt=add_generation_prompt)

    def _encode(self, text: str) -> list[int]:
        try:
            return self._encoder.encode(text)
        except ValueError as error:
            raise ChatError("control_token", f"{self.name}: expected text, {error}") from error

    @cached_property
    def _parts(self) -> tuple[str, str, str]:
        """What stands between generation prompt and answer, then up to the end of turn, then after.

        The first is empty but for templates such as Qwen3's, which put an empty thought before
        every answer they render.
        """
        question = [{"role": "user", "content": "hello"}]
        answer = [*question, {"role": "assistant", "content": _MARK}]
        asked = self._template(question, add_generation_prompt=True)
        whole = self._template(answer, add_generation_prompt=False)
        before, found, after = whole.partition(_MARK)
        if not found or not before.startswith(asked):
            raise ModelError(
                f"{self.name}: expected a chat template whose prompt is a prefix of the whole "
                "conversation, found one that renders them differently"
            )
        tokens = {each.content for each in self.tokenizer.added_tokens_decoder.values()}
        ends = [each for each in tokens if each.strip() and after.lstrip().startswith(each)]
        if not ends:
            raise ModelError(
                f"{self.name}: expected a chat template that ends an answer with a special token, "
                f"found {after!r}"
            )
        end = after[: len(after) - len(after.lstrip())] + max(ends, key=len)
        opening = before.removeprefix(asked)
        if opening.strip() and asked == self._template(question, add_generation_prompt=False):
            raise ModelError(
                f"{self.name}: expected a chat template with a generation prompt, found "
                f"{opening!r} only where there is an answer"
            )
        return opening, end, after.removeprefix(end)

    @cached_property
    def end_of_turn(self) -> int:
        """The id of the token that ends an answer.

        Raises:
            ModelError: the template puts no special token after an answer.
        """
        return int(self.tokenizer.convert_tokens_to_ids(self._parts[1].lstrip()))

    @property
    def pad(self) -> int:
        """The id used for padding; it may equal the end of turn, so nothing is masked by it."""
        pad = self.tokenizer.pad_token_id
        return self.end_of_turn if pad is None else int(pad)

    @cached_property
    def _trailing(self) -> str:
        """The white space at a prompt's end that belongs to the answer's first token.

        Where a template writes `[/INST] yes`, the space is in the token of `yes`: a prompt that
        ended with it would be no prefix of the whole, token by token.
        """
        question = [{"role": "user", "content": "hello"}]
        asked = self._template(question, add_generation_prompt=True) + self._parts[0]
        fits: dict[str, int] = {}
        for kept in dict.fromkeys([asked, asked.rstrip(" "), asked.rstrip()]):
            prompt = self._encoder.encode(kept)
            fits[asked[len(kept) :]] = sum(
                self._encoder.encode(asked + answer)[: len(prompt)] == prompt for answer in _ANSWERS
            )
        best = max(fits, key=lambda trailing: fits[trailing])  # of equals, the least
        if not fits[best]:
            raise ModelError(
                f"{self.name}: expected a chat template after whose prompt an answer begins with a "
                f"token of its own, found {asked[-40:]!r}"
            )
        return best

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids a model sees before it answers; one BOS if the template has it.

        Raises:
            ChatError: the template refuses the conversation.
        """
        before, _, _ = self._parts
        asked = self._render(messages, add_generation_prompt=True) + before
        return self._encode(asked.removesuffix(self._trailing))

    def answer_ids(self, messages: Sequence[Message], text: str, *, stopped: bool) -> list[int]:
        """Return what follows the prompt's ids in the whole conversation.

        With one end of turn where the answer stopped, none where it was cut.

        Raises:
            ChatError: the template refuses it, or prompt and answer share a token.
        """
        [ids] = self.pair_ids(messages, [(text, stopped)])[1]
        return ids

    def pair_ids(
        self, messages: Sequence[Message], answers: Sequence[tuple[str, bool]]
    ) -> tuple[list[int], list[list[int]]]:
        """Return a prompt's ids and those of its answers, each with whether it stopped.

        Raises:
            ChatError: the template refuses it, or prompt and answer share a token.
        """
        prompt = self.prompt_ids(messages)
        _, end, rest = self._parts
        found = []
        for text, stopped in answers:
            turn = {"role": "assistant", "content": text}
            whole = self._render([*messages, turn], add_generation_prompt=False)
            if not whole.endswith(end + rest):
                raise ChatError(
                    "template_changes_end",
                    f"{self.name}: expected {end + rest!r} at the end of a conversation, found "
                    f"{whole[-len(end + rest) :]!r}",
                )
            ids = self._encode(whole.removesuffix(rest if stopped else end + rest))
            if ids[: len(prompt)] != prompt:
                raise ChatError(
                    "answer_joins_prompt",
                    f"{self.name}: expected the prompt's tokens before the answer's, found some "
                    f"that belong to both in {whole[-120:]!r}",
                )
            found.append(ids[len(prompt) :])
        return prompt, found

    def count(self, text: str) -> int:
        """Return how many tokens a text has, more or less: it is encoded alone."""
        return len(self._encoder.plain(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without the end of turn."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def save(self, folder: Path) -> None:
        """Write tokenizer and template so that `load` reads them again."""
        self.tokenizer.save_pretrained(folder)
