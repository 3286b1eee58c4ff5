"""Whether enough is known of a model to register it."""

from collections.abc import Mapping
from typing import Any

from soda.errors import RegistryError

__all__ = ["check_complete"]


def check_complete(lineage: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Refuse a model whose data, method, scores, licence or lineage is not known.

    Raises:
        RegistryError: it names everything that is missing.
    """
    scores = figures.get("metrics", {}).values()
    known = {
        "the teacher's name": lineage["teacher"].get("model"),
        "the teacher's licence": lineage["teacher"].get("licence", "").strip(),
        "digests of the weights": all(lineage["weights"].values()) and lineage["weights"],
        "digests of what it was trained on": lineage["inputs"]["train"] or not lineage["trainings"],
        "digests of what it was measured on": lineage["inputs"]["eval"],
        "scores with intervals": scores
        and all({"mean", "low", "high"} <= metric["change"].keys() for metric in scores),
    }
    missing = [name for name, found in known.items() if not found]
    if missing:
        raise RegistryError(
            f"register: expected {', '.join(known)}; found no {', no '.join(missing)}"
        )
