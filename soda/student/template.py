"""The one chat template of a student: chosen among several, with a date that does not move."""

import datetime
import json
import re
from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import ModelError

__all__ = [
    "asks_for_date",
    "choose_template",
    "fix_date",
    "headings_of",
    "plain_template",
    "set_thinking",
    "write_template",
]

# Plain text for a model without a chat template: Alpaca's headings, which base models know. Such a
# model seldom ends by itself; it goes on with a heading.
_HEADINGS = ("### Instruction:", "### Response:")
_PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ message['content'] | trim + '\n\n' }}{% elif message['role'] == 'user' %}"
    "{{ '### Instruction:\n' + message['content'] | trim + '\n\n' }}{% else %}"
    "{{ '### Response:\n' + message['content'] | trim + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)

_CALL = re.compile(r"strftime_now(?!\s+is\s+(?:not\s+)?defined)")
_SWITCHES = ("enable_thinking", "thinking")  # Qwen3, SmolLM3; DeepSeek, Granite
_LITERAL_CALL = re.compile(r"""strftime_now\s*\(\s*(?:format\s*=\s*)?(["'])([^"'\\]*)\1\s*\)""")


def asks_for_date(template: str) -> bool:
    """Say whether a template writes today's date."""
    return _CALL.search(template) is not None


def choose_template(found: str | dict[str, str] | None, name: str, source: str) -> str:
    """Return the template that is named, or the only one, or the default of several.

    Raises:
        ModelError: there is none, or none of that name, or several and no default.
    """
    named = {"default": found} if isinstance(found, str) else (found or {})
    if not named:
        raise ModelError(
            f"{source}: expected a chat template, found none; import-student.template: plain gives "
            "a base model one"
        )
    if name and name not in named:
        raise ModelError(f"{source}: expected a template '{name}', found {', '.join(named)}")
    if not name and len(named) > 1 and "default" not in named:
        raise ModelError(
            f"{source}: expected import-student.template to name one of {', '.join(named)}"
        )
    return named[name or ("default" if "default" in named else next(iter(named)))]


def plain_template(tokenizer: Any, source: str) -> str:
    """Return a chat template in plain text, with the token that a tokenizer begins texts with.

    Raises:
        ModelError: the tokenizer has no token that ends a text.
    """
    if tokenizer.eos_token is None:
        raise ModelError(f"{source}: expected a token that ends a text, found none")
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return ("{{ bos_token }}" if begins else "") + _PLAIN


def headings_of(template: str) -> tuple[str, ...]:
    """Return the texts that end an answer beside the end of turn: none but in plain text."""
    return _HEADINGS if template.endswith(_PLAIN) else ()


def fix_date(template: str, date: datetime.date, source: str) -> str:
    """Return a template with the date written where it asks for today's.

    A prompt of tomorrow would not be the prompt that was answered and trained on.

    Raises:
        ModelError: how the date is written is decided by the template while it runs.
    """
    fixed = _LITERAL_CALL.sub(lambda call: json.dumps(date.strftime(call[2])), template)
    if call := _CALL.search(fixed):
        found = fixed[call.start() :][:60]
        raise ModelError(
            f'{source}: expected a chat template that writes a date as strftime_now("..."), found '
            f"{found!r}"
        )
    return fixed


def set_thinking(template: str, on: bool, source: str) -> str:
    """Return a template that always thinks or never does, whoever renders it.

    Raises:
        ModelError: it has no such switch.
    """
    found = [name for name in _SWITCHES if re.search(rf"{{[%{{][^}}]*\b{name}\b", template)]
    if not found:
        raise ModelError(
            f"{source}: expected a chat template with {' or '.join(_SWITCHES)}, as "
            "import-student.thinking is given; found neither"
        )
    return f"{{%- set {found[0]} = {str(on).lower()} %}}{template}"


def write_template(folder: Path, template: str) -> None:
    """Make this the one template of a folder, wherever others are written there."""
    for path in folder.glob("additional_chat_templates/*"):
        path.unlink()
    (folder / "chat_template.json").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    values: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    if values.pop("chat_template", None) is not None:
        storage.write_atomically(path, json.dumps(values, indent=2, ensure_ascii=False).encode())
    storage.write_atomically(folder / "chat_template.jinja", template.encode())
