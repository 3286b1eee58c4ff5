"""Checks on a compiled pipeline that `kfp dsl compile` does not make."""

from soda.lint.check import lint
from soda.lint.findings import Finding
from soda.lint.rules import RULES
from soda.lint.source import load

__all__ = ["RULES", "Finding", "lint", "load"]
