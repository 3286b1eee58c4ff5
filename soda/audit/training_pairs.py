"""The checks of pairs that need no judge: contamination, sensitive data, shortcuts."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from soda.audit.contamination import HeldOut, measure_recall
from soda.audit.sensitive import SensitiveScan
from soda.audit.shortcuts import Shortcut, audit_shortcuts, length_balanced
from soda.rows import Pair

__all__ = ["balance", "find_contaminated", "find_sensitive", "find_shortcuts"]

Rows = Callable[[], Iterable[Pair]]  # gives the pairs, the same each time
Drops = dict[str, tuple[str, str]]  # id -> reason, detail
_LOOKED_AT = 5_000  # pairs: an AUC is then known within 0.012
_EXAMPLES = 20


def find_contaminated(
    rows: Rows, items: Mapping[str, str], seed: int
) -> tuple[dict[str, Any], Drops]:
    """Find held-out items in the prompts; return the facts, and the pairs to drop.

    Args:
        items: id -> text.
    """
    index, drops = HeldOut(items.items()), {}
    for row in rows():
        texts = ["\n".join(turn["content"] for turn in row.prompt), row.prompt[-1]["content"]]
        match = index.find(texts[0]) or index.find(texts[1])
        if match is not None:
            drops[row.id] = ("contaminated", f"{match.item}, {match.how}")
    examples = [{"id": key, "found": detail} for key, (_, detail) in drops.items()]
    facts = {
        "held_out": len(items),
        "found": len(drops),
        "examples": examples[:_EXAMPLES],
        "recall": measure_recall(items, seed=seed),
    }
    return facts, drops


def find_sensitive(rows: Rows) -> tuple[dict[str, Any], Drops]:
    """Count secrets and personal data by kind; what they are is never kept."""
    kinds: dict[str, int] = {}
    drops = {}
    with SensitiveScan() as scan:
        for row in rows():
            turns = (*row.prompt, *row.chosen, *row.rejected)
            here = scan.kinds("\n".join(turn["content"] for turn in turns))
            for kind in here:
                kinds[kind] = kinds.get(kind, 0) + 1
            if here:
                drops[row.id] = ("sensitive", ", ".join(here))
    return {"rows": len(drops), "kinds": dict(sorted(kinds.items()))}, drops


def balance(rows: Rows, seed: int) -> Drops:
    """Return the pairs to drop so that chosen answers are as often the shorter."""
    ids, lengths = [], []
    for row in rows():
        ids.append(row.id)
        lengths.append((len(row.chosen[0]["content"]), len(row.rejected[0]["content"])))
    kept = set(length_balanced(lengths, seed)) if ids else set()
    return {row_id: ("unbalanced", "") for place, row_id in enumerate(ids) if place not in kept}


def find_shortcuts(rows: Rows, seed: int) -> tuple[list[dict[str, Any]], list[Shortcut]]:
    """Measure what chosen answers can be told by, on a random sample; [] of too few pairs."""
    order = sorted(
        (row.id for row in rows()),
        key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest(),
    )
    looked_at = set(order[:_LOOKED_AT])
    answers = [
        (row.chosen[0]["content"], row.rejected[0]["content"])
        for row in rows()
        if row.id in looked_at
    ]
    found = audit_shortcuts(answers, seed)
    return [{**dataclasses.asdict(one), "warn": one.warn} for one in found], found
