"""Text from outside stays text: on a terminal, in Markdown, in a chat, and in addresses."""

import pytest

from soda.escape import (
    escape_chat,
    escape_markdown,
    escape_terminal,
    has_secrets,
    hide_secrets,
    is_open_to_others,
    shown_message,
    shown_value,
)
from soda.limits import SHOWN_CHARACTERS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b[2Jclean", "\\x1b[2Jclean"),
        ("a\rb", "a\\rb"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("half \ud800", "half \\ud800"),
        ("été 数据 🙂\ttab\nline", "été 数据 🙂\ttab\nline"),
    ],
)
def test_a_terminal_gets_no_commands(text, shown):
    assert escape_terminal(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("deepseek-ai/DeepSeek-V3.1", "deepseek-ai/DeepSeek-V3.1"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("[click](https://evil)", r"\[click\](https\://evil)"),
        ("www.evil.org", r"www\.evil.org"),
        ("a | b\n\n# head", r"a \| b \# head"),
        ("`x` **y** ~z~ _w_", r"\`x\` \*\*y\*\* \~z\~ \_w\_"),
        ("@everyone \\ &lt;", r"\@everyone \\ \&lt;"),
    ],
)
def test_markdown_stays_one_line_of_text(text, shown):
    assert escape_markdown(text) == shown


def test_a_chat_calls_nobody_and_links_nowhere():
    shown = escape_chat("<!channel> <https://evil|our page> @here [page](https://evil) a & b")
    assert "<" not in shown and "@here" not in shown and "](" not in shown
    assert shown.startswith("&lt;!channel&gt; &lt;https://evil|our page&gt;")
    assert shown.endswith("a &amp; b")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ann:pw@host/a", "https://host/a"),
        ("https://host/v1?api-key=K&v=2", "https://host/v1?api-key=***&v=2"),
        ("https://host/?X-Amz-Signature=abc", "https://host/?X-Amz-Signature=***"),
        (
            "https://host/?subscription-key=K;token=T",
            "https://host/?subscription-key=***;token=***",
        ),
        ("no way to 'http://u:p@h/x?sig=1'", "no way to 'http://h/x?sig=***'"),
        ("https://host/v1?api-version=2024-10-21", "https://host/v1?api-version=2024-10-21"),
        ("ann@example.org", "ann@example.org"),
        ("gs://bucket/a@b", "gs://bucket/a@b"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert hide_secrets(address) == shown
    assert has_secrets(address) is (address != shown)


def test_a_message_is_one_line_of_bounded_length():
    assert shown_message("a\n b\x1b https://u:p@h") == "a b\\x1b https://h"
    assert len(shown_message("x" * 5_000_000)) == SHOWN_CHARACTERS + 3


@pytest.mark.parametrize("value", ["x" * 5_000_000, ["x"] * 5_000_000, {"x": "y" * 5_000_000}])
def test_a_value_in_a_message_is_short(value):
    assert len(shown_value(value)) < 250


def test_a_short_value_is_shown_whole():
    assert (
        shown_value("a\n") == "'a\\n'" and shown_value([1]) == "[1]" and shown_value(None) == "None"
    )


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("http://10.0.0.7:8000/v1", True),
        ("http://teacher.internal/v1", True),
        ("https://api.example.org/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
    ],
)
def test_plain_http_to_another_machine_can_be_read(address, is_open):
    assert is_open_to_others(address) is is_open
