"""Where a training is."""

from dataclasses import dataclass

__all__ = ["Position"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a training has come: the phase's number, and the steps done in it."""

    phase: int
    step: int

    @property
    def name(self) -> str:
        """The checkpoint's folder; names sort as positions do."""
        return f"checkpoint-{self.phase}-{self.step:07}"
