"""Text that is read as text: control tokens stand only where the template itself put them."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from soda.rows import Message

__all__ = ["LiteralEncoder"]

# A token's number follows one of these, two noncharacters of Unicode that no text has.
_OURS, _THEIRS = "\U0010ffff", "\U0010fffe"
_FIRST = 0x100000  # of the private plane whose characters are the numbers


class LiteralEncoder:
    """Encodes rendered conversations with a tokenizer, but takes no control token from a message.

    A message that writes `<|im_end|>` does not end a turn: `mask` puts a mark in its place before
    the template is rendered, and `encode` reads the rendered text with a tokenizer whose control
    tokens have other names. So a mark becomes ordinary text again, whatever the tokenizer's family.
    """

    def __init__(self, tokenizer: Any, control: Iterable[str]):
        """Take the control tokens that no message may write."""
        self._tokenizer = tokenizer
        self._control = sorted(control, key=len, reverse=True)
        self._numbers = {token: number for number, token in enumerate(self._control)}
        self._pattern = re.compile("|".join(map(re.escape, self._control)) or "(?!)")

    def mask(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages with marks in the place of control tokens.

        Raises:
            ValueError: a message holds the characters that marks are made of.
        """
        if any(mark in each["content"] for each in messages for mark in (_OURS, _THEIRS)):
            raise ValueError("found a noncharacter, U+10FFFE or U+10FFFF")
        return [{**each, "content": self._mark(each["content"], _THEIRS)} for each in messages]

    def _mark(self, text: str, mark: str) -> str:
        return self._pattern.sub(lambda found: mark + self._sign(found[0]), text)

    def _sign(self, token: str) -> str:
        return chr(_FIRST + self._numbers[token])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendered text.

        Raises:
            ValueError: a message holds a control token, and the tokenizer is not of `tokenizers`.
        """
        if _THEIRS not in text and not self._folds:
            ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        if not self._tokenizer.is_fast:
            raise ValueError("found a control token, which this tokenizer cannot read as text")
        text = self._mark(text, _OURS)
        for token in self._control:
            text = text.replace(_THEIRS + self._sign(token), token)
        found: list[int] = self._renamed.encode(text, add_special_tokens=False).ids
        return found

    def plain(self, text: str) -> list[int]:
        """Return the ids of a text alone, outside any template."""
        return self.encode(self._mark(text, _THEIRS))

    @cached_property
    def _folds(self) -> bool:
        """Whether some control token is found in other spellings too, such as in capitals."""
        tokens = self._tokenizer.added_tokens_decoder.values()
        found = any(each.normalized and each.content in self._numbers for each in tokens)
        return found and bool(self._tokenizer.is_fast)

    @cached_property
    def _renamed(self) -> Any:
        """The same tokenizer, whose control tokens are called by their marks."""
        from tokenizers import Tokenizer

        names = {token: _OURS + self._sign(token) for token in self._control}
        parts = json.loads(self._tokenizer.backend_tokenizer.to_str())
        parts |= {"post_processor": None, "truncation": None, "padding": None}
        for token in parts["added_tokens"]:
            if token["content"] in names:
                token |= {"content": names[token["content"]], "normalized": False}
        model = parts["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(key, key): value for key, value in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(key, key), score] for key, score in model["vocab"]]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        if "merges" in model:
            model["merges"] = [pair for pair in model["merges"] if not self._makes(pair, names)]
        return Tokenizer.from_str(json.dumps(parts))

    @staticmethod
    def _makes(pair: str | list[str], names: dict[str, str]) -> bool:
        one, other = pair.split(" ", 1) if isinstance(pair, str) else pair
        return bool({one, other, one + other} & names.keys())
