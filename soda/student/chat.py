"""The student's chat template, used in one way by sampling, pair building, training and eval."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from soda.errors import ModelError
from soda.rows import Message, digest

__all__ = ["ChatFormat"]

_MARK = "\u241esoda answer\u241e"  # stands for the answer where a template is taken apart


class ChatFormat:
    """Turns conversations and answers into token ids, exactly as the template would.

    An answer is tokenised apart from its prompt, as it is when the model writes it: so the prompt
    is a true prefix of the whole, and chosen and rejected share it token by token.
    """

    def __init__(self, tokenizer: Any, name: str):
        self.tokenizer = tokenizer
        self.name = name
        if not tokenizer.chat_template:
            raise ModelError(f"{name}: expected a chat template, found none")

    @classmethod
    def load(cls, folder: Path, name: str = "") -> Self:
        """Read tokenizer and template from a folder; refusals call it by `name`.

        Raises:
            ModelError: there is no tokenizer, no chat template, or one that cannot be taken apart.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,  # the default asks on the terminal
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{name or folder}: expected a tokenizer, found: {error}") from error
        return cls(tokenizer, name or str(folder))

    @property
    def template_digest(self) -> str:
        """The digest of the template's text."""
        return digest(self.tokenizer.chat_template)

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            raise ModelError(f"{self.name}: the chat template refused a prompt: {error}") from error
        return text

    @cached_property
    def _parts(self) -> tuple[str, list[int]]:
        """What stands between the generation prompt and an answer, and the ids right after one.

        The first is empty but for templates such as Qwen3's, which put an empty thought before
        every answer they render.
        """
        question = [{"role": "user", "content": "hello"}]
        answer = [*question, {"role": "assistant", "content": _MARK}]
        asked = self._render(question, add_generation_prompt=True)
        whole = self._render(answer, add_generation_prompt=False)
        before, found, after = whole.partition(_MARK)
        if not found or not before.startswith(asked):
            raise ModelError(
                f"{self.name}: expected a chat template whose prompt is a prefix of the whole "
                "conversation, found one that renders them differently"
            )
        return before.removeprefix(asked), self._encode(after)

    @cached_property
    def end_of_turn(self) -> int:
        """The id of the token that ends an answer.

        Raises:
            ModelError: the template puts no special token after an answer.
        """
        _, after = self._parts
        if not after or after[0] not in self.tokenizer.all_special_ids + list(
            self.tokenizer.added_tokens_decoder
        ):
            raise ModelError(
                f"{self.name}: expected a chat template that ends an answer with a special token, "
                f"found {self.tokenizer.decode(after)!r}"
            )
        return after[0]

    @property
    def pad(self) -> int:
        """The id used for padding; it may equal the end of turn, so nothing is masked by it."""
        pad = self.tokenizer.pad_token_id
        return self.end_of_turn if pad is None else int(pad)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids a model sees before it answers; one BOS if the template has it."""
        before, _ = self._parts
        return self._encode(self._render(messages, add_generation_prompt=True) + before)

    def answer_ids(self, text: str, *, stopped: bool) -> list[int]:
        """Return an answer's ids: with one end of turn where it stopped, none where it was cut.

        White space around it goes, as in the templates that trim (Llama 3).
        """
        return self._encode(text.strip()) + ([self.end_of_turn] if stopped else [])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without the end of turn."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def save(self, folder: Path) -> None:
        """Write tokenizer and template so that `load` reads them again."""
        self.tokenizer.save_pretrained(folder)
