"""A module's source as keys see it."""

import pytest

from soda.artifacts.code import read_code
from soda.rows import digest

SOURCE = '''
"""A docstring."""
import os.path, re as regex
from soda.rows import Prompt as Row, digest

LIMIT: int = 1_000
FIELD = Field(3, description="for people")


@staticmethod
async def f(x, /, y=b"\\x00", *rest: "str", z: float = 1e-3, **named) -> None:
    """Another."""
    # a comment
    async with x as y, z:
        total = [one async for one in (yield) if one != 3j]
    print(f"{x!r:>{y}} {{}} é☃" "and more", *rest, **named)
    match x:
        case {"a": [1, *others]} | None:
            return (lambda: ...)()
    while (n := x[1:, ...]) and not n:
        del x.y
        del z
'''
# Of SOURCE, by Python 3.11.7, 3.12.1 and 3.13.0: another value here runs everything again.
OUTLINE = "aa7ad55ca8261a441eba5199163cb0b2eb83dc3f5e3cd2899f1b58179d1450fd"


def outline(source):
    return digest(read_code(source).outline)


def test_the_outline_is_the_same_on_every_python():
    assert outline(SOURCE) == OUTLINE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment\n", "\n\n    # another\n"),
        ('"""A docstring."""', '"""Said otherwise."""'),
        ('    """Another."""\n', ""),
        ("1_000", "1000"),
        ("for people", "for others"),
        ("*rest, **named)\n", "\n        *rest,\n        **named,\n    )\n"),
        ('b"\\x00"', "b'\\0'"),
    ],
)
def test_comments_layout_and_what_people_read_are_no_part_of_it(old, new):
    assert old in SOURCE
    assert outline(SOURCE.replace(old, new, 1)) == OUTLINE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1_000", "1_001"),
        ("and more", "and most"),
        ("one != 3j", "one == 3j"),
        ("| None", "| True"),
        ("x, /, y", "x, y"),
        ("@staticmethod\n", ""),
        ("as regex", "as pattern"),
        ("        del z", "    del z"),
    ],
)
def test_what_runs_is_part_of_it(old, new):
    assert old in SOURCE
    assert outline(SOURCE.replace(old, new, 1)) != OUTLINE


def test_imports_and_texts_are_listed():
    code = read_code(SOURCE)
    rows = {"soda.rows", "soda.rows.Prompt", "soda.rows.digest"}
    assert code.imports == {"os.path", "re", *rows}
    assert {"and more", "a"} & code.texts == {"a"}  # a part of a longer text is no text
    assert read_code("def f():\n    import torch").imports == {"torch"}
    with pytest.raises(AssertionError, match="absolute"):
        read_code("from . import rows")
