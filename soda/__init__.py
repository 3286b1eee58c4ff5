"""Distil a teacher, reached only as text through an API, into a small student: the SODA way."""

__version__ = "0.1.0"

from soda.artifacts.kinds import Model, Pairs, Prompts, Registration, Report, Responses
from soda.errors import SodaError
from soda.launch import launch, show
from soda.stage import run
from soda.stages import STAGES

__all__ = [
    "STAGES",
    "Model",
    "Pairs",
    "Prompts",
    "Registration",
    "Report",
    "Responses",
    "SodaError",
    "__version__",
    "launch",
    "run",
    "show",
]
