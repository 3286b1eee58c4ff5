"""The methods: what each trains on, and the defaults that differ between them."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["METHODS", "Default", "Method", "defaults_of"]


@dataclass(frozen=True, slots=True)
class Default:
    """A value, and who says so: the paper whose method it is, or we where it says nothing."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train a student.

    Args:
        text: what it is, in a few words.
        trains_on: pairs of answers, the teacher's answers, or either.
    """

    text: str
    trains_on: Literal["pairs", "answers", "either"]
    learning_rate: Default
    epochs: Default
    batch_size: Default
    max_grad_norm: Default

    def values(self) -> dict[str, Any]:
        """Return the defaults by their names in the config."""
        found = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {key: one.value for key, one in found.items() if isinstance(one, Default)}


_GAD = "GAD's scripts"

# The paper states no rate, batch or clipping of DPO; it says "the same schedule" as the warm-up's.
METHODS = {
    "dpo": Method(
        text="on pairs, against the model it starts from",
        trains_on="pairs",
        learning_rate=Default(5e-6, "ours"),
        epochs=Default(1, "paper"),
        batch_size=Default(32, "ours"),
        max_grad_norm=Default(1.0, "ours"),
    ),
    "sft": Method(
        text="on the teacher's answers: the warm-up, which alone is SeqKD",
        trains_on="answers",
        learning_rate=Default(5e-6, "paper"),
        epochs=Default(3, "paper"),
        batch_size=Default(32, "paper"),
        max_grad_norm=Default(1.0, "ours"),
    ),
    "gad": Method(
        text="adversarial, on-policy, with a warm-up of its own",
        trains_on="either",
        learning_rate=Default(1e-6, _GAD),
        epochs=Default(2, _GAD),
        batch_size=Default(256, _GAD),
        max_grad_norm=Default(0.2, _GAD),
    ),
}


def defaults_of(key: str) -> str:
    """Say what a value is if the recipe says nothing: `dpo: 1 (paper), sft: 3 (paper)`."""
    found = [(name, getattr(method, key)) for name, method in METHODS.items()]
    return ", ".join(f"{name}: {one.value:g} ({one.source})" for name, one in found)
