"""A file of findings that are known: what is new stands out."""

import json
from collections.abc import Iterable
from pathlib import Path

from .config import known
from .errors import LintError, found_instead
from .findings import Finding

__all__ = ["read_baseline", "write_baseline"]

_FIELDS = ("file", "rule", "place", "message")


def read_baseline(name: str) -> frozenset[tuple[str, ...]]:
    """Return the findings of a baseline.

    Raises:
        LintError: it is missing or of another form.
    """
    try:
        tree = json.loads(Path(name).read_text(encoding="utf-8"))
        return frozenset(tuple(str(each[key]) for key in _FIELDS) for each in tree["findings"])
    except OSError as error:
        raise LintError(f"{name}: expected a baseline, found {found_instead(error)}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LintError(f"{name}: expected a file of --write-baseline, found {error!r}") from error


def write_baseline(name: str, findings: Iterable[Finding]) -> None:
    """Write the findings that nothing else accepts, sorted, so that files can be compared.

    Raises:
        LintError: it cannot be written.
    """
    rows = sorted({known(each) for each in findings if each.suppressed is None})
    tree = {"version": 1, "findings": [dict(zip(_FIELDS, row, strict=True)) for row in rows]}
    try:
        Path(name).write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise LintError(f"{name}: expected to write, found {found_instead(error)}") from error
