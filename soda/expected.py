"""Whether an answer is the one that is expected: text, a number, or one of several of them."""

import re
from decimal import Decimal

from soda.rows import Expected
from soda.words import holds, numbers

__all__ = ["is_right"]

_MARKED = re.compile(r"\\boxed\{([^{}]*)\}|####\s*(.+)")  # how mathematics data marks its result
_CLOSE = Decimal("1e-9")  # numbers are the same where they differ by less, relatively


def is_right(expected: Expected, answer: str, tolerance: float = 0.0) -> bool:
    r"""Say whether an answer is right.

    Text has to stand in it as whole words, whatever the case. Of numbers the last one counts, or
    the one in \boxed{} or after ####; it may be written in any way: 1000 is in "1,000 m". Of
    several alternatives one is enough.

    Args:
        tolerance: how far off a number may be, in its own unit.
    """
    if isinstance(expected, list):
        return any(is_right(one, answer, tolerance) for one in expected)
    if isinstance(expected, str):
        return holds(answer, expected)
    marked = _MARKED.findall(answer)
    found = list(numbers("".join(marked[-1]) if marked else answer))
    wanted = Decimal(str(expected))
    allowed = Decimal(str(tolerance)) + _CLOSE * abs(wanted)
    return bool(found) and abs(found[-1] - wanted) <= allowed
