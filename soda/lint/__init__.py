"""Checks on a compiled pipeline that `kfp dsl compile` does not make."""

__version__ = "0.1.0"

from .check import lint, load
from .findings import Finding
from .rules import RULES

__all__ = ["RULES", "Finding", "lint", "load"]
