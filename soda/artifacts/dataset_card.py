"""The card by which `datasets` reads pairs: which file is which split."""

from collections.abc import Iterable

__all__ = ["render_dataset_card"]

_CARD = """---
configs:
- config_name: pairs-{key}
  data_files:
{files}
---

Preference pairs made by soda: `chosen` is the teacher's answer, `rejected` that of the model that
`rejected_source` names, which is the base student unless others were asked.
`load_dataset` reads this folder; TRL's DPOTrainer takes its columns prompt, chosen and rejected.
"""


def render_dataset_card(splits: Iterable[str], content: str) -> str:
    """Return the README.md of a folder of pairs.

    Args:
        splits: those that have rows.
        content: a digest of the rows: `datasets` caches by folder and config name, not by content,
            so the name has to differ.
    """
    files = "\n".join(f"  - split: {name}\n    path: {name}.jsonl" for name in sorted(splits))
    return _CARD.format(files=files, key=content[:16])
