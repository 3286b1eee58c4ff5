"""Checks on a compiled pipeline that `kfp dsl compile` does not make."""

from pipelines.lint.check import lint
from pipelines.lint.findings import Finding
from pipelines.lint.rules import RULES
from pipelines.lint.source import load

__all__ = ["RULES", "Finding", "lint", "load"]
