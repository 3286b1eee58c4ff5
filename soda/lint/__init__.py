"""Checks on a compiled pipeline that `kfp dsl compile` does not make."""

from .check import lint
from .findings import Finding
from .rules import RULES
from .source import load

__all__ = ["RULES", "Finding", "lint", "load"]
